/* SPDX-License-Identifier: Apache-2.0
 *
 * The rule from words to scene, word by word, and its page of documentation, row by row. Run with
 * RD_PRINT_TABLES=1 the program prints the rows as docs/builtin-engine.md must have them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/limits.h"
#include "engine/builtin/palette.h"
#include "engine/builtin/plan.h"

static const struct rd_generation base = {
    .modality = RD_MODALITY_IMAGE,
    .task = RD_TASK_T2I,
    .prompt = "",
    .negative_prompt = "",
    .strength = 0.8,
    .steps = 20,
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

static struct rd_plan plan_of(const char *prompt, const char *negative)
{
    struct rd_generation generation = base;
    struct rd_plan plan;
    generation.prompt = prompt;
    generation.negative_prompt = negative;
    rd_plan_make(&generation, 7, &plan);
    return plan;
}

static bool same_rgb(struct rd_rgb a, struct rd_rgb b)
{
    return a.r == b.r && a.g == b.g && a.b == b.b;
}

static struct rd_rgb colour(const char *name)
{
    for (size_t i = 0; i < rd_words_colours_count; i++) {
        if (strcmp(rd_words_colours[i].name, name) == 0) {
            return rd_words_colours[i].rgb;
        }
    }
    fail_msg("no colour %s", name);
    return (struct rd_rgb){0, 0, 0};
}

static void the_table_is_sorted_and_in_range(void **state)
{
    (void)state;
    static const int most[RD_WORD_KIND_COUNT_] = {
        [RD_WORD_STRUCTURE] = RD_STRUCTURE_COUNT_ - 1,
        [RD_WORD_SUBJECT] = RD_SHAPE_COUNT_ - 1,
        [RD_WORD_STARS] = 1,
        [RD_WORD_WATER] = 1,
        [RD_WORD_GROUND] = 1,
        [RD_WORD_PLACE] = RD_PLACE_COUNT_ - 1,
        [RD_WORD_SIZE] = 200,
        [RD_WORD_NUMBER] = 7,
        [RD_WORD_STYLE] = RD_STYLE_COUNT_ - 1,
    };
    for (size_t i = 0; i < rd_words_count; i++) {
        const struct rd_word *row = &rd_words[i];
        int limit = row->kind == RD_WORD_COLOUR ? (int)rd_words_colours_count - 1
                    : row->kind == RD_WORD_MOOD ? (int)rd_words_moods_count - 1
                                                : most[row->kind];
        assert_in_range(row->value, 0, limit);
        if (i > 0) {
            int order = strcmp(rd_words[i - 1].word, row->word);
            assert_true(order < 0 || (order == 0 && rd_words[i - 1].kind < row->kind));
        }
        const struct rd_word *found = NULL;
        bool plural = true;
        assert_true(rd_words_find(row->word, strlen(row->word), &found, &plural) > 0);
        assert_string_equal(found->word, row->word);
        assert_false(plural);
    }
    assert_true(rd_words_moods_count <= 32); /* the sets of the negative prompt are 32 bits */
}

static void words_are_found_whole(void **state)
{
    (void)state;
    const struct rd_word *row = NULL;
    bool plural = false;
    assert_int_equal(rd_words_find("circles", 7, &row, &plural), 1);
    assert_true(plural);
    assert_int_equal(row->value, RD_SHAPE_CIRCLE);
    assert_int_equal(rd_words_find("boxes", 5, &row, &plural), 1);
    assert_int_equal(row->value, RD_SHAPE_SQUARE);
    assert_int_equal(rd_words_find("circ", 4, &row, &plural), 0);
    assert_int_equal(rd_words_find("circlesque", 10, &row, &plural), 0);
    assert_int_equal(rd_words_find("", 0, &row, &plural), 0);
    assert_int_equal(rd_words_find("s", 1, &row, &plural), 0);
    assert_int_equal(rd_words_find("circle", 3, &row, &plural), 0); /* only the length counts */
}

