/* SPDX-License-Identifier: Apache-2.0
 *
 * The painter: from noise to a picture, step by step. It holds a target (scene.h) and a canvas
 * (brush.h). The canvas begins as seeded noise; each step lays strokes whose width falls from a
 * ninth of the picture to a few pixels, as the schedule says, and puts them only where the canvas
 * is still far from the target. So the large forms come first and the details last, and what every
 * step leaves is a real picture of the work so far.
 *
 * A source image enters at three places. i2i: canvas and target begin as mixtures with it, and the
 * first steps are left out, by `strength`. edit: a mask decides, pixel by pixel and at the very
 * end, between source and painting; where it is black the source's bytes are copied. */
#ifndef RD_ENGINE_BUILTIN_PAINT_H
#define RD_ENGINE_BUILTIN_PAINT_H

#include "engine/builtin/brush.h"
#include "engine/builtin/scene.h"

struct rd_paint_input {
    const struct rd_plan *plan;
    int32_t width, height;
    const uint8_t *source; /* RGB of that size, or NULL */
    const uint8_t *mask;   /* one byte a pixel of that size, 255 changes; or NULL */
    struct rd_pulse pulse; /* asked between bands of rows */
};

/* Sizes that can be painted: 1..RD_SURFACE_SIDE_MAX a side, at most eight times as long as wide (so
 * that coordinates, which count in short sides, stay small numbers). */
bool rd_paint_size_ok(int32_t width, int32_t height);

struct rd_painter;
/* Draws the target and the noise. INVALID_REQUEST for a size that is not ok. What `input` points to
 * must outlive the painter. */
rd_err rd_painter_new(const struct rd_paint_input *input, struct rd_painter **ret) RD_MUST;
void rd_painter_free(struct rd_painter *painter); /* NULL is fine */
/* Step 0..plan->steps - 1, in order. */
rd_err rd_painter_step(struct rd_painter *painter, unsigned step) RD_MUST;
/* The picture so far, RGB, into width * height * 3 bytes. After the last step: the result. */
rd_err rd_painter_show(struct rd_painter *painter, uint8_t *rgb) RD_MUST;

#endif
