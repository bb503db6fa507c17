/* SPDX-License-Identifier: Apache-2.0
 *
 * The second half of the rule: the palette that the words chose or imply, and where each subject
 * stands. See plan.h; docs/builtin-engine.md has it in sentences. */
#include <string.h>

#include "engine/builtin/intent.h"
#include "engine/builtin/palette.h"

/* --- the palette --- */

/* The mood that fits when no word chose colours; -1 when nothing suggests one. */
static int implied_mood(const struct rd_intent *intent)
{
    static const struct {
        enum rd_structure structure;
        const char *mood;
    } by_structure[] = {
        {RD_STRUCTURE_FLAMES, "fire"}, {RD_STRUCTURE_AURORA, "aurora"},
        {RD_STRUCTURE_CLOUDS, "day"},  {RD_STRUCTURE_WAVES, "ocean"},
        {RD_STRUCTURE_MIST, "storm"},
    };
    const struct rd_plan *plan = intent->plan;
    if (plan->stars && !(intent->banned->moods & 1)) {
        return 0; /* night is the first row */
    }
    for (size_t i = 0; i < plan->subjects_count; i++) {
        int mood = rd_words_subjects[plan->subjects[i].kind].mood;
        if (mood >= 0 && !(intent->banned->moods >> mood & 1)) {
            return mood;
        }
    }
    for (size_t i = 0; i < sizeof by_structure / sizeof by_structure[0]; i++) {
        for (size_t m = 0; m < rd_words_moods_count; m++) {
            if (by_structure[i].structure == plan->structure && intent->structure_said &&
                strcmp(by_structure[i].mood, rd_words_moods[m].name) == 0 &&
                !(intent->banned->moods >> m & 1)) {
                return (int)m;
            }
        }
    }
    return -1;
}

static int drawn_mood(const struct rd_intent *intent)
{
    for (int32_t n = 0; n < 64; n++) {
        uint32_t h = rd_noise_hash(intent->plan->seed, n, 0, 0x3001);
        int mood = rd_noise_range(h, 0, (int32_t)rd_words_moods_count - 1);
        if (!(intent->banned->moods >> mood & 1)) {
            return mood;
        }
    }
    return 0;
}

void rd_intent_choose_palette(struct rd_intent *intent)
{
    struct rd_plan *plan = intent->plan;
    struct rd_rgb said[COLOURS_MAX];
    size_t said_count = 0;
    for (size_t i = 0; i < plan->subjects_count && said_count < 1; i++) {
        if (intent->said[i].coloured) {
            said[said_count++] = plan->subjects[i].rgb;
        }
    }
    int mood = intent->moods_count > 0 ? intent->moods[0] : -1;
    if (mood < 0 && intent->background_count == 0 && (said_count == 0 || plan->scenic)) {
        mood = implied_mood(intent);
        mood = mood < 0 && said_count == 0 ? drawn_mood(intent) : mood;
    }
    struct rd_rgb made[RD_PALETTE_STOPS];
    if (intent->background_count > 0) {
        rd_palette_from_colours(intent->background, intent->background_count, false, made);
    } else if (said_count > 0) {
        rd_palette_from_colours(said, said_count, true, made);
    }
    for (size_t i = 0; i < RD_PALETTE_STOPS; i++) {
        if (mood < 0) {
            plan->palette[i] = made[i];
            continue;
        }
        plan->palette[i] = rd_words_moods[mood].stops[i];
        if (intent->moods_count > 1 && i < 2) { /* the second mood keeps the shadows */
            plan->palette[i] =
                rd_palette_mix(plan->palette[i], rd_words_moods[intent->moods[1]].stops[i], 170);
        }
        if (intent->background_count > 0) {
            plan->palette[i] = rd_palette_mix(plan->palette[i], made[i], 176);
        }
    }
    for (size_t b = 0; b < intent->banned->colours_count; b++) {
        for (size_t i = 0; i < RD_PALETTE_STOPS; i++) {
            plan->palette[i] = rd_palette_without(plan->palette[i], intent->banned->colours[b]);
        }
        for (size_t i = 0; i < plan->subjects_count; i++) {
            plan->subjects[i].rgb =
                rd_palette_without(plan->subjects[i].rgb, intent->banned->colours[b]);
        }
    }
}

