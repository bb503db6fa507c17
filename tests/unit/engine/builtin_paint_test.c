/* SPDX-License-Identifier: Apache-2.0
 *
 * What pictures show: that red is red and a circle is round for any seed, that each field of a
 * request does what docs/builtin-engine.md says, what i2i and edit keep, that steps refine, and, by
 * golden hashes of raw pixels, that all machines and compilers paint the same. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/builtin/paint.h"

enum { SIDE = 128, BYTES = SIDE * SIDE * 3 };

static struct rd_generation request(const char *prompt)
{
    return (struct rd_generation){
        .modality = RD_MODALITY_IMAGE,
        .task = RD_TASK_T2I,
        .prompt = prompt,
        .negative_prompt = "",
        .seed = 7,
        .strength = 0.8,
        .steps = 12,
        .guidance = 3.5,
        .cfg = 1,
        .count = 1,
        .duration = 2,
        .motion_strength = 0.5,
        .shift = -1,
        .sampler = "euler",
        .scheduler = "simple",
        .noise_type = "gaussian",
        .detail_end = 1,
    };
}

struct extra {
    const uint8_t *source, *mask;
    unsigned steps_shown; /* 0: all */
    rd_err (*check)(void *ctx);
    void *ctx;
};

static rd_err paint_with(const struct rd_generation *generation, const struct extra *extra,
                         uint8_t *rgb)
{
    struct rd_plan plan;
    rd_plan_make(generation, generation->seed, &plan);
    struct rd_paint_input input = {
        .plan = &plan,
        .width = SIDE,
        .height = SIDE,
        .source = extra->source,
        .mask = extra->mask,
        .pulse = {extra->check, extra->ctx},
    };
    struct rd_painter *painter = NULL;
    RD_TRY(rd_painter_new(&input, &painter));
    rd_err err = RD_OK;
    unsigned steps = extra->steps_shown ? extra->steps_shown : plan.steps;
    for (unsigned i = 0; i < steps && err == RD_OK; i++) {
        err = rd_painter_step(painter, i);
    }
    err = err == RD_OK ? rd_painter_show(painter, rgb) : err;
    rd_painter_free(painter);
    return err;
}

static void paint(const struct rd_generation *generation, uint8_t *rgb)
{
    assert_int_equal(paint_with(generation, &(struct extra){0}, rgb), RD_OK);
}

/* Mean difference of two pictures, in 1/100 levels. */
static uint64_t difference(const uint8_t *a, const uint8_t *b)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < BYTES; i++) {
        sum += (uint64_t)(a[i] > b[i] ? a[i] - b[i] : b[i] - a[i]);
    }
    return sum * 100 / BYTES;
}

struct mean {
    int32_t r, g, b;
};

static struct mean mean_of(const uint8_t *rgb, int32_t x0, int32_t y0, int32_t x1, int32_t y1)
{
    int64_t sum[3] = {0};
    for (int32_t y = y0; y < y1; y++) {
        for (int32_t x = x0; x < x1; x++) {
            for (int32_t k = 0; k < 3; k++) {
                sum[k] += rgb[(y * SIDE + x) * 3 + k];
            }
        }
    }
    int64_t count = (int64_t)(x1 - x0) * (y1 - y0);
    return (struct mean){(int32_t)(sum[0] / count), (int32_t)(sum[1] / count),
                         (int32_t)(sum[2] / count)};
}

static void colours_have_their_hue(void **state)
{
    (void)state;
    static const struct {
        const char *prompt;
        int high, low; /* channels */
    } table[] = {
        {"red", 0, 2},    {"red", 0, 1},    {"a red circle", 0, 1}, {"a red circle", 0, 2},
        {"green", 1, 0},  {"green", 1, 2},  {"blue", 2, 0},         {"blue", 2, 1},
        {"yellow", 0, 2}, {"yellow", 1, 2}, {"purple", 0, 1},       {"purple", 2, 1},
        {"sunset", 0, 2}, {"night", 2, 0},
    };
    static uint8_t rgb[BYTES];
    for (uint32_t seed = 1; seed <= 5; seed++) {
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
            struct rd_generation g = request(table[i].prompt);
            g.seed = seed * 1000003;
            paint(&g, rgb);
            struct mean m = mean_of(rgb, 0, 0, SIDE, SIDE);
            const int32_t c[3] = {m.r, m.g, m.b};
            assert_true(c[table[i].high] > c[table[i].low] + 20);
        }
    }
}

