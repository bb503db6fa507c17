/* SPDX-License-Identifier: Apache-2.0
 *
 * Every request field, once. parse.c walks this table, canonical.c writes by it, request_fields.c
 * prints it for the test that compares it with api/openapi.yaml. To add a field: add a row (in the
 * order of names), a member of struct rd_generation, and its schema in api/openapi.yaml.
 *
 * Where the contract leaves a choice, it is made here:
 * - sampler and scheduler are closed lists: the names in ComfyUI and the RES4LYF nodes, which is
 *   what engines of this kind understand. A misspelt name is then an answer at once, not a failed
 *   job. An operator's new sampler is one line here and one in the OpenAPI file.
 * - shift ends at 100 and LoRA weights at +-100, as ComfyUI's own nodes do.
 * - Where the contract names no default, a neutral one: the middle (motion_strength), off
 *   (clip_skip, detail_amount), all of the way (detail_start, detail_end), or RES4LYF's own
 *   (eta). */
#include "request/fields.h"

#include <string.h>

#include "base/limits.h"
#include "catalogue/catalogue.h"

enum {
    T2I = RD_FIELD_TASK(RD_TASK_T2I),
    I2I = RD_FIELD_TASK(RD_TASK_I2I),
    EDIT = RD_FIELD_TASK(RD_TASK_EDIT),
    T2V = RD_FIELD_TASK(RD_TASK_T2V),
    I2V = RD_FIELD_TASK(RD_TASK_I2V),
    IMAGE = T2I | I2I | EDIT,
    VIDEO = T2V | I2V,
    ALL = IMAGE | VIDEO,
    SOURCE = I2I | EDIT | I2V
};

static const char *const samplers[] = {"ddim",
                                       "ddpm",
                                       "deis",
                                       "deis_2m",
                                       "deis_3m",
                                       "deis_4m",
                                       "dpm_2",
                                       "dpm_2_ancestral",
                                       "dpm_adaptive",
                                       "dpm_fast",
                                       "dpmpp_2m",
                                       "dpmpp_2m_cfg_pp",
                                       "dpmpp_2m_sde",
                                       "dpmpp_2m_sde_gpu",
                                       "dpmpp_2m_sde_heun",
                                       "dpmpp_2m_sde_heun_gpu",
                                       "dpmpp_2s_ancestral",
                                       "dpmpp_2s_ancestral_cfg_pp",
                                       "dpmpp_3m_sde",
                                       "dpmpp_3m_sde_gpu",
                                       "dpmpp_sde",
                                       "dpmpp_sde_gpu",
                                       "er_sde",
                                       "euler",
                                       "euler_ancestral",
                                       "euler_ancestral_cfg_pp",
                                       "euler_cfg_pp",
                                       "exp_heun_2_x0",
                                       "exp_heun_2_x0_sde",
                                       "gradient_estimation",
                                       "gradient_estimation_cfg_pp",
                                       "heun",
                                       "heunpp2",
                                       "ipndm",
                                       "ipndm_v",
                                       "lcm",
                                       "lms",
                                       "res_2m",
                                       "res_2m_sde",
                                       "res_2s",
                                       "res_2s_sde",
                                       "res_3m",
                                       "res_3m_sde",
                                       "res_3s",
                                       "res_3s_sde",
                                       "res_5s",
                                       "res_5s_sde",
                                       "res_6s",
                                       "res_6s_sde",
                                       "res_multistep",
                                       "res_multistep_ancestral",
                                       "res_multistep_ancestral_cfg_pp",
                                       "res_multistep_cfg_pp",
                                       "rk4_4s",
                                       "sa_solver",
                                       "sa_solver_pece",
                                       "seeds_2",
                                       "seeds_3",
                                       "uni_pc",
                                       "uni_pc_bh2",
                                       NULL};

static const char *const schedulers[] = {
    "beta",       "beta57",           "bong_tangent", "ddim_uniform", "exponential", "karras",
    "kl_optimal", "linear_quadratic", "normal",       "sgm_uniform",  "simple",      NULL};

static const char *const noise_types[] = {"brownian", "fractal", "gaussian", "perlin", NULL};

static const char *route_modality(const struct rd_generation *generation)
{
    return rd_modality_name(generation->modality);
}

static const char *route_task(const struct rd_generation *generation)
{
    return rd_task_name(generation->task);
}

static const char *route_family(const struct rd_generation *generation)
{
    return generation->family;
}

static const char *route_model(const struct rd_generation *generation)
{
    return generation->model;
}

#define AT(member) .offset = offsetof(struct rd_generation, member)
#define FIXED(value) .fallback = RD_DEFAULT_FIXED, .number = (value)
#define FIXED_TEXT(value) .fallback = RD_DEFAULT_FIXED, .text = (value)
#define BY_PRESET(member)                                                                          \
    .fallback = RD_DEFAULT_PRESET, .preset_offset = offsetof(struct rd_preset, member)
#define LIGHTNING(value) .set_by_lightning = true, .lightning = (value)