/* --- where things stand --- */

/* Half the height of one that is alone and at ease, percent of the short side. */
static const uint8_t usual_size[RD_SHAPE_COUNT_] = {
    [RD_SHAPE_SUN] = 13,      [RD_SHAPE_MOON] = 12,     [RD_SHAPE_PLANET] = 17,
    [RD_SHAPE_MOUNTAIN] = 34, [RD_SHAPE_HILL] = 14,     [RD_SHAPE_PINE] = 16,
    [RD_SHAPE_TREE] = 17,     [RD_SHAPE_TOWER] = 20,    [RD_SHAPE_HOUSE] = 13,
    [RD_SHAPE_BOAT] = 13,     [RD_SHAPE_CIRCLE] = 28,   [RD_SHAPE_RING] = 28,
    [RD_SHAPE_SQUARE] = 26,   [RD_SHAPE_TRIANGLE] = 29, [RD_SHAPE_DIAMOND] = 30,
    [RD_SHAPE_HEXAGON] = 28,  [RD_SHAPE_CROSS] = 27,    [RD_SHAPE_STAR] = 30,
    [RD_SHAPE_HEART] = 28,    [RD_SHAPE_FLOWER] = 28,   [RD_SHAPE_FISH] = 20,
    [RD_SHAPE_BIRD] = 11,     [RD_SHAPE_CAT] = 27,
};

bool rd_intent_in_sky(enum rd_shape kind)
{
    return kind == RD_SHAPE_SUN || kind == RD_SHAPE_MOON || kind == RD_SHAPE_PLANET ||
           kind == RD_SHAPE_BIRD;
}

static bool is_range(enum rd_shape kind)
{
    return kind == RD_SHAPE_MOUNTAIN || kind == RD_SHAPE_HILL;
}

/* Who shares the width with whom: sky things and ranges with their like only. */
enum company { COMPANY_LIKE, COMPANY_GROUND, COMPANY_FREE };

static enum company company_of(enum rd_shape kind)
{
    if (rd_intent_in_sky(kind) || is_range(kind)) {
        return COMPANY_LIKE;
    }
    return rd_words_subjects[kind].rooted || kind == RD_SHAPE_BOAT ? COMPANY_GROUND : COMPANY_FREE;
}

/* Sky things keep to the upper third of a scene, rooted ones stand on its ground, boats lie on the
 * water line; free ones share the width, row by row of equal shares. */
