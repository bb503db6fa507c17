/* SPDX-License-Identifier: Apache-2.0
 *
 * One brush stroke: a stamp with bristles, laid along a direction, bent into an arc, onto a canvas
 * that remembers colour and how thick the paint lies. A stroke may be told to keep to what it meant
 * to paint: the further the target's colour under a pixel is from its own, the less it covers
 * there, so that fine strokes end at edges without knowing of any. */
#ifndef RD_ENGINE_BUILTIN_BRUSH_H
#define RD_ENGINE_BUILTIN_BRUSH_H

#include "base/err.h"
#include "engine/builtin/plan.h"

enum {
    RD_BRUSH_U = 256, /* texels along the stroke */
    RD_BRUSH_V = 64,  /* and across */
    RD_BRUSH_KINDS = 4,
    RD_CANVAS_FLAT = 128, /* height of paint where nothing was painted */
};

/* The stamps; the same for all pictures. High byte: cover, low byte: thickness. */
struct rd_brushes {
    uint16_t texels[RD_BRUSH_KINDS][RD_BRUSH_U * RD_BRUSH_V];
};
void rd_brushes_make(struct rd_brushes *ret);

/* r, g, b and thickness of each pixel. */
struct rd_canvas {
    uint8_t *pixels; /* owned; 4 bytes each */
    int32_t width, height;
};
rd_err rd_canvas_new(int32_t width, int32_t height, struct rd_canvas *ret) RD_MUST;
void rd_canvas_done(struct rd_canvas *canvas);

struct rd_stroke {
    int32_t x, y;          /* centre, 1/256 pixel */
    int32_t length, width; /* 1/256 pixel */
    int32_t dir_x, dir_y;  /* unit vector, Q14 */
    int32_t bend;          /* how far the ends bow out, 1/256 of half the width */
    struct rd_rgb rgb;
    int32_t alpha; /* Q8 0..256 */
    int32_t keep;  /* Q8: 0 paints over everything; 256 stops at a difference of 256 */
    uint32_t kind; /* which stamp: any number */
};
/* `target` is RGB of the canvas's size; read only when stroke->keep > 0. */
void rd_brush_paint(struct rd_canvas *canvas, const uint8_t *target,
                    const struct rd_brushes *brushes, const struct rd_stroke *stroke);

/* Lights the paint from the upper left and writes RGB; `relief` Q8. Where nothing was painted the
 * pixel comes out as it is. */
void rd_canvas_light(const struct rd_canvas *canvas, int32_t relief, int32_t row_from,
                     int32_t row_to, uint8_t *rgb);

#endif
