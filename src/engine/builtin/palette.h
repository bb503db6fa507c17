/* SPDX-License-Identifier: Apache-2.0
 *
 * Colours: how words become the five stops of a palette, dark to light. Pure integer functions. */
#ifndef RD_ENGINE_BUILTIN_PALETTE_H
#define RD_ENGINE_BUILTIN_PALETTE_H

#include "engine/builtin/plan.h"

/* a + (b - a) * t / 256, t 0..256 */
struct rd_rgb rd_palette_mix(struct rd_rgb a, struct rd_rgb b, int32_t t);
int32_t rd_palette_luma(struct rd_rgb c); /* 0..255 */

/* A palette of one colour (all its shades) or of several (from the first to the last). `backdrop`
 * keeps it darker and greyer, so that something of the same colour stands out in front of it. */
void rd_palette_from_colours(const struct rd_rgb *colours, size_t count, bool backdrop,
                             struct rd_rgb ret[RD_PALETTE_STOPS]);
/* Takes what `banned` names out of a colour: its hue, or for white, black and grey its lightness.
 */
struct rd_rgb rd_palette_without(struct rd_rgb c, struct rd_rgb banned);

#endif
