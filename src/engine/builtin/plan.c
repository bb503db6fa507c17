/* SPDX-License-Identifier: Apache-2.0
 *
 * The rule: words to scene. See plan.h and docs/builtin-engine.md.
 *
 * The prompt is read once, left to right. Adjectives (colour, size, number) wait until a noun takes
 * them; a comma or full stop ends the wait, and colours that found no subject become the background's.
 * A place word belongs to the subject before it in the same clause, else to the next one. The negative
 * prompt is read first into sets of what is banned; banned rows are skipped as if they were not there.
 * Nothing here fails or allocates: prompts are at most RD_LIMIT_PROMPT long and everything that is
 * collected has a small fixed room, beyond which it only counts as variation. */
#include "engine/builtin/plan.h"

#include <string.h>

#include "engine/builtin/palette.h"

enum {
    WORD_MAX = 40, /* longer ones are in no table */
    COLOURS_MAX = 4,
    BANNED_COLOURS_MAX = 8,
    MOODS_MAX = 2,
};

struct banned {
    uint32_t shapes, structures, moods, styles, kinds; /* bit sets */
    struct rd_rgb colours[BANNED_COLOURS_MAX];
    size_t colours_count;
};

/* What the words said, before it is arranged. */
struct intent {
    struct rd_plan *plan;
    const struct banned *banned;
    struct rd_rgb background[COLOURS_MAX];
    size_t background_count;
    struct rd_rgb pending[COLOURS_MAX];
    size_t pending_count;
    int moods[MOODS_MAX];
    size_t moods_count;
    int size, number; /* 0: not said */
    unsigned place;   /* bits of enum rd_place waiting for a subject */
    size_t clause_first; /* first subject of this clause */
    size_t last_first;   /* first of the subjects of the last noun */
    bool structure_said;
    unsigned styles;
    struct {                      /* what words said of each subject */
        bool placed_x, placed_y, coloured;
        int size; /* percent */
    } said[RD_PLAN_SUBJECTS];
};

/* --- words --- */

struct cursor {
    const char *at;
    const char *end;
    size_t len;              /* of the word that next_word() found at `at` */
    bool clause;             /* a clause ended before it */
    char lower[WORD_MAX];
};

static bool is_word_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
}

static bool next_word(struct cursor *cursor)
{
    const char *p = cursor->at + cursor->len;
    cursor->clause = false;
    while (p < cursor->end && !is_word_byte((unsigned char)*p)) {
        cursor->clause |= strchr(",.;:!?\n", *p) != NULL && *p != '\0';
        p++;
    }
    cursor->at = p;
    cursor->len = 0;
    while (p + cursor->len < cursor->end && is_word_byte((unsigned char)p[cursor->len])) {
        char c = p[cursor->len];
        if (cursor->len < WORD_MAX) {
            cursor->lower[cursor->len] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
        }
        cursor->len++;
    }
    return cursor->len > 0;
}

static size_t look_up(const struct cursor *cursor, const struct rd_word **ret_rows, bool *ret_plural)
{
    *ret_plural = false;
    return cursor->len > WORD_MAX ? 0
                                  : rd_words_find(cursor->lower, cursor->len, ret_rows, ret_plural);
}

/* Case counts for nothing, also in words that no table has (up to WORD_MAX bytes of them). */
static uint32_t fold_word(uint32_t variation, const struct cursor *cursor)
{
    size_t len = cursor->len < WORD_MAX ? cursor->len : WORD_MAX;
    uint32_t h = rd_noise_hash_bytes(variation, cursor->lower, len);
    return cursor->len > len ? rd_noise_hash_bytes(h, cursor->at + len, cursor->len - len) : h;
}

static size_t count_words(const char *text)
{
    struct cursor cursor = {.at = text, .end = text + strlen(text)};
    size_t count = 0;
    while (next_word(&cursor)) {
        count++;
    }
    return count;
}

/* --- the negative prompt --- */

static void ban_row(struct banned *banned, const struct rd_word *row)
{
    switch (row->kind) {
    case RD_WORD_COLOUR:
        if (banned->colours_count < BANNED_COLOURS_MAX) {
            banned->colours[banned->colours_count++] = rd_words_colours[row->value].rgb;
        }
        break;
    case RD_WORD_MOOD:
        banned->moods |= 1u << row->value;
        break;
    case RD_WORD_STRUCTURE:
        banned->structures |= 1u << row->value;
        break;
    case RD_WORD_SUBJECT:
        banned->shapes |= 1u << row->value;
        break;
    case RD_WORD_STYLE:
        banned->styles |= 1u << row->value;
        break;
    case RD_WORD_STARS:
    case RD_WORD_WATER:
        banned->kinds |= 1u << row->kind;
        break;
    case RD_WORD_GROUND:
    case RD_WORD_PLACE:
    case RD_WORD_SIZE:
    case RD_WORD_NUMBER:
    case RD_WORD_FILLER:
    case RD_WORD_KIND_COUNT_:
        break;
    }
}

