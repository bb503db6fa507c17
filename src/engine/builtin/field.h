/* SPDX-License-Identifier: Apache-2.0
 *
 * The background as a field: for each node of a coarse grid a value (which colour of the palette),
 * a shade (lighter or darker) and the direction in which strokes flow. Everything that costs noise
 * is computed here, on a few ten thousand nodes, and read back between them by straight lines: a
 * picture of a million pixels pays for a sixteenth of them, and brush strokes hide the difference.
 *
 * A field depends on the plan and on one angle `turn`, the place in a video's loop: every motion
 * goes by sines of it or whole numbers of it, so that turn 65536 is turn 0 again, exactly. */
#ifndef RD_ENGINE_BUILTIN_FIELD_H
#define RD_ENGINE_BUILTIN_FIELD_H

#include "base/err.h"
#include "engine/builtin/plan.h"

/* Asked between rows: RD_OK to go on, else the reason to stop. */
struct rd_pulse {
    rd_err (*check)(void *ctx);
    void *ctx;
};
static inline rd_err rd_pulse_check(const struct rd_pulse *pulse)
{
    return pulse->check ? pulse->check(pulse->ctx) : RD_OK;
}

struct rd_node {
    uint16_t value;         /* 0..65535 of the palette */
    int16_t shade;          /* Q15 */
    int16_t flow_x, flow_y; /* a unit vector, Q14 */
};

/* Round things that the flow runs around. */
struct rd_vortex {
    int32_t x, y, reach; /* pixels */
};
enum { RD_FIELD_VORTICES = 24 };

/* What a field is computed for. */
struct rd_moment {
    uint32_t turn;   /* the place in the loop, 16-bit turn; 0 for a still picture */
    int32_t horizon; /* the row in pixels where the sky ends; 0: none */
    size_t vortices_count;
    struct rd_vortex vortices[RD_FIELD_VORTICES];
};

struct rd_field {
    int32_t width, height; /* pixels of the picture */
    int32_t cell;          /* pixels between nodes */
    int32_t columns, rows; /* nodes; one more than cells, so that every pixel has four */
    struct rd_node *nodes; /* owned */
    int32_t *potential;    /* owned; the flow runs along its contours */
};

/* A grid of about `nodes_max` nodes along the longer side. */
rd_err rd_field_new(int32_t width, int32_t height, int32_t nodes_max, struct rd_field *ret) RD_MUST;
void rd_field_done(struct rd_field *field);
/* Computes all nodes. */
rd_err rd_field_fill(struct rd_field *field, const struct rd_plan *plan,
                     const struct rd_moment *moment, const struct rd_pulse *pulse) RD_MUST;
/* The nearest node. */
static inline const struct rd_node *rd_field_at(const struct rd_field *field, int32_t x, int32_t y)
{
    int32_t column = rd_noise_clamp(x / field->cell, 0, field->columns - 1);
    int32_t row = rd_noise_clamp(y / field->cell, 0, field->rows - 1);
    return &field->nodes[row * field->columns + column];
}

#endif