static void colours_go_to_their_noun(void **state)
{
    (void)state;
    struct rd_plan p = plan_of("a red circle and a big blue square", "");
    assert_int_equal(p.subjects_count, 2);
    assert_int_equal(p.subjects[0].kind, RD_SHAPE_CIRCLE);
    assert_true(same_rgb(p.subjects[0].rgb, colour("red")));
    assert_true(same_rgb(p.subjects[1].rgb, colour("blue")));
    assert_true(p.subjects[1].size > p.subjects[0].size);

    p = plan_of("circle, blue", ""); /* the comma ends the wait: blue is the background's */
    assert_true(same_rgb(p.palette[2], colour("blue")));
    assert_true(same_rgb(p.subjects[0].rgb, rd_words_subjects[RD_SHAPE_CIRCLE].rgb));

    p = plan_of("A RED Circle", ""); /* case counts for nothing */
    assert_true(same_rgb(p.subjects[0].rgb, colour("red")));
}

static void places_sizes_and_numbers(void **state)
{
    (void)state;
    struct rd_plan p = plan_of("a circle left and a square at the top right", "");
    assert_int_equal(p.subjects[0].x, 65536 / 4);
    assert_int_equal(p.subjects[1].x, 65536 * 3 / 4);
    assert_true(p.subjects[1].y < 65536 / 3);
    p = plan_of("on the right a circle, on the left a square", "");
    assert_int_equal(p.subjects[0].x, 65536 * 3 / 4);
    assert_int_equal(p.subjects[1].x, 65536 / 4);
    p = plan_of("circle", "");
    assert_in_range(p.subjects[0].x, 32768 - 10, 32768 + 10);
    assert_int_equal(p.subjects[0].y, 32768);
    int32_t usual = p.subjects[0].size;
    assert_true(plan_of("tiny circle", "").subjects[0].size < usual / 2);
    assert_true(plan_of("huge circle", "").subjects[0].size > usual * 3 / 2);
    assert_int_equal(plan_of("three hearts", "").subjects_count, 3);
    assert_int_equal(plan_of("two hearts, three birds", "").subjects_count, 5);
    assert_int_equal(plan_of("seven hearts, seven birds, seven fish", "").subjects_count,
                     RD_PLAN_SUBJECTS);
    p = plan_of("stars", "");
    assert_true(p.stars && p.subjects_count == 0);
    p = plan_of("three stars", "");
    assert_true(!p.stars && p.subjects_count == 3);
}

static void a_scene_has_an_order(void **state)
{
    (void)state;
    struct rd_plan p = plan_of("a boat on a lake, a house, mountains and the sun", "");
    assert_true(p.water && p.scenic);
    for (size_t i = 1; i < p.subjects_count; i++) {
        assert_true(p.subjects[i - 1].kind <= p.subjects[i].kind);
    }
    assert_int_equal(p.subjects[0].kind, RD_SHAPE_SUN);
    assert_true(p.subjects[0].y < 65536 / 2);
    assert_int_equal(plan_of("ocean waves", "").structure, RD_STRUCTURE_WAVES);
    assert_false(plan_of("ocean waves", "").water);
    assert_true(plan_of("moon over ocean waves", "").water);
    assert_int_equal(plan_of("moon over ocean waves", "").structure, RD_STRUCTURE_PLASMA);
    assert_false(plan_of("a fish in the sea", "").water);
    assert_true(plan_of("a fish in the sea under a boat", "").water);
    p = plan_of("two houses and a tree", ""); /* one ground, three shares of it */
    assert_true(p.subjects[0].x != p.subjects[1].x && p.subjects[1].x != p.subjects[2].x);
}