static uint32_t read_negative(const char *text, struct banned *banned)
{
    uint32_t variation = 0;
    struct cursor cursor = {.at = text, .end = text + strlen(text)};
    while (next_word(&cursor)) {
        const struct rd_word *rows = NULL;
        bool plural;
        size_t count = look_up(&cursor, &rows, &plural);
        for (size_t i = 0; i < count; i++) {
            ban_row(banned, &rows[i]);
        }
        if (count == 0) {
            variation = fold_word(variation + 0x4e47u, &cursor);
        }
    }
    return variation;
}

static bool is_banned(const struct banned *banned, const struct rd_word *row)
{
    unsigned bit = 1u << ((unsigned)row->value & 31);
    switch (row->kind) {
    case RD_WORD_COLOUR:
        for (size_t i = 0; i < banned->colours_count; i++) {
            if (memcmp(&banned->colours[i], &rd_words_colours[row->value].rgb,
                       sizeof banned->colours[i]) == 0) {
                return true;
            }
        }
        return false;
    case RD_WORD_MOOD:
        return (banned->moods & bit) != 0;
    case RD_WORD_STRUCTURE:
        return (banned->structures & bit) != 0;
    case RD_WORD_SUBJECT:
        return (banned->shapes & bit) != 0;
    case RD_WORD_STYLE:
        return (banned->styles & bit) != 0;
    case RD_WORD_STARS:
    case RD_WORD_WATER:
        return (banned->kinds >> row->kind & 1) != 0;
    case RD_WORD_GROUND:
    case RD_WORD_PLACE:
    case RD_WORD_SIZE:
    case RD_WORD_NUMBER:
    case RD_WORD_FILLER:
    case RD_WORD_KIND_COUNT_:
        break;
    }
    return false;
}

/* --- the prompt --- */

static void colours_to_background(struct intent *intent)
{
    for (size_t i = 0; i < intent->pending_count && intent->background_count < COLOURS_MAX; i++) {
        intent->background[intent->background_count++] = intent->pending[i];
    }
    intent->pending_count = 0;
}

static void end_clause(struct intent *intent)
{
    colours_to_background(intent);
    intent->size = 0;
    intent->number = 0;
    intent->place = 0;
    intent->clause_first = intent->plan->subjects_count;
}

static void put(struct intent *intent, size_t from, unsigned place)
{
    struct rd_plan *plan = intent->plan;
    for (size_t i = from; i < plan->subjects_count; i++) {
        struct rd_plan_subject *s = &plan->subjects[i];
        if (place & (1u << RD_PLACE_LEFT | 1u << RD_PLACE_RIGHT | 1u << RD_PLACE_CENTER)) {
            s->x = place & 1u << RD_PLACE_LEFT    ? 65536 / 4
                   : place & 1u << RD_PLACE_RIGHT ? 65536 * 3 / 4
                                                  : 65536 / 2;
            intent->said[i].placed_x = true;
        }
        if (place & (1u << RD_PLACE_TOP | 1u << RD_PLACE_BOTTOM | 1u << RD_PLACE_CENTER)) {
            s->y = place & 1u << RD_PLACE_TOP      ? 65536 * 27 / 100
                   : place & 1u << RD_PLACE_BOTTOM ? 65536 * 73 / 100
                                                   : 65536 / 2;
            intent->said[i].placed_y = true;
        }
    }
}

static int default_number(enum rd_shape shape, bool plural, const char *word)
{
    if (strcmp(word, "forest") == 0 || strcmp(word, "taiga") == 0 || strcmp(word, "jungle") == 0 ||
        strcmp(word, "woodland") == 0) {
        return 7;
    }
    if (shape == RD_SHAPE_MOUNTAIN || shape == RD_SHAPE_HILL || !plural) {
        return 1; /* a range has many peaks by itself */
    }
    return shape == RD_SHAPE_BIRD || shape == RD_SHAPE_TREE || shape == RD_SHAPE_PINE ? 5 : 3;
}

