/* SPDX-License-Identifier: Apache-2.0
 *
 * The target: the clean picture that the brush then works towards. Background from the field, sky
 * things, land, water, and the rest, far to near; then the colours are graded (guidance, styles,
 * LoRAs). Nothing here looks painted, and nobody ever sees it as it is. */
#ifndef RD_ENGINE_BUILTIN_SCENE_H
#define RD_ENGINE_BUILTIN_SCENE_H

#include "engine/builtin/field.h"
#include "engine/builtin/shapes.h"

struct rd_frame {
    int32_t x, y, width, height; /* pixels: where the composition goes (edit: the mask's box) */
};

struct rd_scene {
    const struct rd_plan *plan; /* borrowed */
    struct rd_field field;
    struct rd_frame frame;
    int32_t horizon; /* row where land or water begins; 0: none */
    uint8_t lut[1024][3];
};

/* For a picture of `width` x `height`, with a field of about `nodes_max` nodes along the longer
 * side, and composed for all of it (rd_scene_reframe: for a part). `plan` must outlive the scene.
 */
rd_err rd_scene_new(const struct rd_plan *plan, int32_t width, int32_t height, int32_t nodes_max,
                    struct rd_scene *ret) RD_MUST;
void rd_scene_reframe(struct rd_scene *scene, const struct rd_frame *frame);
void rd_scene_done(struct rd_scene *scene);
/* Draws the picture for the place `turn` of the loop (0 for a still one). */
rd_err rd_scene_draw(struct rd_scene *scene, uint32_t turn, struct rd_surface *surface,
                     const struct rd_pulse *pulse) RD_MUST;
/* The colour of the palette for `value` 0..65535. */
static inline struct rd_rgb rd_scene_colour(const struct rd_scene *scene, uint32_t value)
{
    const uint8_t *c = scene->lut[value >> 6];
    return (struct rd_rgb){c[0], c[1], c[2]};
}
/* Contrast, saturation, brightness and tint of the plan, on every pixel. */
void rd_scene_grade(const struct rd_plan *plan, struct rd_surface *surface);

#endif