static void negatives_remove(void **state)
{
    (void)state;
    struct rd_plan p = plan_of("a circle and a star, marble", "circles, marble");
    assert_int_equal(p.subjects_count, 1);
    assert_int_equal(p.subjects[0].kind, RD_SHAPE_STAR);
    assert_int_equal(p.structure, RD_STRUCTURE_PLASMA);
    assert_false(plan_of("starry night", "stars").stars);
    assert_false(plan_of("a lake", "water, lake").water);
    assert_int_equal(plan_of("three stars", "star").subjects_count, 0);
    assert_int_equal(plan_of("nothing at all", "plasma").structure, RD_STRUCTURE_PLAIN);
    p = plan_of("sunset", "red");
    struct rd_plan with = plan_of("sunset", "");
    int32_t red = 0;
    for (size_t i = 0; i < RD_PALETTE_STOPS; i++) {
        red += with.palette[i].r - with.palette[i].g - (p.palette[i].r - p.palette[i].g);
    }
    assert_true(red > 40);
}

static void every_word_counts_but_fillers(void **state)
{
    (void)state;
    assert_int_equal(plan_of("a red circle", "").seed, plan_of("the red circle", "").seed);
    assert_int_equal(plan_of("a red circle", "").seed, plan_of("a blue circle", "").seed);
    assert_int_not_equal(plan_of("glorp", "").seed, plan_of("glarp", "").seed);
    assert_int_not_equal(plan_of("glorp glarp", "").seed, plan_of("glarp glorp", "").seed);
    assert_int_equal(plan_of("GLORP", "").seed, plan_of("glorp", "").seed);
    assert_int_not_equal(plan_of("glorp", "quux").seed, plan_of("glorp", "").seed);
    assert_int_not_equal(plan_of("\xe6\x9c\x88", "").seed, plan_of("\xe6\x97\xa5", "").seed);
    char
        prompt[RD_LIMIT_PROMPT + 1]; /* one word as long as a prompt may be, two that differ last */
    memset(prompt, 'q', RD_LIMIT_PROMPT);
    prompt[RD_LIMIT_PROMPT] = '\0';
    uint32_t seed = plan_of(prompt, "").seed;
    prompt[RD_LIMIT_PROMPT - 1] = 'r';
    assert_int_not_equal(plan_of(prompt, "").seed, seed);
    (void)plan_of("", "");
    (void)plan_of(",,,;; ..", "!!");
}

static void clip_skip_drops_the_last_words(void **state)
{
    (void)state;
    struct rd_generation generation = base;
    struct rd_plan plan;
    generation.prompt = "a red circle, blue square";
    generation.clip_skip = 2;
    rd_plan_make(&generation, 7, &plan);
    assert_int_equal(plan.subjects_count, 1);
    generation.clip_skip = 12; /* more than there are: the first word stays */
    generation.prompt = "circle heart";
    rd_plan_make(&generation, 7, &plan);
    assert_int_equal(plan.subjects_count, 1);
    assert_int_equal(plan.subjects[0].kind, RD_SHAPE_CIRCLE);
}

static void numbers_are_clamped(void **state)
{
    (void)state;
    static const double wild[] = {
        0, -1, 1e300, -1e300, (double)INFINITY, -(double)INFINITY, (double)NAN, 1e-300, 30, 20, 10};
    for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++) {
        struct rd_generation g = base;
        struct rd_lora loras[] = {{"x", wild[i]}, {"", wild[i]}};
        struct rd_plan p;
        g.prompt = "circle";
        g.guidance = g.cfg = g.eta = g.strength = g.duration = g.motion_strength = wild[i];
        g.shift = g.detail_amount = g.detail_start = g.detail_end = wild[i];
        g.loras = loras;
        g.loras_count = 2;
        g.steps = i % 2 ? 0 : 4000000000u;
        rd_plan_make(&g, 7, &p);
        assert_in_range(p.steps, 1, 150);
        assert_in_range(p.contrast, 100, 400);
        assert_in_range(p.subject_alpha, 0, 256);
        assert_in_range(p.glow, 0, 512);
        assert_in_range(p.strength, 0, 65536);
        assert_in_range(p.motion, 0, 65536);
        assert_in_range(p.frames, 12, 240);
        assert_in_range(p.tint_amount, 0, 160);
        assert_in_range(p.brush, 96, 512);
        assert_in_range(p.aspect, 256, 1792);
        assert_true(p.detail >= -1280 && p.detail <= 1280);
        assert_in_range(p.shift, 0, 12 * 256);
    }
}