static void add_subject(struct intent *intent, const struct rd_word *row, bool plural)
{
    struct rd_plan *plan = intent->plan;
    enum rd_shape shape = (enum rd_shape)row->value;
    int number = intent->number ? intent->number : default_number(shape, plural, row->word);
    intent->last_first = plan->subjects_count;
    for (int i = 0; i < number && plan->subjects_count < RD_PLAN_SUBJECTS; i++) {
        size_t at = plan->subjects_count++;
        bool said = intent->pending_count > 0;
        plan->subjects[at] = (struct rd_plan_subject){
            .kind = shape,
            .rgb = said ? intent->pending[(size_t)i % intent->pending_count]
                        : rd_words_subjects[shape].rgb,
        };
        intent->said[at].coloured = said;
        intent->said[at].size = intent->size ? intent->size : 100;
    }
    put(intent, intent->last_first, intent->place);
    plan->scenic |= rd_words_subjects[shape].scenic;
    intent->pending_count = 0;
    intent->size = 0;
    intent->number = 0;
    intent->place = 0;
}

static void read_row(struct intent *intent, const struct rd_word *row, bool plural)
{
    struct rd_plan *plan = intent->plan;
    switch (row->kind) {
    case RD_WORD_COLOUR:
        if (intent->pending_count < COLOURS_MAX) {
            intent->pending[intent->pending_count++] = rd_words_colours[row->value].rgb;
        }
        break;
    case RD_WORD_MOOD:
        if (intent->moods_count < MOODS_MAX) {
            intent->moods[intent->moods_count++] = row->value;
        }
        break;
    case RD_WORD_STRUCTURE:
        if (!intent->structure_said) {
            plan->structure = (enum rd_structure)row->value;
            intent->structure_said = true;
        }
        break;
    case RD_WORD_SUBJECT:
        add_subject(intent, row, plural);
        break;
    case RD_WORD_STARS:
        plan->stars = true;
        break;
    case RD_WORD_WATER:
        plan->water = true;
        break;
    case RD_WORD_GROUND:
        colours_to_background(intent);
        break;
    case RD_WORD_PLACE:
        if (plan->subjects_count > intent->clause_first) {
            put(intent, intent->last_first, 1u << row->value);
        } else {
            intent->place |= 1u << row->value;
        }
        break;
    case RD_WORD_SIZE:
        intent->size = row->value;
        break;
    case RD_WORD_NUMBER:
        intent->number = row->value;
        break;
    case RD_WORD_STYLE:
        intent->styles |= 1u << row->value;
        break;
    case RD_WORD_FILLER:
    case RD_WORD_KIND_COUNT_:
        break;
    }
}

/* "three stars" are three stars, "stars" are a sky full of them: the one word that a number changes. */
static bool numbered_stars(struct intent *intent, const struct rd_word *row)
{
    if (row->kind != RD_WORD_STARS || intent->number == 0 || strcmp(row->word, "stars") != 0) {
        return false;
    }
    static const struct rd_word star = {"star", RD_WORD_SUBJECT, RD_SHAPE_STAR};
    if (!is_banned(intent->banned, &star)) {
        add_subject(intent, &star, true);
    }
    return true;
}

static uint32_t read_prompt(struct intent *intent, const char *text, unsigned clip_skip)
{
    uint32_t variation = 0;
    size_t words = count_words(text);
    words = words > clip_skip ? words - clip_skip : 1; /* the first word always counts */
    struct cursor cursor = {.at = text, .end = text + strlen(text)};
    for (size_t n = 0; n < words && next_word(&cursor); n++) {
        if (cursor.clause) {
            end_clause(intent);
        }
        const struct rd_word *rows = NULL;
        bool plural;
        size_t count = look_up(&cursor, &rows, &plural);
        for (size_t i = 0; i < count; i++) {
            if (!is_banned(intent->banned, &rows[i]) && !numbered_stars(intent, &rows[i])) {
                read_row(intent, &rows[i], plural);
            }
        }
        if (count == 0) {
            variation = fold_word(variation, &cursor);
        }
    }
    end_clause(intent);
    return variation;
}

/* --- the palette --- */