/* clang-format off */
const struct rd_field rd_fields[] = {
    {"backend", RD_FIELD_BACKEND, ALL, 0, .fallback = RD_DEFAULT_MODEL},
    {"cfg", RD_FIELD_NUMBER, ALL, 0, 0, 20, BY_PRESET(cfg), .number = 1.0, LIGHTNING(1.0), AT(cfg)},
    {"clip_skip", RD_FIELD_INTEGER, ALL, 0, 0, 12, FIXED(0), AT(clip_skip)},
    {"count", RD_FIELD_INTEGER, IMAGE, 0, 1, RD_LIMIT_COUNT, FIXED(1), AT(count)},
    {"detail_amount", RD_FIELD_NUMBER, IMAGE, 0, -5, 5, FIXED(0), AT(detail_amount)},
    {"detail_end", RD_FIELD_NUMBER, IMAGE, 0, 0, 1, FIXED(1), AT(detail_end)},
    {"detail_start", RD_FIELD_NUMBER, IMAGE, 0, 0, 1, FIXED(0), AT(detail_start)},
    {"duration", RD_FIELD_NUMBER, VIDEO, 0, 0.5, 10, FIXED(2), AT(duration)},
    {"eta", RD_FIELD_NUMBER, ALL, 0, 0, 2, FIXED(0.5), AT(eta)},
    {"family", RD_FIELD_ROUTE, ALL, 0, .route = route_family},
    {"format", RD_FIELD_FORMAT, ALL, 0, .fallback = RD_DEFAULT_MODEL},
    {"guidance", RD_FIELD_NUMBER, IMAGE, 0, 0, 30, BY_PRESET(guidance), .number = 3.5,
     AT(guidance)},
    {"image", RD_FIELD_SOURCE, SOURCE, SOURCE, 1, RD_LIMIT_URL, AT(image)},
    {"lightning", RD_FIELD_BOOL, VIDEO, 0, FIXED(0), .family = "wan", AT(lightning)},
    {"lora", RD_FIELD_LORAS, ALL, 0, 0, RD_LIMIT_LORAS, AT(loras)},
    {"mask", RD_FIELD_SOURCE, EDIT, EDIT, 1, RD_LIMIT_URL, AT(mask)},
    {"modality", RD_FIELD_ROUTE, ALL, 0, .route = route_modality},
    {"model", RD_FIELD_ROUTE, ALL, 0, .route = route_model},
    {"motion_strength", RD_FIELD_NUMBER, VIDEO, 0, 0, 1, FIXED(0.5), AT(motion_strength)},
    {"negative_prompt", RD_FIELD_TEXT, ALL, 0, 0, RD_LIMIT_NEGATIVE_PROMPT,
     FIXED_TEXT(""), AT(negative_prompt)},
    {"noise_type", RD_FIELD_NAME, ALL, 0, .names = noise_types,
     FIXED_TEXT("gaussian"), AT(noise_type)},
    {"preset", RD_FIELD_PRESET, ALL, 0, .fallback = RD_DEFAULT_NONE},
    {"prompt", RD_FIELD_TEXT, ALL, ALL, 1, RD_LIMIT_PROMPT, AT(prompt)},
    {"sampler", RD_FIELD_NAME, ALL, 0, .names = samplers,
     BY_PRESET(sampler), .text = "euler", AT(sampler)},
    {"scheduler", RD_FIELD_NAME, ALL, 0, .names = schedulers,
     BY_PRESET(scheduler), .text = "simple", AT(scheduler)},
    {"seed", RD_FIELD_INTEGER, ALL, 0, 0, 4294967295.0, RD_DEFAULT_DRAWN, AT(seed)},
    {"shift", RD_FIELD_NUMBER, VIDEO, 0, -1, 100, FIXED(-1), LIGHTNING(5.0), AT(shift)},
    {"steps", RD_FIELD_INTEGER, IMAGE, 0, 1, 150, BY_PRESET(steps), .number = 20, AT(steps)},
    {"steps", RD_FIELD_INTEGER, VIDEO, 0, 1, 50, BY_PRESET(steps), .number = 8, AT(steps)},
    {"strength", RD_FIELD_NUMBER, I2I, 0, 0, 1, FIXED(0.8), AT(strength)},
    {"task", RD_FIELD_ROUTE, ALL, 0, .route = route_task},
};
const size_t rd_fields_count = sizeof rd_fields / sizeof rd_fields[0];

const struct rd_field rd_lora_fields[] = {
    {"id", RD_FIELD_TEXT, ALL, ALL, 1, 128, .offset = offsetof(struct rd_lora, id)},
    {"weight", RD_FIELD_NUMBER, ALL, 0, -100, 100, FIXED(1.0),
     .offset = offsetof(struct rd_lora, weight)},
};
const size_t rd_lora_fields_count = sizeof rd_lora_fields / sizeof rd_lora_fields[0];
/* clang-format on */

_Static_assert(sizeof rd_fields / sizeof rd_fields[0] <= RD_FIELDS_MAX, "a bit for each row");
/* INTEGER rows are stored through uint32_t, into members that are unsigned or uint32_t. */
_Static_assert(sizeof(unsigned) == sizeof(uint32_t), "INTEGER fields are 32 bits");

const struct rd_field *rd_field_find(const char *name)
{
    size_t low = 0;
    size_t high = rd_fields_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(rd_fields[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < rd_fields_count && strcmp(rd_fields[low].name, name) == 0 ? &rd_fields[low] : NULL;
}

const struct rd_field *rd_field_find_for(const char *name, enum rd_task task)
{
    const struct rd_field *end = rd_fields + rd_fields_count;
    for (const struct rd_field *field = rd_field_find(name);
         field != NULL && field < end && strcmp(field->name, name) == 0; field++) {
        if ((field->tasks & RD_FIELD_TASK(task)) != 0) {
            return field;
        }
    }
    return NULL;
}
