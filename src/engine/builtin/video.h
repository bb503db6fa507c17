/* SPDX-License-Identifier: Apache-2.0
 *
 * Moving pictures, frame by frame. t2v: the scene at its place of the loop, painted at half size
 * with strokes that stay where they are, drift along the flow and fade in and out, so that nothing
 * flickers; then enlarged and lit. i2v: the source, carried along a field of the plan and lit in
 * its palette; frame 0 is the source itself. Every motion goes by whole turns of the loop, so that
 * the frame after the last is the first. */
#ifndef RD_ENGINE_BUILTIN_VIDEO_H
#define RD_ENGINE_BUILTIN_VIDEO_H

#include "engine/builtin/paint.h"

struct rd_video;
/* `input->source` selects i2v. What `input` points to must outlive the video. */
rd_err rd_video_new(const struct rd_paint_input *input, struct rd_video **ret) RD_MUST;
void rd_video_free(struct rd_video *video); /* NULL is fine */
/* Frame 0..plan->frames - 1, in any order, into width * height * 3 bytes. */
rd_err rd_video_frame(struct rd_video *video, unsigned frame, uint8_t *rgb) RD_MUST;

#endif
