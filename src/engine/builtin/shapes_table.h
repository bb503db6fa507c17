/* SPDX-License-Identifier: Apache-2.0
 *
 * The drawings of the subjects as data: which parts, in which order, form, colour role and shading.
 * Coordinates are -100..100, y down, and a part covers what came before it. */
#ifndef RD_ENGINE_BUILTIN_SHAPES_TABLE_H
#define RD_ENGINE_BUILTIN_SHAPES_TABLE_H

#include "engine/builtin/plan.h"

enum rd_role {
    RD_ROLE_MAIN, /* the subject's colour, and shades of it */
    RD_ROLE_LIGHT,
    RD_ROLE_DARK,
    RD_ROLE_SHADE,
    RD_ROLE_PALE,
    RD_ROLE_INK,
    RD_ROLE_BARK,
    RD_ROLE_ROOF,
    RD_ROLE_LAMP,
    RD_ROLE_LEAF,
    RD_ROLE_COUNT_
};
enum rd_form {
    RD_FORM_POLYGON, /* x, y pairs */
    RD_FORM_ELLIPSE, /* centre x, y, radius x, y, tilt in 1/256 turns */
    RD_FORM_SPIKY,   /* points, outer radius, inner radius, turn in 1/256 */
    RD_FORM_HEART,   /* size */
    RD_FORM_RING, /* outer and inner radius, height in per cent, tilt in 1/256, 1: lower half only
                   */
};
enum rd_shade { RD_SHADE_FLAT, RD_SHADE_SLOPE, RD_SHADE_BALL, RD_SHADE_CORE };

enum { RD_PART_DATA = 28 };
struct rd_part {
    enum rd_form form;
    enum rd_role role;
    enum rd_shade shade;
    uint8_t count; /* points of a polygon */
    int8_t data[RD_PART_DATA];
};
struct rd_parts {
    const struct rd_part *parts;
    size_t count;
};
extern const struct rd_parts rd_shapes_table[RD_SHAPE_COUNT_];

#endif
