/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the gRPC engine share: generations, mappings, the running server. */
#ifndef RD_TESTS_ENGINE_GRPC_FIXTURE_H
#define RD_TESTS_ENGINE_GRPC_FIXTURE_H

#include "engine/tensor/mapping.h"
#include "grpc_backend.h"
#include "recorder.h"

enum { WAIT_MS = 20000, SLOTS = 8 };

extern const struct rd_format square;

#define GENERATION(text)                                                                           \
    {                                                                                              \
        .task = RD_TASK_T2I, .family = "fam", .model = "mod", .format = &square,                   \
        .media = RD_MEDIA_PNG, .prompt = (text), .negative_prompt = "", .seed = 7, .count = 1,     \
        .steps = 20, .json = "{}", .json_len = 2                                                   \
    }

extern const struct rd_generation quick, slow;
extern const struct rd_mapping *const unary_list[], *const decoupled_list[];
extern const char *const models[];
extern unsigned port;
extern char base_url[64];

#define CONFIG(list)                                                                               \
    {                                                                                              \
        .name = "test", .type = "triton", .url = base_url, .slots = SLOTS, .models = models,       \
        .models_count = 1, .mappings = (list), .mappings_count = 1                                 \
    }

/* Of the group: the server runs on `port`. */
int setup(void **state);
int teardown(void **state);
/* Of a test: every switch of the server is set back. */
int before(void **state);

struct rd_engine *open_config(const struct rd_engine_config *config);
/* One run from start to done(). */
void run_on(struct rd_engine *engine, const char *prompt, unsigned count,
            struct recorder *recorder);

#endif
