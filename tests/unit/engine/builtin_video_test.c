/* SPDX-License-Identifier: Apache-2.0
 *
 * Moving pictures: that the loop has no seam, that every field moves what it should, that i2v
 * starts from the source, and golden hashes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "engine/builtin/video.h"

enum { WIDTH = 160, HEIGHT = 90, BYTES = WIDTH * HEIGHT * 3 };

static struct rd_generation request(const char *prompt)
{
    return (struct rd_generation){
        .modality = RD_MODALITY_VIDEO,
        .task = RD_TASK_T2V,
        .prompt = prompt,
        .negative_prompt = "",
        .seed = 7,
        .steps = 20,
        .cfg = 1,
        .count = 1,
        .duration = 1,
        .motion_strength = 0.5,
        .shift = -1,
        .sampler = "euler",
        .scheduler = "simple",
        .noise_type = "gaussian",
    };
}

static void frame_of(const struct rd_generation *g, const uint8_t *source, unsigned frame,
                     uint8_t *rgb)
{
    struct rd_plan plan;
    rd_plan_make(g, g->seed, &plan);
    struct rd_paint_input input = {
        .plan = &plan, .width = WIDTH, .height = HEIGHT, .source = source};
    struct rd_video *video = NULL;
    assert_int_equal(rd_video_new(&input, &video), RD_OK);
    assert_int_equal(rd_video_frame(video, frame, rgb), RD_OK);
    rd_video_free(video);
}

static uint64_t difference(const uint8_t *a, const uint8_t *b)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < BYTES; i++) {
        sum += (uint64_t)(a[i] > b[i] ? a[i] - b[i] : b[i] - a[i]);
    }
    return sum * 100 / BYTES;
}

/* The step from the last frame to the first is no larger than the steps inside. */
static void check_loop(const struct rd_generation *g, const uint8_t *source)
{
    static uint8_t first[BYTES];
    static uint8_t last[BYTES];
    static uint8_t now[BYTES];
    uint64_t largest = 0;
    frame_of(g, source, 0, first);
    memcpy(last, first, BYTES);
    for (unsigned frame = 1; frame < 24; frame++) {
        frame_of(g, source, frame, now);
        uint64_t moved = difference(last, now);
        assert_true(moved > 0);
        largest = moved > largest ? moved : largest;
        memcpy(last, now, BYTES);
    }
    assert_true(difference(last, first) <= largest * 6 / 5);
    frame_of(g, source, 24, now); /* one second of frames on: the same frame, exactly */
    assert_memory_equal(now, first, BYTES);
}

static void loops_have_no_seam(void **state)
{
    (void)state;
    static const char *const prompts[] = {"plasma", "moon and stars over the sea, a boat", "rings",
                                          "sun, birds, a flower and a heart"};
    for (size_t i = 0; i < sizeof prompts / sizeof prompts[0]; i++) {
        struct rd_generation g = request(prompts[i]);
        check_loop(&g, NULL);
        g.motion_strength = 1;
        check_loop(&g, NULL);
    }
}

static void nothing_moves_without_motion(void **state)
{
    (void)state;
    static uint8_t a[BYTES];
    static uint8_t b[BYTES];
    struct rd_generation g = request("moon and stars over the sea, a boat and a sun");
    g.motion_strength = 0;
    frame_of(&g, NULL, 0, a);
    frame_of(&g, NULL, 11, b);
    assert_memory_equal(a, b, BYTES);
}

static void every_field_moves_it(void **state)
{
    (void)state;
    static uint8_t a[BYTES];
    static uint8_t b[BYTES];
    struct rd_generation base = request("plasma, a boat");
    frame_of(&base, NULL, 8, a);
    struct rd_generation changed[8];
    size_t n = 0;
#define CHANGE(field, value) (changed[n] = base, changed[n].field = (value), n++)
    CHANGE(seed, 8);
    CHANGE(motion_strength, 1);
    CHANGE(shift, 9);
    CHANGE(lightning, true);
    CHANGE(steps, 3);
    CHANGE(duration, 3); /* frame 8 is another place of a longer loop */
    CHANGE(cfg, 9);
    CHANGE(eta, 1);
    for (size_t i = 0; i < n; i++) {
        frame_of(&changed[i], NULL, 8, b);
        if (difference(a, b) < 30) {
            fail_msg("change %zu moved the frame by %d/100 only", i, (int)difference(a, b));
        }
    }
}

static void source_is_the_first_frame(void **state)
{
    (void)state;
    static uint8_t source[BYTES];
    static uint8_t out[BYTES];
    static uint8_t other[BYTES];
    for (size_t i = 0; i < BYTES; i++) {
        source[i] = (uint8_t)(i / 3 % WIDTH + i / 3 / WIDTH + i % 3 * 40);
    }
    struct rd_generation g = request("gold waves");
    g.task = RD_TASK_I2V;
    frame_of(&g, source, 0, out);
    assert_memory_equal(out, source, BYTES);
    check_loop(&g, source);
    frame_of(&g, source, 12, out);
    g.prompt = "blue rings";
    frame_of(&g, source, 12, other);
    assert_true(difference(out, other) > 30);
    g.motion_strength = 0;
    frame_of(&g, source, 12, out);
    assert_memory_equal(out, source, BYTES);
}

static rd_err stop(void *ctx)
{
    unsigned *left = ctx;
    return (*left)-- == 0 ? RD_ERR_CANCELLED : RD_OK;
}

static void stops_inside_a_frame(void **state)
{
    (void)state;
    static uint8_t rgb[BYTES];
    struct rd_generation g = request("moon over the sea");
    struct rd_plan plan;
    rd_plan_make(&g, 1, &plan);
    for (unsigned i = 0; i < 20; i++) {
        unsigned left = i;
        struct rd_paint_input input = {
            .plan = &plan, .width = WIDTH, .height = HEIGHT, .pulse = {stop, &left}};
        struct rd_video *video = NULL;
        assert_int_equal(rd_video_new(&input, &video), RD_OK);
        assert_int_equal(rd_video_frame(video, 3, rgb), RD_ERR_CANCELLED);
        rd_video_free(video);
    }
    struct rd_video *video = NULL;
    struct rd_paint_input input = {.plan = &plan, .width = 2049, .height = 64};
    assert_int_equal(rd_video_new(&input, &video), RD_ERR_INVALID_REQUEST);
}

static void the_same_on_every_machine(void **state)
{
    (void)state;
    static const struct {
        const char *prompt;
        bool source;
        const char *blake3;
    } table[] = {
        {"moon and stars over mountains and a lake, a boat", false,
         "a09018e80da6b35f1e84bacbadad88220efdbde89891429b298abe4da8cd783a"},
        {"gold waves", true, "406e26d801012ef236cd6de28ca2f235b7b1cf436cac109ba639d1bb6316282d"},
    };
    static uint8_t source[BYTES];
    static uint8_t rgb[BYTES];
    bool same = true;
    for (size_t i = 0; i < BYTES; i++) {
        source[i] = (uint8_t)(rd_noise_hash(9, (int32_t)(i / 90), 0, 2) >> 24);
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct rd_generation g = request(table[i].prompt);
        frame_of(&g, table[i].source ? source : NULL, 7, rgb);
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
        cmocka_unit_test(loops_have_no_seam),   cmocka_unit_test(nothing_moves_without_motion),
        cmocka_unit_test(every_field_moves_it), cmocka_unit_test(source_is_the_first_frame),
        cmocka_unit_test(stops_inside_a_frame), cmocka_unit_test(the_same_on_every_machine),
    };
    return cmocka_run_group_tests_name("engine/builtin_video", tests, NULL, NULL);
}
