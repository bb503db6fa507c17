/* SPDX-License-Identifier: Apache-2.0
 *
 * What fills a landscape: ranges of mountains and hills, water that mirrors what is above it, and a
 * sky full of stars. */
#ifndef RD_ENGINE_BUILTIN_LAND_H
#define RD_ENGINE_BUILTIN_LAND_H

#include "engine/builtin/scene.h"

/* A MOUNTAIN or HILL subject across the whole width; the highest peak is near column `x`. */
rd_err rd_land_draw(const struct rd_scene *scene, const struct rd_plan_subject *subject, int32_t x,
                    struct rd_surface *surface, const struct rd_pulse *pulse) RD_MUST;
/* From the horizon down: the rows above it, mirrored and rippled. Draw what it mirrors first. */
rd_err rd_land_water(const struct rd_scene *scene, uint32_t turn, struct rd_surface *surface,
                     const struct rd_pulse *pulse) RD_MUST;
/* Stars above the horizon; they twinkle with the loop. */
void rd_land_stars(const struct rd_scene *scene, uint32_t turn, struct rd_surface *surface);
/* The flow turns round the largest stars: appends them, while there is room. */
void rd_land_star_vortices(const struct rd_scene *scene, struct rd_moment *moment);

#endif
