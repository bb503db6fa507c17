/* SPDX-License-Identifier: Apache-2.0
 *
 * From a request to a scene: what the painter is going to paint, decided before it touches a pixel.
 * A pure function of the request and one seed, so that it can be tested word by word, and the only
 * place of the engine that reads floating-point numbers: each becomes fixed point here, once.
 *
 * The rule by which words become palette, structure and subjects is published in
 * docs/builtin-engine.md; its tables stand once, in words_table.c, and a test compares the two. */
#ifndef RD_ENGINE_BUILTIN_PLAN_H
#define RD_ENGINE_BUILTIN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/generation.h"
#include "engine/builtin/noise.h"

struct rd_rgb {
    uint8_t r, g, b;
};

/* What fills the background. */
enum rd_structure {
    RD_STRUCTURE_PLASMA,
    RD_STRUCTURE_CLOUDS,
    RD_STRUCTURE_WAVES,
    RD_STRUCTURE_MARBLE,
    RD_STRUCTURE_RINGS,
    RD_STRUCTURE_STRIPES,
    RD_STRUCTURE_CHECKER,
    RD_STRUCTURE_SPIRAL,
    RD_STRUCTURE_RAYS,
    RD_STRUCTURE_MOSAIC,
    RD_STRUCTURE_AURORA,
    RD_STRUCTURE_FLAMES,
    RD_STRUCTURE_MIST,
    RD_STRUCTURE_PLAIN,
    RD_STRUCTURE_COUNT_
};

/* What stands in front of it. The order is from the farthest to the nearest: the painter's order.
 */
enum rd_shape {
    RD_SHAPE_SUN,
    RD_SHAPE_MOON,
    RD_SHAPE_PLANET,
    RD_SHAPE_MOUNTAIN,
    RD_SHAPE_HILL,
    RD_SHAPE_PINE,
    RD_SHAPE_TREE,
    RD_SHAPE_TOWER,
    RD_SHAPE_HOUSE,
    RD_SHAPE_BOAT,
    RD_SHAPE_CIRCLE,
    RD_SHAPE_RING,
    RD_SHAPE_SQUARE,
    RD_SHAPE_TRIANGLE,
    RD_SHAPE_DIAMOND,
    RD_SHAPE_HEXAGON,
    RD_SHAPE_CROSS,
    RD_SHAPE_STAR,
    RD_SHAPE_HEART,
    RD_SHAPE_FLOWER,
    RD_SHAPE_FISH,
    RD_SHAPE_BIRD,
    RD_SHAPE_CAT,
    RD_SHAPE_COUNT_
};

/* What a word of the table means; `value` indexes what the kind names. */
enum rd_word_kind {
    RD_WORD_COLOUR,    /* rd_words_colours[] */
    RD_WORD_MOOD,      /* rd_words_moods[]: a whole palette */
    RD_WORD_STRUCTURE, /* enum rd_structure */
    RD_WORD_SUBJECT,   /* enum rd_shape */
    RD_WORD_STARS,     /* a sky full of stars */
    RD_WORD_WATER,     /* the lower third is water that mirrors what is above */
    RD_WORD_GROUND,    /* a background noun: takes the colours before it */
    RD_WORD_PLACE,     /* enum rd_place */
    RD_WORD_SIZE,      /* percent */
    RD_WORD_NUMBER,    /* how many */
    RD_WORD_STYLE,     /* enum rd_style */
    RD_WORD_FILLER,    /* means nothing at all */
    RD_WORD_KIND_COUNT_
};
enum rd_place {
    RD_PLACE_LEFT,
    RD_PLACE_RIGHT,
    RD_PLACE_TOP,
    RD_PLACE_BOTTOM,
    RD_PLACE_CENTER,
    RD_PLACE_COUNT_
};
enum rd_style {
    RD_STYLE_BRIGHT,
    RD_STYLE_DARK,
    RD_STYLE_VIVID,
    RD_STYLE_MUTED,
    RD_STYLE_SMOOTH,
    RD_STYLE_IMPASTO,
    RD_STYLE_DOTS,
    RD_STYLE_SOFT,
    RD_STYLE_WILD,
    RD_STYLE_COUNT_
};