/* A circle: along sixteen rays from the middle the colour is the subject's up to its edge, and the
 * edge is equally far away on all. */
static void circles_are_round(void **state)
{
    (void)state;
    static uint8_t rgb[BYTES];
    for (uint32_t seed = 1; seed <= 5; seed++) {
        struct rd_generation g = request("a yellow circle on blue");
        g.seed = seed * 77;
        paint(&g, rgb);
        int32_t nearest = SIDE;
        int32_t farthest = 0;
        for (uint32_t ray = 0; ray < 16; ray++) {
            int32_t r = 0;
            for (; r < SIDE / 2 - 1; r++) {
                int32_t x = SIDE / 2 + r * rd_noise_cos(ray * 4096) / 32768;
                int32_t y = SIDE / 2 + r * rd_noise_sin(ray * 4096) / 32768;
                struct mean m = mean_of(rgb, x - 1, y - 1, x + 2, y + 2);
                if (m.r < m.b) { /* yellow ends */
                    break;
                }
            }
            nearest = r < nearest ? r : nearest;
            farthest = r > farthest ? r : farthest;
        }
        assert_in_range(nearest, SIDE * 22 / 100, SIDE * 30 / 100);
        assert_in_range(farthest, SIDE * 25 / 100, SIDE * 33 / 100);
    }
}

static void places_are_kept(void **state)
{
    (void)state;
    static uint8_t rgb[BYTES];
    struct rd_generation g = request("a red square left, a blue square right");
    paint(&g, rgb);
    struct mean left = mean_of(rgb, SIDE / 4 - 8, SIDE / 2 - 8, SIDE / 4 + 8, SIDE / 2 + 8);
    struct mean right =
        mean_of(rgb, SIDE * 3 / 4 - 8, SIDE / 2 - 8, SIDE * 3 / 4 + 8, SIDE / 2 + 8);
    assert_true(left.r > left.b + 60);
    assert_true(right.b > right.r + 60);
}

/* Each field, changed alone, changes the picture. */
static void every_field_shows(void **state)
{
    (void)state;
    static uint8_t before[BYTES];
    static uint8_t after[BYTES];
    static const struct rd_lora loras[] = {{"anti_blur", 1.0}};
    struct rd_generation base = request("a moon and a glorious mountain");
    paint(&base, before);
    paint(&base, after);
    assert_memory_equal(before, after, BYTES); /* and nothing else does */
    struct rd_generation changed[16];
    size_t n = 0;
#define CHANGE(field, value) (changed[n] = base, changed[n].field = (value), n++)
    CHANGE(prompt, "a moon and a gloomy mountain");
    CHANGE(negative_prompt, "moon");
    CHANGE(seed, 8);
    CHANGE(steps, 3);
    CHANGE(guidance, 12);
    CHANGE(cfg, 8);
    CHANGE(cfg, 0.2);
    CHANGE(sampler, "res_3s");
    CHANGE(sampler, "res_2m_sde");
    CHANGE(scheduler, "karras");
    CHANGE(noise_type, "brownian");
    CHANGE(eta, 1.5);
    CHANGE(clip_skip, 1);
    CHANGE(detail_amount, -4);
    CHANGE(detail_amount, 4);
    CHANGE(loras, loras);
    changed[n - 1].loras_count = 1;
    for (size_t i = 0; i < n; i++) {
        paint(&changed[i], after);
        if (difference(before, after) < 100) {
            fail_msg("change %zu moved the picture by %d/100 only", i,
                     (int)difference(before, after));
        }
    }
    struct rd_generation late = base; /* detail outside of its window is no detail */
    late.detail_amount = 4;
    late.detail_start = 0.9999;
    late.detail_end = 0.9;
    paint(&late, after);
    assert_memory_equal(before, after, BYTES);
}

static void guidance_means_contrast_and_eta_grain(void **state)
{
    (void)state;
    static uint8_t rgb[BYTES];
    uint64_t spread[2];
    for (int i = 0; i < 2; i++) {
        struct rd_generation g = request("green waves");
        g.guidance = i ? 20 : 1;
        paint(&g, rgb);
        struct mean m = mean_of(rgb, 0, 0, SIDE, SIDE);
        spread[i] = 0;
        for (size_t k = 0; k < BYTES; k += 3) {
            spread[i] += (uint64_t)abs(rgb[k + 1] - m.g);
        }
    }
    assert_true(spread[1] > spread[0] * 5 / 4);

    uint64_t rough[2];
    for (int i = 0; i < 2; i++) {
        struct rd_generation g = request("plain");
        g.eta = i * 2;
        paint(&g, rgb);
        rough[i] = 0;
        for (size_t k = 3; k < BYTES; k++) {
            rough[i] += (uint64_t)abs(rgb[k] - rgb[k - 3]);
        }
    }
    assert_true(rough[1] > rough[0] * 5 / 4);
}

