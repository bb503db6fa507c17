/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of src/request share: models built by hand (so that they do not depend on the
 * catalogue's file), pictures of 2 x 2 pixels, and a parse with everything that it needs. */
#ifndef RD_TESTS_REQUEST_FIXTURE_H
#define RD_TESTS_REQUEST_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "request/request.h"

#define PNG_URI                                                                                    \
    "data:image/"                                                                                  \
    "png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAACXBIWXMAAAABAAAAAQBPJcTWAAAAE"     \
    "ElEQVR4nGP4y8AARAwQCgAfrgP19hgqWQAAAABJRU5ErkJggg=="
#define PNG_SHA256 "1d01f8d8ea72e119aa413b8e1cf332c9df302bbe663dd66a7241eedcb79435c5"
#define WEBP_BASE64                                                                                \
    "UklGRjwAAABXRUJQVlA4IDAAAADQAQCdASoCAAIAAgA0JaACdLoB+AADsAD+8Oj3/yC5YXXI1/8gP+QH/ID/+PIAAAA="
#define JPEG_BASE64                                                                                \
    "/9j/4AAQSkZJRgABAgAAAQABAAD//gAQTGF2YzU5LjM3LjEwMAD/"                                         \
    "2wBDAAgEBAQEBAUFBQUFBQYGBgYGBgYGBgYGBgYHBwcICAgH"                                             \
    "BwcGBgcHCAgICAkJCQgICAgJCQoKCgwMCwsODg4RERT/"                                                 \
    "xABMAAEBAAAAAAAAAAAAAAAAAAAABgEBAQAAAAAAAAAAAAAAAAAABgcQ"                                     \
    "AQAAAAAAAAAAAAAAAAAAAAARAQAAAAAAAAAAAAAAAAAAAAD/wAARCAACAAIDASIAAhEAAxEA/"                    \
    "9oADAMBAAIRAxEAPwCLAFF/f//Z"

#define ALL_TASKS                                                                                  \
    (1u << RD_TASK_T2I | 1u << RD_TASK_I2I | 1u << RD_TASK_EDIT | 1u << RD_TASK_T2V |              \
     1u << RD_TASK_I2V)
#define BOTH (1u << RD_MODALITY_IMAGE | 1u << RD_MODALITY_VIDEO)

static const char *const no_formats[] = {NULL};
static const char *const wide_formats[] = {"portrait-wide", "landscape-wide", NULL};

static const struct rd_preset flux_presets[] = {
    {"fast", "euler", "simple", 20, 1.0, 2.5},
    {"standard", "euler", "beta", 25, 1.0, 3.5},
    {"quality", "res_3s", "exponential", 35, 1.0, 3.5},
};
static const struct rd_preset wan_presets[] = {
    {"fast", "euler", "simple", 8, 1.0, -1},
    {"standard", "uni_pc", "beta", 28, 7.0, -1},
};
static const struct rd_preset qwen_presets[] = {{"standard", "euler", NULL, 0, -1, -1}};

static const struct rd_model plasma = {.family = "builtin",
                                       .name = "plasma",
                                       .modalities = BOTH,
                                       .tasks = ALL_TASKS,
                                       .backends = 1u << RD_BACKEND_BUILTIN,
                                       .default_backend = RD_BACKEND_BUILTIN,
                                       .excluded_formats = no_formats};
static const struct rd_model flux = {.family = "flux",
                                     .name = "dev2",
                                     .modalities = 1u << RD_MODALITY_IMAGE,
                                     .tasks = 1u << RD_TASK_T2I | 1u << RD_TASK_I2I,
                                     .backends = 1u << RD_BACKEND_NUNCHAKU | 1u << RD_BACKEND_TORCH,
                                     .default_backend = RD_BACKEND_NUNCHAKU,
                                     .alias = "black-forest-labs/FLUX.2-dev",
                                     .presets = flux_presets,
                                     .presets_count = 3,
                                     .excluded_formats = no_formats};
static const struct rd_model wan = {.family = "wan",
                                    .name = "default",
                                    .modalities = 1u << RD_MODALITY_VIDEO,
                                    .tasks = 1u << RD_TASK_T2V | 1u << RD_TASK_I2V,
                                    .backends = 1u << RD_BACKEND_TORCH | 1u << RD_BACKEND_NUNCHAKU,
                                    .default_backend = RD_BACKEND_TORCH,
                                    .presets = wan_presets,
                                    .presets_count = 2,
                                    .excluded_formats = no_formats};
static const struct rd_model qwen = {.family = "qwen",
                                     .name = "edit",
                                     .modalities = 1u << RD_MODALITY_IMAGE,
                                     .tasks =
                                         1u << RD_TASK_T2I | 1u << RD_TASK_I2I | 1u << RD_TASK_EDIT,
                                     .backends = 1u << RD_BACKEND_NUNCHAKU,
                                     .default_backend = RD_BACKEND_NUNCHAKU,
                                     .presets = qwen_presets,
                                     .presets_count = 1,
                                     .excluded_formats = wide_formats};

enum { FIXTURE_SEED = 4242 };

struct fixture {
    struct rd_arena arena;
    struct rd_request_context context;
    struct rd_problems problems;
    struct rd_generation *generation;
};

static inline void fixture_start(struct fixture *f, const struct rd_model *model, enum rd_task task)
{
    *f = (struct fixture){.context = {.model = model,
                                      .modality = rd_task_modality(task),
                                      .task = task,
                                      .media = rd_task_modality(task) == RD_MODALITY_VIDEO
                                                   ? RD_MEDIA_MP4
                                                   : RD_MEDIA_PNG,
                                      .public_url = "http://127.0.0.1:8080",
                                      .random_seed = FIXTURE_SEED}};
    rd_arena_init(&f->arena, RD_REQUEST_ARENA_MAX);
    (void)flux;
    (void)wan;
    (void)qwen;
    (void)plasma;
}

static inline void fixture_end(struct fixture *f)
{
    rd_arena_done(&f->arena);
}

static inline rd_err fixture_parse_len(struct fixture *f, const char *body, size_t len)
{
    rd_arena_done(&f->arena);
    f->generation = NULL;
    return rd_request_parse(body, len, &f->context, &f->arena, &f->generation, &f->problems);
}

static inline rd_err fixture_parse(struct fixture *f, const char *body)
{
    return fixture_parse_len(f, body, strlen(body));
}

/* The request is refused for one reason: this one. */
static inline void assert_one_problem(const struct fixture *f, const char *field,
                                      const char *constraint)
{
    if (f->problems.count != 1 || strcmp(f->problems.list[0].field, field) != 0 ||
        strcmp(f->problems.list[0].constraint, constraint) != 0) {
        for (size_t i = 0; i < f->problems.count; i++) {
            print_error("got %s: %s: %s\n", f->problems.list[i].field,
                        f->problems.list[i].constraint, f->problems.list[i].message);
        }
        fail_msg("expected one problem, %s: %s; got %zu", field, constraint, f->problems.count);
    }
}

static inline void assert_refused(struct fixture *f, const char *body, const char *field,
                                  const char *constraint)
{
    rd_err err = fixture_parse(f, body);
    if (err != RD_ERR_INVALID_REQUEST) {
        fail_msg("expected INVALID_REQUEST for %.200s, got %d", body, (int)err);
    }
    assert_null(f->generation);
    assert_one_problem(f, field, constraint);
}

static inline void assert_accepted(struct fixture *f, const char *body)
{
    rd_err err = fixture_parse(f, body);
    if (err != RD_OK) {
        fail_msg("expected OK for %.200s, got %d: %s: %s", body, (int)err,
                 f->problems.count > 0 ? f->problems.list[0].field : "-",
                 f->problems.count > 0 ? f->problems.list[0].message : "-");
    }
    assert_int_equal(f->problems.count, 0);
    assert_non_null(f->generation);
}

/* Everything that a task must have, without the closing brace. */
static inline const char *fixture_base(enum rd_task task)
{
    if (rd_task_needs_mask(task)) {
        return "{\"prompt\":\"x\",\"image\":\"https://h/i\",\"mask\":\"https://h/m\"";
    }
    return rd_task_needs_image(task) ? "{\"prompt\":\"x\",\"image\":\"https://h/i\""
                                     : "{\"prompt\":\"x\"";
}

#endif
