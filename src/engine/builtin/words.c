/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking words up, and the names that the documentation gives to what they mean. */
#include <string.h>

#include "engine/builtin/plan.h"

static const char *const kind_names[] = {"colour", "mood",   "structure", "subject",
                                         "stars",  "water",  "ground",    "place",
                                         "size",   "number", "style",     "filler"};
static const char *const structure_names[] = {"plasma",  "clouds",  "waves",  "marble", "rings",
                                              "stripes", "checker", "spiral", "rays",   "mosaic",
                                              "aurora",  "flames",  "mist",   "plain"};
static const char *const place_names[] = {"left", "right", "top", "bottom", "center"};
static const char *const style_names[] = {"bright",  "dark", "vivid", "muted", "smooth",
                                          "impasto", "dots", "soft",  "wild"};
_Static_assert(sizeof kind_names / sizeof kind_names[0] == RD_WORD_KIND_COUNT_, "one a kind");
_Static_assert(sizeof structure_names / sizeof structure_names[0] == RD_STRUCTURE_COUNT_,
               "one each");
_Static_assert(sizeof place_names / sizeof place_names[0] == RD_PLACE_COUNT_, "one a place");
_Static_assert(sizeof style_names / sizeof style_names[0] == RD_STYLE_COUNT_, "one a style");

const char *rd_words_kind_name(enum rd_word_kind kind)
{
    return kind_names[kind];
}

/* 0..999 in decimal; written out here so that no format string is needed for three digits. */
static const char *small_number(int value, char room[16])
{
    size_t n = 0;
    if (value >= 100) {
        room[n++] = (char)('0' + value / 100 % 10);
    }
    if (value >= 10) {
        room[n++] = (char)('0' + value / 10 % 10);
    }
    room[n++] = (char)('0' + value % 10);
    room[n] = '\0';
    return room;
}

const char *rd_words_value_name(const struct rd_word *word, char room[16])
{
    switch (word->kind) {
    case RD_WORD_COLOUR:
        return rd_words_colours[word->value].name;
    case RD_WORD_MOOD:
        return rd_words_moods[word->value].name;
    case RD_WORD_STRUCTURE:
        return structure_names[word->value];
    case RD_WORD_SUBJECT:
        return rd_words_subjects[word->value].name;
    case RD_WORD_PLACE:
        return place_names[word->value];
    case RD_WORD_STYLE:
        return style_names[word->value];
    case RD_WORD_SIZE:
    case RD_WORD_NUMBER:
        return small_number(word->value, room);
    case RD_WORD_STARS:
    case RD_WORD_WATER:
    case RD_WORD_GROUND:
    case RD_WORD_FILLER:
    case RD_WORD_KIND_COUNT_:
        break;
    }
    return kind_names[word->kind];
}

static int compare(const char *row, const char *word, size_t len)
{
    int order = strncmp(row, word, len);
    return order != 0 ? order : row[len] != '\0';
}

static size_t find_exact(const char *word, size_t len, const struct rd_word **ret_first)
{
    size_t lo = 0;
    size_t hi = rd_words_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (compare(rd_words[mid].word, word, len) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    size_t count = 0;
    while (lo + count < rd_words_count && compare(rd_words[lo + count].word, word, len) == 0) {
        count++;
    }
    if (count > 0) {
        *ret_first = &rd_words[lo];
    }
    return count;
}

size_t rd_words_find(const char *word, size_t len, const struct rd_word **ret_first,
                     bool *ret_plural)
{
    *ret_plural = false;
    size_t count = find_exact(word, len, ret_first);
    if (count == 0 && len > 2 && word[len - 1] == 's') {
        count = find_exact(word, len - 1, ret_first);
        if (count == 0 && len > 3 && word[len - 2] == 'e') {
            count = find_exact(word, len - 2, ret_first);
        }
        *ret_plural = count > 0;
    }
    return count;
}
