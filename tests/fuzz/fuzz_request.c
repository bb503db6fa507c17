/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole request parser on any bytes: the first chooses task, model and query, the rest is
 * the body. Beside crashes it looks for broken promises: a refusal names a problem, an accepted
 * request lies within the table's ranges, and its canonical JSON is taken again and gives
 * itself. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "request/request.h"

#define ALL_TASKS                                                                                  \
    (1u << RD_TASK_T2I | 1u << RD_TASK_I2I | 1u << RD_TASK_EDIT | 1u << RD_TASK_T2V |              \
     1u << RD_TASK_I2V)
#define BOTH (1u << RD_MODALITY_IMAGE | 1u << RD_MODALITY_VIDEO)

static const struct rd_preset presets[] = {{"fast", "euler", NULL, 4, 1.0, -1},
                                           {"standard", "uni_pc", "beta", 28, 7.0, 3.0}};
static const char *const excluded[] = {"512", NULL};
static const char *const none[] = {NULL};
static const struct rd_catalogue_lora loras[] = {{"known", "wan"}};
static const struct rd_model models[] = {
    {.family = "builtin",
     .name = "plasma",
     .modalities = BOTH,
     .tasks = ALL_TASKS,
     .backends = 1u << RD_BACKEND_BUILTIN,
     .default_backend = RD_BACKEND_BUILTIN,
     .excluded_formats = none},
    {.family = "wan",
     .name = "default",
     .modalities = BOTH,
     .tasks = ALL_TASKS,
     .backends = 1u << RD_BACKEND_TORCH | 1u << RD_BACKEND_NUNCHAKU,
     .default_backend = RD_BACKEND_TORCH,
     .presets = presets,
     .presets_count = 2,
     .excluded_formats = excluded},
};

static void check_accepted(const struct rd_generation *g)
{
    assert(g->prompt != NULL && g->prompt[0] != '\0' && strlen(g->prompt) <= 4 * RD_LIMIT_PROMPT);
    assert(g->steps >= 1 && g->steps <= 150 && g->count >= 1 && g->count <= RD_LIMIT_COUNT);
    assert(g->cfg >= 0 && g->cfg <= 20 && g->duration >= 0.5 && g->duration <= 10);
    assert(g->format != NULL && g->format->modality == g->modality);
    assert((g->image.kind != RD_SOURCE_NONE) == rd_task_needs_image(g->task));
    assert((g->mask.kind != RD_SOURCE_NONE) == rd_task_needs_mask(g->task));
    assert(strlen(g->json) == g->json_len && rd_text_utf8_valid(g->json, g->json_len));
}

/* Data URIs stand as digests in the canonical form, which is none of the forms that are taken. */
static void check_again(const struct rd_generation *g, struct rd_request_context *context)
{
    if (g->image.kind == RD_SOURCE_DATA || g->mask.kind == RD_SOURCE_DATA ||
        g->json_len > RD_LIMIT_JSON_BODY) {
        return;
    }
    struct rd_arena arena;
    struct rd_generation *again = NULL;
    struct rd_problems problems;
    rd_arena_init(&arena, RD_REQUEST_ARENA_MAX);
    context->random_seed++;
    assert(rd_request_parse(g->json, g->json_len, context, &arena, &again, &problems) == RD_OK);
    assert(again->json_len == g->json_len && memcmp(again->json, g->json, g->json_len) == 0);
    rd_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum rd_task task = (enum rd_task)(data[0] % RD_TASK_COUNT_);
    struct rd_request_context context = {
        .model = &models[data[0] >> 3 & 1],
        .modality = rd_task_modality(task),
        .task = task,
        .format = (data[0] & 0x10) != 0 ? "landscape" : NULL,
        .backend = (data[0] & 0x20) != 0 ? "torch" : NULL,
        .media = RD_MEDIA_PNG,
        .public_url = "http://127.0.0.1:8080",
        .random_seed = 7,
        .loras = loras,
        .loras_count = (data[0] & 0x40) != 0 ? 1 : 0,
    };
    struct rd_arena arena;
    struct rd_generation *generation = NULL;
    struct rd_problems problems;
    rd_arena_init(&arena, RD_REQUEST_ARENA_MAX);
    rd_err err = rd_request_parse((const char *)data + 1, size - 1, &context, &arena, &generation,
                                  &problems);
    assert((err == RD_OK) == (generation != NULL));
    assert((err == RD_OK) == (problems.count == 0));
    if (err == RD_OK) {
        check_accepted(generation);
        check_again(generation, &context);
    }
    rd_arena_done(&arena);
    return 0;
}
