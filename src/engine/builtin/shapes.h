/* SPDX-License-Identifier: Apache-2.0
 *
 * Subjects: small drawings of filled polygons, kept as tables in a square of -100..100 (y down),
 * and the filler that puts them on a surface with smooth edges. The filler samples each row at four
 * heights and counts the exact width covered at each, in integers: the same edge on every machine.
 */
#ifndef RD_ENGINE_BUILTIN_SHAPES_H
#define RD_ENGINE_BUILTIN_SHAPES_H

#include "engine/builtin/plan.h"

enum {
    RD_SURFACE_SIDE_MAX = 2048, /* pixels; larger than every row of rd_formats */
    RD_POLYGON_POINTS_MAX = 128,
};

/* Pixels to draw on, RGB without padding; does not own them. */
struct rd_surface {
    uint8_t *rgb;
    int32_t width, height;
};

/* How a polygon is coloured: from `from` over `mid` to `to`, along an axis or outwards from a
 * point. */
struct rd_fill {
    struct rd_rgb from, mid, to;
    bool radial;
    int32_t x, y;   /* pixels: where `from` is */
    int32_t dx, dy; /* pixels: the way to `to`; radial: dx is the radius */
    int32_t alpha;  /* Q8 0..256 */
};

/* Fills the polygon (x, y pairs in 1/256 pixel, even-odd); points outside the surface are fine. */
void rd_shapes_polygon(struct rd_surface *surface, const int32_t (*points)[2], size_t count,
                       const struct rd_fill *fill);
/* Light: mixes `colour` in, strongest (alpha Q8, 0..256) at the centre, nothing at `radius` pixels.
 */
void rd_shapes_glow(struct rd_surface *surface, const int32_t centre[2], int32_t radius,
                    struct rd_rgb colour, int32_t alpha);

struct rd_pose {
    int32_t x, y;  /* centre, 1/256 pixel */
    int32_t size;  /* 100 of the table, 1/256 pixel */
    uint32_t tilt; /* 16-bit turn */
    size_t skip;   /* parts left out at the start (a sun in a landscape has no spikes) */
};
/* Draws one subject; not for MOUNTAIN and HILL, which are land (land.h). */
void rd_shapes_draw(struct rd_surface *surface, enum rd_shape shape, const struct rd_pose *pose,
                    struct rd_rgb main, int32_t alpha);

#endif
