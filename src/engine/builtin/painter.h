/* SPDX-License-Identifier: Apache-2.0
 *
 * What a painter holds; for paint.c (steps) and prepare.c (before the first) only. */
#ifndef RD_ENGINE_BUILTIN_PAINTER_H
#define RD_ENGINE_BUILTIN_PAINTER_H

#include "engine/builtin/paint.h"

enum { RD_MIP_LEVELS = 3 }; /* 1, 1/4, 1/16 */

struct rd_mip {
    uint8_t *rgb; /* owned */
    int32_t width, height;
};

struct rd_painter {
    struct rd_paint_input in;
    struct rd_scene scene;
    struct rd_canvas canvas;
    struct rd_mip target[RD_MIP_LEVELS]; /* [0] is the target itself */
    struct rd_brushes *brushes;
    unsigned steps_run;
};

static inline int32_t rd_painter_luma(const uint8_t *p)
{
    return (p[0] * 77 + p[1] * 150 + p[2] * 29) >> 8;
}

#endif
