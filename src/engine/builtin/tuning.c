/* SPDX-License-Identifier: Apache-2.0
 *
 * The numbers of a request as fixed point: what guidance, cfg, sampler, scheduler, eta, LoRAs and
 * the rest mean to this painter. The one place with floating-point numbers, each used in one exact
 * way: it is clamped, multiplied by a power of two (exact) and cut to an integer. So no rounding
 * mode, fused multiplication or library can make two machines disagree. */
#include <string.h>

#include "engine/builtin/palette.h"
#include "engine/builtin/plan.h"

enum { FPS = 24, FRAMES_MIN = 12, FRAMES_MAX = 240, STEPS_MAX = 150 };

/* `value` in lo..hi as Q`bits`; what is no number counts as lo. */
static int32_t fixed(double value, int lo, int hi, unsigned bits)
{
    if (!(value > lo)) {
        return lo * (1 << bits);
    }
    if (value >= hi) {
        return hi * (1 << bits);
    }
    return (int32_t)(value * (double)(1 << bits));
}

static enum rd_manner manner_of(const char *sampler)
{
    static const struct {
        const char *name;
        enum rd_manner manner;
    } table[] = {
        {"euler", RD_MANNER_STRAIGHT}, {"res_2m", RD_MANNER_BENT},
        {"res_3s", RD_MANNER_CURLED},  {"res_2m_sde", RD_MANNER_BENT},
        {"uni_pc", RD_MANNER_DABS},    {"res_3s_sde", RD_MANNER_CURLED},
        {"", RD_MANNER_BENT},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i].name, sampler) == 0) {
            return table[i].manner;
        }
    }
    uint32_t h = rd_noise_hash_bytes(1, sampler, strlen(sampler));
    return (enum rd_manner)rd_noise_range(h, 0, RD_MANNER_COUNT_ - 1);
}

static enum rd_curve curve_of(const char *scheduler)
{
    static const char *const names[RD_CURVE_COUNT_] = {
        [RD_CURVE_SIMPLE] = "simple",
        [RD_CURVE_BETA] = "beta",
        [RD_CURVE_EXPONENTIAL] = "exponential",
        [RD_CURVE_KARRAS] = "karras",
        [RD_CURVE_BONG_TANGENT] = "bong_tangent",
        [RD_CURVE_BETA57] = "beta57",
    };
    if (scheduler[0] == '\0') {
        return RD_CURVE_SIMPLE;
    }
    for (size_t i = 0; i < RD_CURVE_COUNT_; i++) {
        if (strcmp(names[i], scheduler) == 0) {
            return (enum rd_curve)i;
        }
    }
    uint32_t h = rd_noise_hash_bytes(2, scheduler, strlen(scheduler));
    return (enum rd_curve)rd_noise_range(h, 0, RD_CURVE_COUNT_ - 1);
}

static enum rd_noise_kind noise_of(const char *name)
{
    static const char *const names[RD_NOISE_KIND_COUNT_] = {"gaussian", "perlin", "brownian",
                                                            "fractal"};
    for (size_t i = 0; i < RD_NOISE_KIND_COUNT_; i++) {
        if (strcmp(names[i], name) == 0) {
            return (enum rd_noise_kind)i;
        }
    }
    return RD_NOISE_GAUSSIAN;
}

/* guidance: 3.5 is the middle; saturating, so that 30 is a poster and not an accident. */
static void tune_guidance(double guidance, struct rd_plan *plan)
{
    int32_t g = fixed(guidance, 0, 30, 8);
    int32_t share = g * 256 / (g + 896); /* 0..229, 128 at 3.5 */
    plan->contrast = 159 + share * 195 / 256;
    plan->saturation = 120 + share * 272 / 256;
    plan->adherence = 96 + share * 180 / 256;
    plan->jitter = 300 - share * 3 / 2;
}

/* cfg: below 1 the subject fades, above it grows, brightens and glows. */
static void tune_cfg(double cfg, struct rd_plan *plan)
{
    int32_t c = fixed(cfg, 0, 20, 8);
    int32_t over = c > 256 ? (c - 256) * 256 / (c - 256 + 1024) : 0; /* 0..211 */
    plan->subject_alpha = c < 256 ? c : 256;
    plan->glow = plan->subject_alpha / 2 + over * 384 / 256;
    for (size_t i = 0; i < plan->subjects_count; i++) {
        struct rd_plan_subject *s = &plan->subjects[i];
        s->size += (int32_t)((int64_t)s->size * over / 1024);
    }
}