static void steps_refine(void **state)
{
    (void)state;
    static uint8_t final[BYTES];
    static uint8_t shown[BYTES];
    struct rd_generation g = request("sunset over mountains and a lake");
    g.steps = 20;
    paint(&g, final);
    uint64_t last = UINT64_MAX;
    static const unsigned at[] = {1, 5, 10, 15, 19};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        assert_int_equal(paint_with(&g, &(struct extra){.steps_shown = at[i]}, shown), RD_OK);
        uint64_t now = difference(final, shown);
        assert_true(now > 0 && now < last);
        last = now;
    }
    assert_true(last < 800);
}

static void strength_runs_from_all_to_nothing(void **state)
{
    (void)state;
    static uint8_t source[BYTES];
    static uint8_t out[BYTES];
    static uint8_t free[BYTES];
    struct rd_generation g = request("spiral, green");
    paint(&g, source);
    g = request("a red heart");
    g.eta = 1;
    uint64_t last = 0;
    for (int i = 0; i <= 5; i++) {
        g.strength = i / 5.0;
        assert_int_equal(paint_with(&g, &(struct extra){.source = source}, out), RD_OK);
        if (i == 0) {
            assert_memory_equal(out, source, BYTES);
        } else {
            assert_true(difference(out, source) > last);
        }
        last = difference(out, source);
    }
    paint(&g, free);
    assert_memory_equal(out, free, BYTES); /* 1 ignores the source */
}

static void edits_keep_black_bit_for_bit(void **state)
{
    (void)state;
    static uint8_t source[BYTES];
    static uint8_t out[BYTES];
    static uint8_t mask[SIDE * SIDE];
    for (size_t i = 0; i < BYTES; i++) {
        source[i] = (uint8_t)(rd_noise_hash(5, (int32_t)i, 0, 1) >> 24);
    }
    for (int32_t i = 0; i < SIDE * SIDE; i++) { /* black, grey, white bands */
        int32_t x = i % SIDE;
        mask[i] = (uint8_t)(x < 40 ? 0 : x < 60 ? (x - 40) * 12 : x < 110 ? 255 : 0);
    }
    struct rd_generation g = request("a gold star on navy");
    g.eta = 2;
    assert_int_equal(paint_with(&g, &(struct extra){.source = source, .mask = mask}, out), RD_OK);
    uint64_t changed = 0;
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        if (mask[i] == 0) {
            assert_memory_equal(out + i * 3, source + i * 3, 3);
        } else if (mask[i] == 255) {
            changed += memcmp(out + i * 3, source + i * 3, 3) != 0;
        }
    }
    assert_true(changed > 50 * SIDE * 9 / 10);
    memset(mask, 0, sizeof mask); /* nothing may change */
    assert_int_equal(paint_with(&g, &(struct extra){.source = source, .mask = mask}, out), RD_OK);
    assert_memory_equal(out, source, BYTES);
    memset(mask, 255, sizeof mask); /* everything: the picture as if there were no source */
    assert_int_equal(paint_with(&g, &(struct extra){.source = source, .mask = mask}, out), RD_OK);
    static uint8_t free[BYTES];
    paint(&g, free);
    assert_memory_equal(out, free, BYTES);
}

struct countdown {
    unsigned left, calls;
};

static rd_err count_down(void *ctx)
{
    struct countdown *c = ctx;
    c->calls++;
    return c->left-- == 0 ? RD_ERR_CANCELLED : RD_OK;
}

static void stops_wherever_it_is_asked(void **state)
{
    (void)state;
    static uint8_t rgb[BYTES];
    struct rd_generation g = request("moon, stars, house, mountains, lake");
    g.steps = 4;
    struct countdown all = {UINT32_MAX, 0};
    assert_int_equal(paint_with(&g, &(struct extra){.check = count_down, .ctx = &all}, rgb), RD_OK);
    assert_true(all.calls > 40);
    for (unsigned i = 0; i < all.calls; i += 3) {
        struct countdown one = {i, 0};
        assert_int_equal(paint_with(&g, &(struct extra){.check = count_down, .ctx = &one}, rgb),
                         RD_ERR_CANCELLED);
        assert_int_equal(one.calls, i + 1); /* at once, and not asked again */
    }
}