/* The mood that fits when no word chose colours; -1 when nothing suggests one. */
static int implied_mood(const struct intent *intent)
{
    static const struct {
        enum rd_structure structure;
        const char *mood;
    } by_structure[] = {
        {RD_STRUCTURE_FLAMES, "fire"}, {RD_STRUCTURE_AURORA, "aurora"}, {RD_STRUCTURE_CLOUDS, "day"},
        {RD_STRUCTURE_WAVES, "ocean"}, {RD_STRUCTURE_MIST, "storm"},
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

static int drawn_mood(const struct intent *intent)
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

static void choose_palette(struct intent *intent)
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
    [RD_SHAPE_SUN] = 13,      [RD_SHAPE_MOON] = 12,    [RD_SHAPE_PLANET] = 17,
    [RD_SHAPE_MOUNTAIN] = 34, [RD_SHAPE_HILL] = 14,    [RD_SHAPE_PINE] = 16,
    [RD_SHAPE_TREE] = 17,     [RD_SHAPE_TOWER] = 20,   [RD_SHAPE_HOUSE] = 13,
    [RD_SHAPE_BOAT] = 13,     [RD_SHAPE_CIRCLE] = 28,  [RD_SHAPE_RING] = 28,
    [RD_SHAPE_SQUARE] = 26,   [RD_SHAPE_TRIANGLE] = 29, [RD_SHAPE_DIAMOND] = 30,
    [RD_SHAPE_HEXAGON] = 28,  [RD_SHAPE_CROSS] = 27,   [RD_SHAPE_STAR] = 30,
    [RD_SHAPE_HEART] = 28,    [RD_SHAPE_FLOWER] = 28,  [RD_SHAPE_FISH] = 20,
    [RD_SHAPE_BIRD] = 11,     [RD_SHAPE_CAT] = 27,
};

static bool in_sky(enum rd_shape kind)
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
    if (in_sky(kind) || is_range(kind)) {
        return COMPANY_LIKE;
    }
    return rd_words_subjects[kind].rooted || kind == RD_SHAPE_BOAT ? COMPANY_GROUND : COMPANY_FREE;
}

/* Sky things keep to the upper third of a scene, rooted ones stand on its ground, boats lie on the
 * water line; free ones share the width, row by row of equal shares. */
static void arrange_one(const struct intent *intent, size_t i, size_t rank, size_t of)
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
        int32_t fits = 65536 * (s->kind == RD_SHAPE_BIRD ? 27 : scene ? 90 : 46) / 100 / (int32_t)of;
        size = size < fits ? size : fits;
        size = size * (1000 + (scene ? wobble * 2 : 0)) / 1000;
    }
    if (is_range(s->kind)) {
        x = 32768 + wobble * 150;
        y = 65536 * (s->kind == RD_SHAPE_HILL ? 70 : 64) / 100;
    } else if (in_sky(s->kind) && scene) {
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
    } else if (in_sky(s->kind)) {
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

static void arrange(struct intent *intent)
{
    struct rd_plan *plan = intent->plan;
    for (size_t i = 0; i < plan->subjects_count; i++) {
        size_t of = 0;
        size_t rank = 0;
        enum rd_shape kind = plan->subjects[i].kind;
        for (size_t k = 0; k < plan->subjects_count; k++) {
            enum rd_shape other = plan->subjects[k].kind;
            if (company_of(kind) == COMPANY_LIKE ? other == kind : company_of(other) == company_of(kind)) {
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

/* "ocean waves" are waves all over, and a fish in the ocean is under water; a sea below something keeps
 * its horizon and its calm sky. */
static void settle_water(struct rd_plan *plan)
{
    bool waves = plan->structure == RD_STRUCTURE_WAVES;
    bool above = plan->scenic || plan->stars;
    bool under = waves;
    for (size_t i = 0; i < plan->subjects_count; i++) {
        above |= in_sky(plan->subjects[i].kind) || plan->subjects[i].kind == RD_SHAPE_BOAT;
        under |= plan->subjects[i].kind == RD_SHAPE_FISH;
    }
    if (plan->water && under && !above) {
        plan->water = false;
    } else if (plan->water && waves) {
        plan->structure = RD_STRUCTURE_PLASMA;
    }
}

void rd_plan_make(const struct rd_generation *generation, uint32_t seed, struct rd_plan *ret)
{
    struct rd_plan plan = {.structure = RD_STRUCTURE_PLASMA};
    struct banned banned = {0};
    const char *negative = generation->negative_prompt ? generation->negative_prompt : "";
    uint32_t removed = read_negative(negative, &banned);
    struct intent intent = {.plan = &plan, .banned = &banned};
    plan.variation = read_prompt(&intent, generation->prompt, generation->clip_skip) ^ removed;
    plan.seed = rd_noise_hash(seed, (int32_t)(plan.variation & 0xffff),
                              (int32_t)(plan.variation >> 16), 0x9a11);
    if (plan.structure == RD_STRUCTURE_PLASMA && banned.structures & 1u << RD_STRUCTURE_PLASMA) {
        plan.structure = RD_STRUCTURE_PLAIN;
    }
    settle_water(&plan);
    choose_palette(&intent);
    arrange(&intent);
    rd_plan_tune_(generation, intent.styles, &plan);
    *ret = plan;
}