static void arrange_one(const struct rd_intent *intent, size_t i, size_t rank, size_t of)
{
    const struct rd_plan *plan = intent->plan;
    struct rd_plan_subject *s = &intent->plan->subjects[i];
    uint32_t h = s->seed;
    bool scene = plan->scenic || plan->water;
    int32_t wobble = rd_noise_range(h, -100, 100);
    int32_t share = (int32_t)(65536 * (2 * rank + 1) / (2 * of));
    if (company_of(s->kind) == COMPANY_GROUND) {
        share = 65536 * 6 / 100 + share * 88 / 100; /* not cut off at the sides */
    }
    int32_t x = share + (of > 1 ? wobble * 65536 / (int32_t)of / 500 : 0);
    int32_t y = 65536 / 2;
    int32_t size = usual_size[s->kind] * 65536 / 100;
    if (of > 1 && !is_range(s->kind)) {
        int32_t fits = 65536 *
                       (s->kind == RD_SHAPE_BIRD ? 27
                        : scene                  ? 90
                                                 : 46) /
                       100 / (int32_t)of;
        size = size < fits ? size : fits;
        size = size * (1000 + (scene ? wobble * 2 : 0)) / 1000;
    }
    if (is_range(s->kind)) {
        x = 32768 + wobble * 150;
        y = 65536 * (s->kind == RD_SHAPE_HILL ? 70 : 64) / 100;
    } else if (rd_intent_in_sky(s->kind) && scene) {
        x = of == 1 ? 65536 * (wobble < 0 ? 30 : 68) / 100 + wobble * 60 : x;
        y = 65536 * (s->kind == RD_SHAPE_BIRD ? 30 : 26) / 100 + wobble * 50 * (of > 1 ? 2 : 1);
    } else if (rd_words_subjects[s->kind].rooted) {
        x = of == 1 ? 65536 * (wobble < 0 ? 64 : 36) / 100 : x;
        /* what stands lower is nearer, and larger */
        int32_t near = rd_noise_range(rd_noise_hash(h, 1, 0, 0), 0, of > 1 ? 100 : 40);
        size = size * (of > 1 ? 700 + near * 7 : 1000) / 1000;
        y = 65536 * (73 + near / 6) / 100 - size * 9 / 10;
    } else if (s->kind == RD_SHAPE_BOAT) {
        x = of == 1 ? 65536 * (wobble < 0 ? 58 : 42) / 100 : x;
        y = 65536 * 72 / 100 - size * 6 / 10;
    } else if (rd_intent_in_sky(s->kind)) {
        size = size * (s->kind == RD_SHAPE_BIRD ? 200 : 175) / 100;
    } else if (scene && s->kind >= RD_SHAPE_CIRCLE) {
        size = size * 6 / 10;
        y = 65536 * 44 / 100;
    }
    s->x = intent->said[i].placed_x ? s->x : x;
    s->y = intent->said[i].placed_y && !is_range(s->kind) ? s->y : y;
    s->size = (int32_t)((int64_t)size * intent->said[i].size / 100);
}

/* Farther kinds first; of what stands on the ground, what stands higher up. */
static bool is_behind(const struct rd_plan_subject *a, const struct rd_plan_subject *b)
{
    bool both = rd_words_subjects[a->kind].rooted && rd_words_subjects[b->kind].rooted;
    return both ? a->y + a->size < b->y + b->size : a->kind < b->kind;
}

void rd_intent_arrange(struct rd_intent *intent)
{
    struct rd_plan *plan = intent->plan;
    for (size_t i = 0; i < plan->subjects_count; i++) {
        size_t of = 0;
        size_t rank = 0;
        enum rd_shape kind = plan->subjects[i].kind;
        for (size_t k = 0; k < plan->subjects_count; k++) {
            enum rd_shape other = plan->subjects[k].kind;
            if (company_of(kind) == COMPANY_LIKE ? other == kind
                                                 : company_of(other) == company_of(kind)) {
                rank += k < i;
                of++;
            }
        }
        plan->subjects[i].seed = rd_noise_hash(plan->seed, (int32_t)i, (int32_t)kind, 0x5b1);
        arrange_one(intent, i, rank, of);
    }
    for (size_t i = 1; i < plan->subjects_count; i++) { /* stable: few, nearly sorted */
        struct rd_plan_subject s = plan->subjects[i];
        size_t k = i;
        for (; k > 0 && is_behind(&s, &plan->subjects[k - 1]); k--) {
            plan->subjects[k] = plan->subjects[k - 1];
        }
        plan->subjects[k] = s;
    }
}

/* "ocean waves" are waves all over, and a fish in the ocean is under water; a sea below something
 * keeps its horizon and its calm sky. */
void rd_intent_settle_water(struct rd_plan *plan)
{
    bool waves = plan->structure == RD_STRUCTURE_WAVES;
    bool above = plan->scenic || plan->stars;
    bool under = waves;
    for (size_t i = 0; i < plan->subjects_count; i++) {
        above |=
            rd_intent_in_sky(plan->subjects[i].kind) || plan->subjects[i].kind == RD_SHAPE_BOAT;
        under |= plan->subjects[i].kind == RD_SHAPE_FISH;
    }
    if (plan->water && under && !above) {
        plan->water = false;
    } else if (plan->water && waves) {
        plan->structure = RD_STRUCTURE_PLASMA;
    }
}
