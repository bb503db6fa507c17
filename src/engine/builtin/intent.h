/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the two halves of the plan: what the words said (plan.c reads them) before it is arranged
 * (compose.c). For these two files only. */
#ifndef RD_ENGINE_BUILTIN_INTENT_H
#define RD_ENGINE_BUILTIN_INTENT_H

#include "engine/builtin/plan.h"

enum {
    COLOURS_MAX = 4,
    BANNED_COLOURS_MAX = 8,
    MOODS_MAX = 2,
};

struct rd_banned {
    uint32_t shapes, structures, moods, styles, kinds; /* bit sets */
    struct rd_rgb colours[BANNED_COLOURS_MAX];
    size_t colours_count;
};

/* What the words said, before it is arranged. */
struct rd_intent {
    struct rd_plan *plan;
    const struct rd_banned *banned;
    struct rd_rgb background[COLOURS_MAX];
    size_t background_count;
    struct rd_rgb pending[COLOURS_MAX];
    size_t pending_count;
    int moods[MOODS_MAX];
    size_t moods_count;
    int size, number;    /* 0: not said */
    unsigned place;      /* bits of enum rd_place waiting for a subject */
    size_t clause_first; /* first subject of this clause */
    size_t last_first;   /* first of the subjects of the last noun */
    bool structure_said;
    unsigned styles;
    struct { /* what words said of each subject */
        bool placed_x, placed_y, coloured;
        int size; /* percent */
    } said[RD_PLAN_SUBJECTS];
};

/* The sky has it, and it keeps to the upper third of a landscape. */
bool rd_intent_in_sky(enum rd_shape kind);
void rd_intent_choose_palette(struct rd_intent *intent);
/* Waves and fish decide whether a sea has a horizon. */
void rd_intent_settle_water(struct rd_plan *plan);
/* Places, sizes and order of the subjects. */
void rd_intent_arrange(struct rd_intent *intent);

#endif
