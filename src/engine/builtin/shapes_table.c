/* SPDX-License-Identifier: Apache-2.0
 *
 * The subjects, drawn by hand in numbers. See shapes_table.h. */
#include "engine/builtin/shapes_table.h"

#define POLY(role, shade, n, ...)                                                                  \
    {                                                                                              \
        RD_FORM_POLYGON, RD_ROLE_##role, RD_SHADE_##shade, n,                                      \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define ROUND(role, shade, ...)                                                                    \
    {                                                                                              \
        RD_FORM_ELLIPSE, RD_ROLE_##role, RD_SHADE_##shade, 0,                                      \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define SPIKY(role, shade, ...)                                                                    \
    {                                                                                              \
        RD_FORM_SPIKY, RD_ROLE_##role, RD_SHADE_##shade, 0,                                        \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

static const struct rd_part sun[] = {
    SPIKY(LIGHT, FLAT, 16, 124, 90, 0),
    SPIKY(MAIN, FLAT, 16, 112, 86, 8),
    ROUND(MAIN, CORE, 0, 0, 84, 84, 0),
};
static const struct rd_part moon[] = {
    ROUND(MAIN, BALL, 0, 0, 100, 100, 0),   ROUND(SHADE, FLAT, -30, -36, 32, 22, 20),
    ROUND(SHADE, FLAT, -48, 4, 20, 26, 12), ROUND(SHADE, FLAT, 12, -16, 26, 17, -20),
    ROUND(SHADE, FLAT, 44, 12, 18, 22, 30), ROUND(SHADE, FLAT, -8, 62, 17, 9, 6),
    ROUND(LIGHT, FLAT, 22, 44, 9, 8, 0),    ROUND(LIGHT, FLAT, 40, -48, 7, 6, 0),
};
static const struct rd_part planet[] = {
    /* the ring's far half lies under the ball, its near half over it */
    {RD_FORM_RING, RD_ROLE_SHADE, RD_SHADE_FLAT, 0, {126, 92, 24, -14, 0}},
    {RD_FORM_RING, RD_ROLE_LIGHT, RD_SHADE_FLAT, 0, {122, 106, 24, -14, 0}},
    ROUND(MAIN, BALL, 0, 0, 70, 70, 0),
    ROUND(LIGHT, FLAT, -12, -36, 44, 5, -14),
    ROUND(SHADE, FLAT, -5, -14, 60, 6, -14),
    ROUND(SHADE, FLAT, 12, 44, 40, 5, -14),
    {RD_FORM_RING, RD_ROLE_SHADE, RD_SHADE_FLAT, 0, {126, 92, 24, -14, 1}},
    {RD_FORM_RING, RD_ROLE_LIGHT, RD_SHADE_FLAT, 0, {122, 106, 24, -14, 1}},
};
static const struct rd_part pine[] = {
    POLY(BARK, FLAT, 4, -7, 60, 7, 60, 9, 100, -9, 100),
    POLY(DARK, SLOPE, 9, 0, 4, 62, 74, 38, 70, 20, 78, 0, 72, -20, 79, -40, 70, -60, 75, -30, 40),
    POLY(MAIN, SLOPE, 9, 0, -38, 50, 34, 30, 30, 16, 38, 0, 32, -18, 39, -32, 30, -50, 35, -24, 0),
    POLY(MAIN, SLOPE, 8, 0, -74, 37, -8, 22, -12, 10, -4, -4, -9, -22, -3, -38, -9, -18, -40),
    POLY(LIGHT, SLOPE, 6, 0, -100, 22, -46, 10, -49, 0, -42, -10, -48, -22, -45),
};
static const struct rd_part tree[] = {
    POLY(BARK, SLOPE, 10, -9, 100, -6, 45, -30, 12, -24, 8, 0, 30, 26, 2, 32, 7, 8, 46, 10, 100, 0,
         96),
    ROUND(DARK, BALL, -38, 8, 40, 32, 0),
    ROUND(DARK, BALL, 40, 6, 42, 33, 0),
    ROUND(MAIN, BALL, 4, -4, 48, 38, 0),
    ROUND(MAIN, BALL, -40, -30, 38, 34, 0),
    ROUND(MAIN, BALL, 40, -32, 38, 33, 0),
    ROUND(MAIN, BALL, 0, -58, 44, 38, 0),
    ROUND(LIGHT, BALL, -22, -48, 27, 21, 0),
    ROUND(LIGHT, BALL, 20, -72, 22, 16, 0),
};
static const struct rd_part tower[] = {
    POLY(DARK, SLOPE, 6, -60, 100, -44, 84, -20, 78, 20, 78, 46, 86, 60, 100),
    POLY(PALE, SLOPE, 4, -16, -52, 16, -52, 27, 92, -27, 92),
    POLY(ROOF, SLOPE, 4, -19, -22, 19, -22, 21, 8, -21, 8),
    POLY(ROOF, SLOPE, 4, -23, 36, 23, 36, 25, 66, -25, 66),
    POLY(INK, FLAT, 4, -23, -56, 23, -56, 23, -50, -23, -50),
    POLY(LAMP, FLAT, 4, -12, -78, 12, -78, 12, -56, -12, -56),
    POLY(INK, FLAT, 4, -2, -78, 2, -78, 2, -56, -2, -56),
    POLY(ROOF, SLOPE, 5, -17, -76, -10, -90, 0, -100, 10, -90, 17, -76),
    POLY(INK, FLAT, 4, -6, 74, 6, 74, 6, 92, -6, 92),
};
static const struct rd_part house[] = {
    POLY(ROOF, SLOPE, 4, 38, -96, 58, -96, 58, -40, 38, -40),
    POLY(MAIN, SLOPE, 4, -76, -12, 76, -12, 76, 100, -76, 100),
    POLY(DARK, FLAT, 4, -76, -12, 76, -12, 76, 4, -76, 4),
    POLY(ROOF, SLOPE, 4, -100, 2, -64, -76, 64, -76, 100, 2),
    POLY(BARK, FLAT, 4, -15, 36, 15, 36, 15, 100, -15, 100),
    POLY(INK, FLAT, 4, -61, 26, -29, 26, -29, 62, -61, 62),
    POLY(LAMP, FLAT, 4, -57, 30, -47, 30, -47, 58, -57, 58),
    POLY(LAMP, FLAT, 4, -43, 30, -33, 30, -33, 58, -43, 58),
    POLY(INK, FLAT, 4, 29, 26, 61, 26, 61, 62, 29, 62),
    POLY(LAMP, FLAT, 4, 33, 30, 43, 30, 43, 58, 33, 58),
    POLY(LAMP, FLAT, 4, 47, 30, 57, 30, 57, 58, 47, 58),
};
static const struct rd_part boat[] = {
    POLY(BARK, FLAT, 4, -3, -96, 3, -96, 3, 58, -3, 58),
    POLY(PALE, SLOPE, 7, 7, -90, 30, -60, 50, -26, 64, 10, 72, 42, 38, 46, 7, 46),
    POLY(LIGHT, SLOPE, 6, -7, -76, -30, -40, -48, -4, -62, 38, -34, 46, -7, 46),
    POLY(MAIN, SLOPE, 8, -96, 56, -50, 62, 0, 63, 50, 62, 98, 52, 74, 92, 40, 99, -66, 97),
    POLY(PALE, FLAT, 6, -94, 60, -50, 66, 50, 66, 96, 56, 94, 61, -90, 68),
};
static const struct rd_part circle[] = {ROUND(MAIN, BALL, 0, 0, 100, 100, 0)};
static const struct rd_part square[] = {
    POLY(MAIN, SLOPE, 4, -100, -100, 100, -100, 100, 100, -100, 100),
};
static const struct rd_part triangle[] = {POLY(MAIN, SLOPE, 3, 0, -100, 108, 86, -108, 86)};
static const struct rd_part diamond[] = {
    POLY(MAIN, SLOPE, 4, 0, -100, 72, 0, 0, 100, -72, 0),
    POLY(LIGHT, SLOPE, 3, 0, -100, 0, 0, -72, 0),
    POLY(DARK, SLOPE, 3, 0, 0, 72, 0, 0, 100),
};
static const struct rd_part hexagon[] = {
    POLY(MAIN, SLOPE, 6, -50, -87, 50, -87, 100, 0, 50, 87, -50, 87, -100, 0),
};
static const struct rd_part cross[] = {
    POLY(MAIN, SLOPE, 12, -32, -100, 32, -100, 32, -32, 100, -32, 100, 32, 32, 32, 32, 100, -32,
         100, -32, 32, -100, 32, -100, -32, -32, -32),
};
static const struct rd_part star[] = {
    SPIKY(DARK, FLAT, 5, 106, 45, -64),
    SPIKY(MAIN, BALL, 5, 98, 40, -64),
};
static const struct rd_part heart[] = {{RD_FORM_HEART, RD_ROLE_MAIN, RD_SHADE_BALL, 0, {106}}};
static const struct rd_part flower[] = {
    POLY(LEAF, SLOPE, 6, -3, 10, 4, 10, 8, 60, 3, 100, -4, 100, 1, 60),
    ROUND(LEAF, BALL, 30, 62, 28, 10, -22),
    ROUND(LEAF, BALL, -24, 76, 26, 9, 20),
    ROUND(DARK, FLAT, 46, -24, 27, 17, 0),
    ROUND(DARK, FLAT, 33, 8, 27, 17, 32),
    ROUND(DARK, FLAT, 0, 22, 27, 17, 64),
    ROUND(DARK, FLAT, -33, 8, 27, 17, 96),
    ROUND(DARK, FLAT, -46, -24, 27, 17, 0),
    ROUND(DARK, FLAT, -33, -56, 27, 17, 32),
    ROUND(DARK, FLAT, 0, -70, 27, 17, 64),
    ROUND(DARK, FLAT, 33, -56, 27, 17, 96),
    ROUND(MAIN, BALL, 40, -8, 29, 16, 16),
    ROUND(MAIN, BALL, 16, 15, 29, 16, 48),
    ROUND(MAIN, BALL, -16, 15, 29, 16, 80),
    ROUND(MAIN, BALL, -40, -8, 29, 16, 112),
    ROUND(MAIN, BALL, -40, -40, 29, 16, 16),
    ROUND(MAIN, BALL, -16, -64, 29, 16, 48),
    ROUND(MAIN, BALL, 16, -64, 29, 16, 80),
    ROUND(MAIN, BALL, 40, -40, 29, 16, 112),
    ROUND(LAMP, BALL, 0, -24, 21, 21, 0),
};
static const struct rd_part fish[] = {
    POLY(DARK, SLOPE, 7, 44, 0, 96, -52, 112, -44, 92, 0, 112, 44, 96, 52, 60, 14),
    POLY(DARK, SLOPE, 6, -30, -34, 10, -76, 46, -62, 40, -40, 44, -20, 0, -28),
    POLY(DARK, SLOPE, 5, -10, 32, 20, 66, 36, 56, 30, 26, 10, 24),
    POLY(MAIN, SLOPE, 14, -110, -2, -86, -30, -48, -44, -6, -44, 34, -28, 62, -8, 62, 8, 34, 27, -6,
         40, -48, 39, -86, 27, -106, 10, -98, 6, -106, 3),
    POLY(PALE, FLAT, 9, -52, -43, -38, -44, -28, -20, -28, 16, -38, 39, -52, 39, -42, 18, -41, -4,
         -42, -22),
    POLY(PALE, FLAT, 7, 8, -40, 22, -34, 30, -8, 24, 30, 12, 34, 17, 8, 16, -18),
    POLY(LIGHT, SLOPE, 4, -20, 4, 12, 16, 4, 30, -18, 18),
    ROUND(PALE, FLAT, -78, -10, 9, 9, 0),
    ROUND(INK, FLAT, -79, -10, 5, 5, 0),
};
static const struct rd_part bird[] = {
    POLY(DARK, SLOPE, 10, -6, 2, -30, -38, -66, -56, -112, -46, -82, -40, -58, -28, -36, -6, -18,
         22, 0, 26, 4, 8),
    POLY(MAIN, SLOPE, 10, 0, 4, 22, -40, 54, -66, 104, -66, 74, -54, 54, -38, 38, -10, 24, 26, 6,
         30, -2, 16),
    POLY(LIGHT, SLOPE, 9, -34, 10, -26, 2, -12, 2, 14, 10, 44, 26, 60, 40, 34, 34, 6, 28, -20, 20),
    POLY(LAMP, FLAT, 3, -32, 8, -46, 14, -31, 13),
};
static const struct rd_part cat[] = {
    POLY(DARK, SLOPE, 12, 44, 84, 78, 74, 88, 46, 76, 22, 88, 12, 102, 34, 104, 62, 92, 88, 66, 100,
         30, 100, 20, 92, 30, 86),
    POLY(MAIN, SLOPE, 14, -26, -28, 20, -28, 42, 4, 54, 46, 54, 82, 42, 100, -46, 100, -52, 92, -40,
         84, -40, 50, -44, 20, -40, -6, -36, -20, -30, -26),
    POLY(MAIN, SLOPE, 3, -46, -54, -44, -100, -14, -76),
    POLY(MAIN, SLOPE, 3, 38, -54, 36, -100, 6, -76),
    ROUND(MAIN, SLOPE, -4, -48, 46, 36, 0),
    POLY(ROOF, FLAT, 3, -39, -72, -38, -88, -26, -78),
    POLY(ROOF, FLAT, 3, 31, -72, 30, -88, 18, -78),
    ROUND(LAMP, FLAT, -22, -50, 10, 8, 8),
    ROUND(LAMP, FLAT, 14, -50, 10, 8, -8),
    ROUND(INK, FLAT, -22, -50, 3, 8, 0),
    ROUND(INK, FLAT, 14, -50, 3, 8, 0),
    POLY(ROOF, FLAT, 3, -9, -36, 1, -36, -4, -29),
    ROUND(LIGHT, BALL, -10, 30, 20, 40, 0),
    ROUND(LIGHT, FLAT, -30, 94, 14, 7, 0),
    ROUND(LIGHT, FLAT, 8, 94, 14, 7, 0),
};

static const struct rd_part ring[] = {
    {RD_FORM_RING, RD_ROLE_MAIN, RD_SHADE_BALL, 0, {100, 58, 100, 0, 0}}};

#define TABLE(name)                                                                                \
    {                                                                                              \
        name, sizeof(name) / sizeof(name)[0]                                                       \
    }
const struct rd_parts rd_shapes_table[RD_SHAPE_COUNT_] = {
    [RD_SHAPE_SUN] = TABLE(sun),         [RD_SHAPE_MOON] = TABLE(moon),
    [RD_SHAPE_PLANET] = TABLE(planet),   [RD_SHAPE_PINE] = TABLE(pine),
    [RD_SHAPE_TREE] = TABLE(tree),       [RD_SHAPE_TOWER] = TABLE(tower),
    [RD_SHAPE_HOUSE] = TABLE(house),     [RD_SHAPE_BOAT] = TABLE(boat),
    [RD_SHAPE_CIRCLE] = TABLE(circle),   [RD_SHAPE_RING] = TABLE(ring),
    [RD_SHAPE_SQUARE] = TABLE(square),   [RD_SHAPE_TRIANGLE] = TABLE(triangle),
    [RD_SHAPE_DIAMOND] = TABLE(diamond), [RD_SHAPE_HEXAGON] = TABLE(hexagon),
    [RD_SHAPE_CROSS] = TABLE(cross),     [RD_SHAPE_STAR] = TABLE(star),
    [RD_SHAPE_HEART] = TABLE(heart),     [RD_SHAPE_FLOWER] = TABLE(flower),
    [RD_SHAPE_FISH] = TABLE(fish),       [RD_SHAPE_BIRD] = TABLE(bird),
    [RD_SHAPE_CAT] = TABLE(cat),
};
