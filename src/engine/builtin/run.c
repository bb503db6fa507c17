/* SPDX-License-Identifier: Apache-2.0
 *
 * One run, from the request's bytes to the output's. See builtin.h. Pixels live in rd_image and in
 * the painter; the encoded output is delivered in chunks of at most 64 KiB, so that a sink that
 * streams need not take a megabyte at once. */
#include "engine/builtin/builtin.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "engine/builtin/video.h"
#include "media/media.h"

#define CHUNK_BYTES RD_KIB(64)
#define OUTPUT_BYTES_MAX RD_MIB(256) /* ten seconds of noise at 720p stay far below */

enum {
    PREVIEWS = 8,       /* of one output, at most */
    PREVIEW_SIDE = 192, /* pixels of the longer side */
    PREVIEW_QUALITY = 72,
    QUALITY = 92, /* JPEG and WebP */
    LOSSLESS = 100,
};

struct work {
    const struct rd_engine_job *job;
    const struct rd_generation *generation;
    struct rd_pulse pulse;
    struct rd_why *why;
    struct rd_image source, mask; /* of the output's size; pixels NULL when the task has none */
    uint8_t *mask_plane;          /* one byte a pixel; owned */
};

static void work_done(struct work *work)
{
    rd_image_done(&work->source);
    rd_image_done(&work->mask);
    rd_mem_free(work->mask_plane);
}

static rd_err load(struct work *work, const struct rd_source *from, struct rd_image *ret)
{
    unsigned width = work->generation->format->width;
    unsigned height = work->generation->format->height;
    if (from->kind == RD_SOURCE_NONE || from->bytes == NULL) {
        return rd_why_set(work->why, RD_ERR_INVALID_REQUEST, "the task %s needs a source image",
                          rd_task_name(work->generation->task));
    }
    struct rd_image image = {0};
    struct rd_why why = {.text = ""};
    rd_err err = rd_image_decode(from->bytes, from->bytes_len, 3, &image, &why);
    if (err != RD_OK) {
        bool mask = from == &work->generation->mask;
        return rd_why_set(work->why, err, "%s: %s", mask ? "mask" : "image", why.text);
    }
    err = rd_pulse_check(&work->pulse);
    if (err == RD_OK && image.width == width && image.height == height) {
        *ret = image; /* the pixels as they are, not resized to themselves */
        return RD_OK;
    }
    err = err == RD_OK ? rd_image_resize(&image, width, height, ret) : err;
    rd_image_done(&image);
    return err;
}

/* What changes is what is light: the luma of the mask. */
static rd_err load_mask(struct work *work)
{
    RD_TRY(load(work, &work->generation->mask, &work->mask));
    size_t count = (size_t)work->mask.width * work->mask.height;
    work->mask_plane = rd_mem_alloc(count);
    if (!work->mask_plane) {
        return RD_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const uint8_t *p = work->mask.pixels + i * 3;
        work->mask_plane[i] = (uint8_t)((p[0] * 77 + p[1] * 150 + p[2] * 29) >> 8);
    }
    return RD_OK;
}

static rd_err deliver(const struct work *work, unsigned index, const struct rd_buf *bytes)
{
    const struct rd_engine_sink *sink = &work->job->sink;
    RD_TRY(sink->begin(sink->ctx, index, work->generation->media, bytes->len));
    for (size_t at = 0; at < bytes->len; at += CHUNK_BYTES) {
        RD_TRY(rd_pulse_check(&work->pulse));
        size_t left = bytes->len - at;
        RD_TRY(sink->data(sink->ctx, index, bytes->data + at,
                          left < CHUNK_BYTES ? left : CHUNK_BYTES));
    }
    return sink->end(sink->ctx, index);
}

static void report_progress(const struct work *work, uint64_t done, uint64_t of)
{
    const struct rd_engine_sink *sink = &work->job->sink;
    if (sink->progress) {
        double fraction = (double)done / (double)of;
        sink->progress(sink->ctx, fraction, (unsigned)(done * work->generation->steps / of));
    }
}

/* True for about PREVIEWS of the `of` moments, evenly spread and not the last: that is the output.
 */
static bool preview_due(const struct work *work, unsigned done, unsigned of)
{
    if (!work->job->sink.preview || done >= of) {
        return false;
    }
    return of <= PREVIEWS || done * PREVIEWS / of != (done - 1) * PREVIEWS / of;
}

static rd_err send_preview(const struct work *work, const struct rd_image *image)
{
    unsigned longer = image->width > image->height ? image->width : image->height;
    unsigned width = image->width * PREVIEW_SIDE / longer;
    unsigned height = image->height * PREVIEW_SIDE / longer;
    struct rd_image small = {0};
    RD_TRY(rd_image_resize(image, width > 0 ? width : 1, height > 0 ? height : 1, &small));
    RD_AUTO_BUF struct rd_buf bytes;
    rd_buf_init(&bytes, RD_MIB(1));
    rd_err err = rd_image_encode(&small, RD_MEDIA_JPEG, PREVIEW_QUALITY, &bytes);
    rd_image_done(&small);
    if (err == RD_OK) {
        const struct rd_engine_sink *sink = &work->job->sink;
        sink->preview(sink->ctx, RD_MEDIA_JPEG, bytes.data, bytes.len);
    }
    return err;
}

/* --- pictures --- */