static void tune_styles(unsigned styles, struct rd_plan *plan)
{
    static const struct {
        int contrast, saturation, brightness, relief, brush, aspect, curl;
    } table[RD_STYLE_COUNT_] = {
        /* per cent of what it was; brightness is added */
        [RD_STYLE_BRIGHT] = {100, 104, 26, 100, 100, 100, 100},
        [RD_STYLE_DARK] = {100, 96, -36, 100, 100, 100, 100},
        [RD_STYLE_VIVID] = {112, 145, 0, 100, 100, 100, 100},
        [RD_STYLE_MUTED] = {86, 50, 4, 100, 100, 100, 100},
        [RD_STYLE_SMOOTH] = {100, 100, 0, 16, 60, 100, 30},
        [RD_STYLE_IMPASTO] = {104, 104, 0, 190, 135, 100, 120},
        [RD_STYLE_DOTS] = {100, 118, 0, 90, 90, 30, 100},
        [RD_STYLE_SOFT] = {82, 88, 14, 30, 130, 130, 60},
        [RD_STYLE_WILD] = {112, 118, 0, 130, 130, 130, 420},
    };
    for (size_t i = 0; i < RD_STYLE_COUNT_; i++) {
        if (styles >> i & 1) {
            plan->contrast = plan->contrast * table[i].contrast / 100;
            plan->saturation = plan->saturation * table[i].saturation / 100;
            plan->brightness = rd_noise_clamp(plan->brightness + table[i].brightness, -64, 64);
            plan->relief = plan->relief * table[i].relief / 100;
            plan->brush = plan->brush * table[i].brush / 100;
            plan->aspect = plan->aspect * table[i].aspect / 100;
            plan->curl = plan->curl * table[i].curl / 100;
        }
    }
    plan->relief = rd_noise_clamp(plan->relief, 0, 512);
    plan->brush = rd_noise_clamp(plan->brush, 96, 512);
    plan->aspect = rd_noise_clamp(plan->aspect, 256, 1792);
    plan->curl = rd_noise_clamp(plan->curl, 0, 12000);
}

/* Each id hashes to a tint and a change of the hand; the weight says how much, a negative one turns
 * both round. */
static void tune_loras(const struct rd_generation *generation, struct rd_plan *plan)
{
    for (size_t i = 0; i < generation->loras_count; i++) {
        const struct rd_lora *lora = &generation->loras[i];
        uint32_t h = rd_noise_hash_bytes(0x10a, lora->id, strlen(lora->id));
        int32_t weight = fixed(lora->weight, -2, 2, 8);
        if (weight == 0) {
            continue;
        }
        uint32_t turn = (h & 0xffff) + (weight < 0 ? 32768 : 0);
        struct rd_rgb tint = {
            (uint8_t)(128 + rd_noise_cos(turn) * 110 / 32768),
            (uint8_t)(128 + rd_noise_cos(turn + 21845) * 110 / 32768),
            (uint8_t)(128 + rd_noise_cos(turn + 43690) * 110 / 32768),
        };
        int32_t amount = (weight < 0 ? -weight : weight) * 48 / 256;
        plan->tint =
            plan->tint_amount == 0
                ? tint
                : rd_palette_mix(plan->tint, tint, amount * 256 / (amount + plan->tint_amount));
        plan->tint_amount = rd_noise_clamp(plan->tint_amount + amount, 0, 160);
        plan->aspect =
            plan->aspect * (256 + rd_noise_range(h >> 8, -120, 120) * weight / 256) / 256;
        plan->curl += rd_noise_range(rd_noise_hash(h, 1, 0, 0), -900, 1800) * weight / 256;
        plan->swirl += rd_noise_range(rd_noise_hash(h, 2, 0, 0), -90, 160) * weight / 256;
        plan->brush = plan->brush *
                      (256 + rd_noise_range(rd_noise_hash(h, 3, 0, 0), -50, 60) * weight / 256) /
                      256;
    }
    plan->swirl = rd_noise_clamp(plan->swirl, 0, 768);
}

static void tune_video(const struct rd_generation *generation, struct rd_plan *plan)
{
    int32_t duration = fixed(generation->duration, 0, 10, 16);
    int64_t frames = ((int64_t)duration * FPS + 32768) >> 16;
    plan->fps = FPS;
    plan->frames = (unsigned)rd_noise_clamp(frames, FRAMES_MIN, FRAMES_MAX);
    plan->motion = fixed(generation->motion_strength, 0, 1, 16);
    double shift = generation->shift;
    if (!(shift >= 0)) {
        shift = generation->lightning ? 5 : 3;
    }
    plan->shift = fixed(shift, 0, 12, 8);
}

void rd_plan_tune_(const struct rd_generation *generation, unsigned styles, struct rd_plan *plan)
{
    const char *sampler = generation->sampler ? generation->sampler : "";
    bool video = generation->modality == RD_MODALITY_VIDEO;
    plan->manner = manner_of(sampler);
    plan->curve = curve_of(generation->scheduler ? generation->scheduler : "");
    plan->noise = noise_of(generation->noise_type ? generation->noise_type : "");
    size_t len = strlen(sampler);
    plan->sde = len > 4 && strcmp(sampler + len - 4, "_sde") == 0;
    plan->steps = (unsigned)rd_noise_clamp(generation->steps, 1, STEPS_MAX);
    if (video && generation->lightning) {
        plan->steps = (plan->steps + 1) / 2;
    }
    plan->relief = 256;
    plan->brush = 256;
    plan->swirl = 256;
    plan->curl = 1500;
    plan->aspect = plan->manner == RD_MANNER_DABS ? 430 : 1050;
    tune_guidance(video ? 3.5 : generation->guidance, plan);
    tune_cfg(video && generation->lightning ? 1.0 : generation->cfg, plan);
    tune_loras(generation, plan);
    tune_styles(styles, plan);
    plan->grain = fixed(generation->eta, 0, 2, 8) * (plan->sde ? 3 : 2) / 2;
    plan->detail = fixed(generation->detail_amount, -5, 5, 8);
    plan->detail_start = fixed(generation->detail_start, 0, 1, 16);
    plan->detail_end = fixed(generation->detail_end, 0, 1, 16);
    plan->strength = fixed(generation->strength, 0, 1, 16);
    tune_video(generation, plan);
}
