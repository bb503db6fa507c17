/* SPDX-License-Identifier: Apache-2.0
 *
 * See grpc_fixture.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "grpc_fixture.h"

const struct rd_format square = {"512", RD_MODALITY_IMAGE, 512, 512};

const struct rd_generation quick = GENERATION("quick");
const struct rd_generation slow = GENERATION("slow");

static const struct rd_mapping_tensor inputs[] = {
    {.name = "prompt",
     .field = RD_INPUT_PROMPT,
     .datatype = RD_DATATYPE_BYTES,
     .rank = 1,
     .shape = {1}},
    {.name = "seed",
     .field = RD_INPUT_SEED,
     .datatype = RD_DATATYPE_INT64,
     .rank = 1,
     .shape = {1}},
};
static const struct rd_mapping_tensor outputs[] = {
    {.name = "image", .gives = RD_OUTPUT_IMAGE, .datatype = RD_DATATYPE_BYTES},
    {.name = "progress", .gives = RD_OUTPUT_PROGRESS, .datatype = RD_DATATYPE_FP32},
};
static const struct rd_mapping unary = {
    .name = "unary",
    .model = "painter",
    .version = "2",
    .inputs = inputs,
    .inputs_count = 2,
    .outputs = outputs,
    .outputs_count = 1,
};
static const struct rd_mapping decoupled = {
    .name = "decoupled",
    .model = "streamer",
    .decoupled = true,
    .inputs = inputs,
    .inputs_count = 2,
    .outputs = outputs,
    .outputs_count = 2,
};
const struct rd_mapping *const unary_list[] = {&unary};
const struct rd_mapping *const decoupled_list[] = {&decoupled};
const char *const models[] = {"fam/mod"};

unsigned port;
char base_url[64];

int setup(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN); /* as the gateway does */
    assert_int_equal(sem_init(&grpc_backend.reset, 0, 0), 0);
    assert_int_equal(pthread_mutex_init(&grpc_backend.lock, NULL), 0);
    port = grpc_backend_start(0, NULL, NULL);
    (void)snprintf(base_url, sizeof base_url, "grpc://127.0.0.1:%u", port);
    return 0;
}

int teardown(void **state)
{
    (void)state;
    grpc_backend_stop();
    (void)sem_destroy(&grpc_backend.reset);
    return 0;
}

int before(void **state)
{
    (void)state;
    grpc_backend_reset();
    return 0;
}

struct rd_engine *open_config(const struct rd_engine_config *config)
{
    struct rd_engine *engine = NULL;
    struct rd_why why = {""};
    if (rd_engine_triton_grpc_ops.open(config, &engine, &why) != RD_OK) {
        fail_msg("open: %s", why.text);
    }
    return engine;
}

void run_on(struct rd_engine *engine, const char *prompt, unsigned count, struct recorder *recorder)
{
    struct rd_generation generation = quick;
    generation.prompt = prompt;
    recorder_init(recorder);
    assert_int_equal(
        recorder_start(recorder, &rd_engine_triton_grpc_ops, engine, &generation, count), RD_OK);
    if (!recorder_wait(recorder, WAIT_MS)) {
        fail_msg("%s: no done()", prompt);
    }
    assert_string_equal(recorder->violation, "");
}