static rd_err paint(const struct work *work, struct rd_painter *painter, const struct rd_plan *plan,
                    unsigned index, struct rd_image *image)
{
    uint64_t of = (uint64_t)plan->steps * work->generation->count;
    for (unsigned step = 0; step < plan->steps; step++) {
        RD_TRY(rd_pulse_check(&work->pulse));
        RD_TRY(rd_painter_step(painter, step));
        report_progress(work, (uint64_t)index * plan->steps + step + 1, of);
        if (preview_due(work, step + 1, plan->steps)) {
            RD_TRY(rd_painter_show(painter, image->pixels));
            RD_TRY(send_preview(work, image));
        }
    }
    return rd_painter_show(painter, image->pixels);
}

static rd_err encode_picture(const struct work *work, const struct rd_image *image,
                             struct rd_buf *out)
{
    /* an edit keeps its promise about black pixels wherever the format can */
    bool exact = work->generation->task == RD_TASK_EDIT && work->generation->media == RD_MEDIA_WEBP;
    return rd_image_encode(image, work->generation->media, exact ? LOSSLESS : QUALITY, out);
}

static rd_err make_picture(const struct work *work, unsigned index)
{
    struct rd_plan plan;
    rd_plan_make(work->generation, rd_generation_seed(work->generation, index), &plan);
    struct rd_paint_input input = {
        .plan = &plan,
        .width = (int32_t)work->generation->format->width,
        .height = (int32_t)work->generation->format->height,
        .source = work->source.pixels,
        .mask = work->mask_plane,
        .pulse = work->pulse,
    };
    struct rd_image image = {0};
    RD_TRY(
        rd_image_new(work->generation->format->width, work->generation->format->height, 3, &image));
    RD_AUTO_BUF struct rd_buf bytes;
    rd_buf_init(&bytes, OUTPUT_BYTES_MAX);
    struct rd_painter *painter = NULL;
    rd_err err = rd_painter_new(&input, &painter);
    err = err == RD_OK ? paint(work, painter, &plan, index, &image) : err;
    rd_painter_free(painter); /* before the encoder needs memory of its own */
    err = err == RD_OK ? encode_picture(work, &image, &bytes) : err;
    rd_image_done(&image);
    RD_TRY(err);
    RD_TRY(rd_pulse_check(&work->pulse));
    return deliver(work, index, &bytes);
}

/* --- video --- */

static rd_err make_frames(const struct work *work, const struct rd_plan *plan,
                          struct rd_video *video, struct rd_mp4 *mp4, struct rd_image *image)
{
    for (unsigned frame = 0; frame < plan->frames; frame++) {
        RD_TRY(rd_pulse_check(&work->pulse));
        RD_TRY(rd_video_frame(video, frame, image->pixels));
        RD_TRY(rd_mp4_frame(mp4, image));
        report_progress(work, frame + 1, plan->frames);
        if (preview_due(work, frame + 1, plan->frames)) {
            RD_TRY(send_preview(work, image));
        }
    }
    return RD_OK;
}

static rd_err make_video(const struct work *work)
{
    struct rd_plan plan;
    rd_plan_make(work->generation, rd_generation_seed(work->generation, 0), &plan);
    unsigned width = work->generation->format->width;
    unsigned height = work->generation->format->height;
    struct rd_paint_input input = {
        .plan = &plan,
        .width = (int32_t)width,
        .height = (int32_t)height,
        .source = work->source.pixels,
        .pulse = work->pulse,
    };
    struct rd_image image = {0};
    struct rd_mp4 *mp4 = NULL;
    struct rd_video *video = NULL;
    RD_AUTO_BUF struct rd_buf bytes;
    rd_buf_init(&bytes, OUTPUT_BYTES_MAX);
    rd_err err = rd_image_new(width, height, 3, &image);
    err = err == RD_OK ? rd_mp4_new(width, height, plan.fps, &mp4, work->why) : err;
    err = err == RD_OK ? rd_video_new(&input, &video) : err;
    err = err == RD_OK ? make_frames(work, &plan, video, mp4, &image) : err;
    rd_video_free(video);
    err = err == RD_OK ? rd_mp4_finish(mp4, &bytes) : err;
    rd_mp4_free(mp4);
    rd_image_done(&image);
    RD_TRY(err);
    RD_TRY(rd_pulse_check(&work->pulse));
    return deliver(work, 0, &bytes);
}

/* --- all of it --- */

static rd_err run_tasks(struct work *work)
{
    const struct rd_generation *generation = work->generation;
    bool video = generation->modality == RD_MODALITY_VIDEO;
    if (video != (generation->media == RD_MEDIA_MP4)) {
        return rd_why_set(work->why, RD_ERR_INVALID_REQUEST, "the task %s cannot produce %s",
                          rd_task_name(generation->task), rd_media_type(generation->media));
    }
    if (rd_task_needs_image(generation->task)) {
        RD_TRY(load(work, &generation->image, &work->source));
    }
    if (rd_task_needs_mask(generation->task)) {
        RD_TRY(load_mask(work));
    }
    if (video) {
        return make_video(work);
    }
    for (unsigned index = 0; index < generation->count; index++) {
        RD_TRY(make_picture(work, index));
    }
    return RD_OK;
}

rd_err rd_builtin_run(const struct rd_engine_job *job, const struct rd_pulse *pulse,
                      struct rd_why *why)
{
    struct work work = {
        .job = job,
        .generation = job->generation,
        .pulse = *pulse,
        .why = why,
    };
    rd_err err = rd_pulse_check(pulse);
    err = err == RD_OK ? run_tasks(&work) : err;
    work_done(&work);
    return err;
}