static void sizes_have_limits(void **state)
{
    (void)state;
    struct rd_generation g = request("x");
    struct rd_plan plan;
    rd_plan_make(&g, 1, &plan);
    static const int32_t sizes[][2] = {{0, 5},       {5, 0},      {-1, 5}, {2049, 1000},
                                       {1000, 2049}, {2048, 255}, {9, 1}};
    struct rd_painter *painter = NULL;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct rd_paint_input input = {.plan = &plan, .width = sizes[i][0], .height = sizes[i][1]};
        assert_int_equal(rd_painter_new(&input, &painter), RD_ERR_INVALID_REQUEST);
    }
    static const int32_t good[][2] = {{1, 1}, {1, 8}, {2048, 256}, {256, 2048}, {17, 5}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        static uint8_t rgb[2048 * 256 * 3];
        g = request("moon, mountain, lake, stars, seven houses, cat");
        rd_plan_make(&g, 1, &plan);
        struct rd_paint_input input = {.plan = &plan, .width = good[i][0], .height = good[i][1]};
        assert_int_equal(rd_painter_new(&input, &painter), RD_OK);
        assert_int_equal(rd_painter_step(painter, 0), RD_OK);
        assert_int_equal(rd_painter_step(painter, 11), RD_OK);
        assert_int_equal(rd_painter_show(painter, rgb), RD_OK);
        rd_painter_free(painter);
    }
}

/* Raw pixels, hashed. When the painter is changed on purpose, paste what the failing test prints.
 */
static void the_same_on_every_machine(void **state)
{
    (void)state;
    static const struct {
        const char *prompt, *sampler, *noise;
        double guidance, cfg, detail, eta;
        const char *blake3;
    } table[] = {
        {"moon and stars over mountains and a lake", "euler", "gaussian", 3.5, 1, 0, 0,
         "980c486f5106630c00d0f586fdcafee2294e29042f21cb3304b5b0812c10103f"},
        {"a red circle", "res_2m", "perlin", 7, 3, 2, 0.5,
         "8c5c72112fa5c2fb481501fcf5651520effd6124fca731f8a4c1840e6432c98e"},
        {"plasma", "res_3s_sde", "fractal", 2, 1, -2, 1,
         "e81b7ed7bb1e647cf01362dc23ab78c33b954a67047f29fca6b9fcd18ac6be54"},
        {"autumn forest, a house, birds and the sun", "uni_pc", "brownian", 3.5, 1, 0, 0,
         "9ee6b9dc0afd956c3fbd3e591c5018d04db161a804c0e4e922200f16800d2fea"},
        {"mosaic, a cat, a pink flower, two fish", "euler", "gaussian", 3.5, 1, 0, 0,
         "6faec9c2278a0c572f56d32e650f0cbb732e39d9950ebc6aea0900da8cdcdfdf"},
    };
    static uint8_t rgb[BYTES];
    bool same = true;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct rd_generation g = request(table[i].prompt);
        g.sampler = table[i].sampler;
        g.noise_type = table[i].noise;
        g.guidance = table[i].guidance;
        g.cfg = table[i].cfg;
        g.detail_amount = table[i].detail;
        g.eta = table[i].eta;
        paint(&g, rgb);
        uint8_t hash[RD_HASH_LEN];
        char hex[RD_HASH_HEX_LEN + 1];
        rd_hash_blake3(rgb, BYTES, hash);
        rd_text_hex(hash, sizeof hash, hex);
        if (strcmp(hex, table[i].blake3) != 0) {
            (void)fprintf(stderr, "# GOLDEN %zu %s\n", i, hex);
            same = false;
        }
    }
    assert_true(same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colours_have_their_hue),
        cmocka_unit_test(circles_are_round),
        cmocka_unit_test(places_are_kept),
        cmocka_unit_test(every_field_shows),
        cmocka_unit_test(guidance_means_contrast_and_eta_grain),
        cmocka_unit_test(steps_refine),
        cmocka_unit_test(strength_runs_from_all_to_nothing),
        cmocka_unit_test(edits_keep_black_bit_for_bit),
        cmocka_unit_test(stops_wherever_it_is_asked),
        cmocka_unit_test(sizes_have_limits),
        cmocka_unit_test(the_same_on_every_machine),
    };
    return cmocka_run_group_tests_name("engine/builtin_paint", tests, NULL, NULL);
}
