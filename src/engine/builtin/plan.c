/* SPDX-License-Identifier: Apache-2.0
 *
 * The rule: words to scene. See plan.h and docs/builtin-engine.md.
 *
 * The prompt is read once, left to right. Adjectives (colour, size, number) wait until a noun takes
 * them; a comma or full stop ends the wait, and colours that found no subject become the
 * background's. A place word belongs to the subject before it in the same clause, else to the next
 * one. The negative prompt is read first into sets of what is banned; banned rows are skipped as if
 * they were not there. Nothing here fails or allocates: prompts are at most RD_LIMIT_PROMPT long
 * and everything that is collected has a small fixed room, beyond which it only counts as
 * variation. */
#include "engine/builtin/plan.h"

#include <string.h>

#include "engine/builtin/intent.h"

enum { WORD_MAX = 40 }; /* longer ones are in no table */

/* --- words --- */

struct cursor {
    const char *at;
    const char *end;
    size_t len;  /* of the word that next_word() found at `at` */
    bool clause; /* a clause ended before it */
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

static size_t look_up(const struct cursor *cursor, const struct rd_word **ret_rows,
                      bool *ret_plural)
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

static void ban_row(struct rd_banned *banned, const struct rd_word *row)
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

static uint32_t read_negative(const char *text, struct rd_banned *banned)
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

static bool is_banned(const struct rd_banned *banned, const struct rd_word *row)
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

static void colours_to_background(struct rd_intent *intent)
{
    for (size_t i = 0; i < intent->pending_count && intent->background_count < COLOURS_MAX; i++) {
        intent->background[intent->background_count++] = intent->pending[i];
    }
    intent->pending_count = 0;
}

static void end_clause(struct rd_intent *intent)
{
    colours_to_background(intent);
    intent->size = 0;
    intent->number = 0;
    intent->place = 0;
    intent->clause_first = intent->plan->subjects_count;
}

static void put(struct rd_intent *intent, size_t from, unsigned place)
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

static void add_subject(struct rd_intent *intent, const struct rd_word *row, bool plural)
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

static void read_row(struct rd_intent *intent, const struct rd_word *row, bool plural)
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

/* "three stars" are three stars, "stars" are a sky full of them: the one word that a number
 * changes. */
static bool numbered_stars(struct rd_intent *intent, const struct rd_word *row)
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

static uint32_t read_prompt(struct rd_intent *intent, const char *text, unsigned clip_skip)
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

void rd_plan_make(const struct rd_generation *generation, uint32_t seed, struct rd_plan *ret)
{
    struct rd_plan plan = {.structure = RD_STRUCTURE_PLASMA};
    struct rd_banned banned = {0};
    const char *negative = generation->negative_prompt ? generation->negative_prompt : "";
    uint32_t removed = read_negative(negative, &banned);
    struct rd_intent intent = {.plan = &plan, .banned = &banned};
    plan.variation = read_prompt(&intent, generation->prompt, generation->clip_skip) ^ removed;
    plan.seed = rd_noise_hash(seed, (int32_t)(plan.variation & 0xffff),
                              (int32_t)(plan.variation >> 16), 0x9a11);
    if (plan.structure == RD_STRUCTURE_PLASMA && banned.structures & 1u << RD_STRUCTURE_PLASMA) {
        plan.structure = RD_STRUCTURE_PLAIN;
    }
    rd_intent_settle_water(&plan);
    rd_intent_choose_palette(&intent);
    rd_intent_arrange(&intent);
    rd_plan_tune_(generation, intent.styles, &plan);
    *ret = plan;
}