struct rd_word {
    const char *word; /* lower case */
    enum rd_word_kind kind;
    int value;
};
/* Sorted by word; a word may have several rows. */
extern const struct rd_word rd_words[];
extern const size_t rd_words_count;
enum { RD_PALETTE_STOPS = 5 };
struct rd_words_colour {
    const char *name;
    struct rd_rgb rgb;
};
extern const struct rd_words_colour rd_words_colours[];
extern const size_t rd_words_colours_count;
struct rd_words_mood {
    const char *name;
    struct rd_rgb stops[RD_PALETTE_STOPS]; /* dark to light */
};
extern const struct rd_words_mood rd_words_moods[];
extern const size_t rd_words_moods_count;
/* The subject's own colour, and the mood that it brings when no word chose a palette. */
struct rd_words_subject {
    const char *name;
    struct rd_rgb rgb;
    int mood;    /* -1: none */
    bool scenic; /* asks for a horizon */
    bool rooted; /* stands on the ground */
};
extern const struct rd_words_subject rd_words_subjects[RD_SHAPE_COUNT_];
const char *rd_words_kind_name(enum rd_word_kind kind);
/* The value of a row as the documentation writes it: a name, or digits in `room`. */
const char *rd_words_value_name(const struct rd_word *word, char room[16]);
/* The first row for the word (plural endings are tried without), and how many rows; 0 when none. */
size_t rd_words_find(const char *word, size_t len, const struct rd_word **ret_first,
                     bool *ret_plural);

/* How the brush moves: what a sampler is to this engine. */
enum rd_manner {
    RD_MANNER_STRAIGHT, /* euler */
    RD_MANNER_BENT,     /* res_2m */
    RD_MANNER_CURLED,   /* res_3s */
    RD_MANNER_DABS,     /* uni_pc */
    RD_MANNER_COUNT_
};
/* How fine the brush is at which part of the steps: what a scheduler is to this engine. */
enum rd_curve {
    RD_CURVE_SIMPLE,
    RD_CURVE_BETA,
    RD_CURVE_EXPONENTIAL,
    RD_CURVE_KARRAS,
    RD_CURVE_BONG_TANGENT,
    RD_CURVE_BETA57,
    RD_CURVE_COUNT_
};

enum { RD_PLAN_SUBJECTS = 16 };
struct rd_plan_subject {
    enum rd_shape kind;
    struct rd_rgb rgb;
    int32_t x, y; /* centre, Q16 of width and height */
    int32_t size; /* half its height, Q16 of the short side */
    uint32_t seed;
};

struct rd_plan {
    uint32_t seed;      /* everything random hangs on this one */
    uint32_t variation; /* hash of the words that no table knows; part of `seed` already */
    struct rd_rgb palette[RD_PALETTE_STOPS];
    enum rd_structure structure;
    bool stars, water, scenic;
    struct rd_plan_subject subjects[RD_PLAN_SUBJECTS]; /* farthest first */
    size_t subjects_count;

    int32_t contrast, saturation; /* Q8, 256 = as it is: guidance and styles */
    int32_t brightness;           /* -64..64 added */
    int32_t adherence;            /* Q8 0..256: how closely strokes keep to the target: guidance */
    int32_t subject_alpha;        /* Q8 0..256: cfg below 1 */
    int32_t glow;                 /* Q8 0..512: cfg above 1 */
    struct rd_rgb tint;           /* LoRAs */
    int32_t tint_amount;          /* Q8 0..160 */

    unsigned steps; /* >= 1 */
    enum rd_manner manner;
    enum rd_curve curve;
    int32_t shift; /* Q8, 256 = 1: time shift of the curve, and travel of the large forms */
    enum rd_noise_kind noise;
    bool sde;                         /* fresh noise at each step */
    int32_t grain;                    /* Q8 0..512: eta */
    int32_t jitter;                   /* colour differences between strokes, Q8 */
    int32_t aspect;                   /* stroke length / width, Q8 */
    int32_t curl;                     /* how far strokes stray from the flow, 16-bit turns */
    int32_t relief;                   /* Q8: how thick the paint lies */
    int32_t brush;                    /* Q8: width of all strokes */
    int32_t swirl;                    /* Q8: how much the field folds over itself */
    int32_t detail;                   /* Q8 -1280..1280 */
    int32_t detail_start, detail_end; /* Q16 of the steps */
    int32_t strength;                 /* Q16 */

    int32_t motion; /* Q16 */
    unsigned fps, frames;
};

/* Never fails: what it does not understand becomes variation, what is out of range is clamped. */
void rd_plan_make(const struct rd_generation *generation, uint32_t seed, struct rd_plan *ret);
/* Its second half (tuning.c): fills the numbers. `styles` has a bit for each enum rd_style. */
void rd_plan_tune_(const struct rd_generation *generation, unsigned styles, struct rd_plan *plan);

#endif