static void names_choose_the_hand(void **state)
{
    (void)state;
    static const struct {
        const char *sampler, *scheduler;
        enum rd_manner manner;
        enum rd_curve curve;
        bool sde;
    } table[] = {
        {"euler", "simple", RD_MANNER_STRAIGHT, RD_CURVE_SIMPLE, false},
        {"res_2m", "beta", RD_MANNER_BENT, RD_CURVE_BETA, false},
        {"res_3s_sde", "karras", RD_MANNER_CURLED, RD_CURVE_KARRAS, true},
        {"uni_pc", "bong_tangent", RD_MANNER_DABS, RD_CURVE_BONG_TANGENT, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct rd_generation g = base;
        struct rd_plan p;
        g.sampler = table[i].sampler;
        g.scheduler = table[i].scheduler;
        g.prompt = "x";
        rd_plan_make(&g, 1, &p);
        assert_int_equal(p.manner, table[i].manner);
        assert_int_equal(p.curve, table[i].curve);
        assert_int_equal(p.sde, table[i].sde);
    }
    struct rd_generation g = base;
    struct rd_plan p;
    g.prompt = "x";
    g.sampler = g.scheduler = g.noise_type = g.negative_prompt = NULL; /* nobody said anything */
    rd_plan_make(&g, 1, &p);
    g.sampler = "a sampler of tomorrow";
    rd_plan_make(&g, 1, &p);
    assert_in_range(p.manner, 0, RD_MANNER_COUNT_ - 1);
}

static void lightning_halves_the_steps(void **state)
{
    (void)state;
    struct rd_generation g = base;
    struct rd_plan p;
    g.modality = RD_MODALITY_VIDEO;
    g.prompt = "circle";
    g.cfg = 7;
    g.lightning = true;
    rd_plan_make(&g, 1, &p);
    assert_int_equal(p.steps, 10);
    assert_int_equal(p.shift, 5 * 256);
    assert_int_equal(p.glow, 128); /* cfg 1 */
    g.shift = 2;
    rd_plan_make(&g, 1, &p);
    assert_int_equal(p.shift, 2 * 256);
}

static void palettes_lose_what_is_banned(void **state)
{
    (void)state;
    struct rd_rgb c =
        rd_palette_without((struct rd_rgb){220, 30, 30}, (struct rd_rgb){216, 40, 28});
    assert_true(c.r <= c.g + 20);
    c = rd_palette_without((struct rd_rgb){30, 30, 220}, (struct rd_rgb){216, 40, 28});
    assert_true(same_rgb(c, (struct rd_rgb){30, 30, 220}));
    assert_true(
        rd_palette_luma(rd_palette_without((struct rd_rgb){250, 250, 250}, colour("white"))) < 200);
    assert_true(rd_palette_luma(rd_palette_without((struct rd_rgb){5, 5, 5}, colour("black"))) >
                60);
}

/* --- the page --- */

static void group_line(const struct rd_word *first, struct rd_buf *line)
{
    char room[16];
    rd_buf_printf(line, "| %s | %s | ", rd_words_kind_name(first->kind),
                  rd_words_value_name(first, room));
    const char *comma = "";
    for (size_t i = 0; i < rd_words_count; i++) {
        if (rd_words[i].kind == first->kind && rd_words[i].value == first->value) {
            rd_buf_printf(line, "%s%s", comma, rd_words[i].word);
            comma = ", ";
        }
    }
    rd_buf_str(line, " |\n");
}

static void add_hex(struct rd_buf *out, struct rd_rgb c)
{
    rd_buf_printf(out, " `#%02x%02x%02x`", c.r, c.g, c.b);
}

static void all_rows(struct rd_buf *out)
{
    rd_buf_str(out, "| kind | meaning | words |\n|---|---|---|\n");
    for (int kind = 0; kind < RD_WORD_KIND_COUNT_; kind++) {
        for (int value = 0; value <= 200; value++) {
            for (size_t i = 0; i < rd_words_count; i++) {
                if ((int)rd_words[i].kind == kind && rd_words[i].value == value) {
                    group_line(&rd_words[i], out);
                    break;
                }
            }
        }
    }
    rd_buf_str(out, "\n| colour | value |\n|---|---|\n");
    for (size_t i = 0; i < rd_words_colours_count; i++) {
        rd_buf_printf(out, "| %s |", rd_words_colours[i].name);
        add_hex(out, rd_words_colours[i].rgb);
        rd_buf_str(out, " |\n");
    }
    rd_buf_str(out, "\n| mood | palette, dark to light |\n|---|---|\n");
    for (size_t i = 0; i < rd_words_moods_count; i++) {
        rd_buf_printf(out, "| %s |", rd_words_moods[i].name);
        for (size_t k = 0; k < RD_PALETTE_STOPS; k++) {
            add_hex(out, rd_words_moods[i].stops[k]);
        }
        rd_buf_str(out, " |\n");
    }
    rd_buf_str(out, "\n| subject | its own colour | its mood |\n|---|---|---|\n");
    for (size_t i = 0; i < RD_SHAPE_COUNT_; i++) {
        const struct rd_words_subject *s = &rd_words_subjects[i];
        rd_buf_printf(out, "| %s |", s->name);
        add_hex(out, s->rgb);
        rd_buf_printf(out, " | %s |\n", s->mood < 0 ? "-" : rd_words_moods[s->mood].name);
    }
}

static void the_page_has_the_tables(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf rows;
    RD_AUTO_BUF struct rd_buf page;
    rd_buf_init(&rows, RD_MIB(1));
    rd_buf_init(&page, RD_MIB(1));
    all_rows(&rows);
    assert_int_equal(rd_buf_err(&rows), RD_OK);
    if (getenv("RD_PRINT_TABLES")) {
        (void)fputs(rd_buf_cstr(&rows), stdout);
        return;
    }
    assert_int_equal(rd_fs_read(RD_SOURCE_ROOT "/docs/builtin-engine.md", &page, NULL), RD_OK);
    const char *begin = strstr(rd_buf_cstr(&page), "<!-- tables -->\n");
    const char *end = strstr(rd_buf_cstr(&page), "<!-- end of tables -->");
    assert_non_null(begin);
    assert_non_null(end);
    begin += strlen("<!-- tables -->\n");
    assert_int_equal((size_t)(end - begin), rows.len);
    assert_memory_equal(begin, rows.data, rows.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_sorted_and_in_range),
        cmocka_unit_test(words_are_found_whole),
        cmocka_unit_test(colours_go_to_their_noun),
        cmocka_unit_test(places_sizes_and_numbers),
        cmocka_unit_test(a_scene_has_an_order),
        cmocka_unit_test(negatives_remove),
        cmocka_unit_test(every_word_counts_but_fillers),
        cmocka_unit_test(clip_skip_drops_the_last_words),
        cmocka_unit_test(numbers_are_clamped),
        cmocka_unit_test(names_choose_the_hand),
        cmocka_unit_test(lightning_halves_the_steps),
        cmocka_unit_test(palettes_lose_what_is_banned),
        cmocka_unit_test(the_page_has_the_tables),
    };
    return cmocka_run_group_tests_name("engine/builtin_plan", tests, NULL, NULL);
}
