/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of answers: an answer is a list of messages, a message a list of tensors with their raw
 * bytes. It is fed in pieces of a length, and what reached the sink is kept. */
#ifndef TESTS_UNIT_ENGINE_TENSOR_DIALOGUE_H
#define TESTS_UNIT_ENGINE_TENSOR_DIALOGUE_H

#include "base/mem.h"
#include "engine/tensor/answer.h"

static const struct rd_format small = {"small", RD_MODALITY_IMAGE, 8, 4};
static const int64_t one[] = {1};
static const int64_t none[] = {0};
static const int64_t one_one[] = {1, 1};
static const int64_t dims_two[] = {2};
static const int64_t dims_open[] = {-1};
static const int64_t dims_vast[] = {4294967295, 4294967295};

/* ---- the sink ---- */

struct told {
    struct rd_buf data, preview;
    unsigned begins, ends, previews, progresses, step;
    enum rd_media media, preview_media;
    uint64_t size_hint;
    double fraction;
    rd_err fail_begin, fail_data, fail_end; /* what the sink answers */
};

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    struct told *told = ctx;
    assert_int_equal(index, 2);
    told->begins++;
    told->media = media;
    told->size_hint = size_hint;
    return told->fail_begin;
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    struct told *told = ctx;
    assert_int_equal(index, 2);
    assert_int_equal(told->begins, 1);
    assert_true(len > 0);
    rd_buf_append(&told->data, bytes, len);
    return told->fail_data;
}

static rd_err on_end(void *ctx, unsigned index)
{
    struct told *told = ctx;
    assert_int_equal(index, 2);
    told->ends++;
    return told->fail_end;
}

static void on_progress(void *ctx, double fraction, unsigned step)
{
    struct told *told = ctx;
    told->progresses++;
    told->fraction = fraction;
    told->step = step;
}

static void on_preview(void *ctx, enum rd_media media, const void *bytes, size_t len)
{
    struct told *told = ctx;
    told->previews++;
    told->preview_media = media;
    rd_buf_reset(&told->preview);
    rd_buf_append(&told->preview, bytes, len);
}

static void told_done(struct told *told)
{
    rd_buf_done(&told->data);
    rd_buf_done(&told->preview);
}

/* ---- answers ---- */

struct tensor {
    struct rd_tensor_info info;
    const void *bytes;
    size_t len;
};
struct message {
    struct tensor tensors[5];
    size_t count;
};
struct dialogue {
    const struct rd_mapping *mapping;
    struct rd_generation generation;
    const struct message *messages;
    size_t count;
    struct told *told; /* failing calls are set; the rest is filled */
    struct rd_answer *answer;
    bool deaf; /* the sink takes no progress and no previews */
};

static rd_err feed(struct rd_answer *answer, const struct message *message, size_t piece,
                   struct rd_why *why)
{
    struct rd_tensor_info infos[5];
    for (size_t i = 0; i < message->count; i++) {
        infos[i] = message->tensors[i].info;
    }
    RD_TRY(rd_answer_head(answer, infos, message->count, why));
    memset(infos, 0x55, sizeof infos); /* not needed any more */
    for (size_t i = 0; i < message->count; i++) {
        const struct tensor *t = &message->tensors[i];
        for (size_t at = 0; at < t->len; at += piece) {
            size_t step = t->len - at < piece ? t->len - at : piece;
            RD_AUTO_FREE char *copy = rd_mem_memdupz((const char *)t->bytes + at, step);
            RD_TRY(rd_answer_data(answer, i, copy, step, why));
        }
    }
    return RD_OK;
}

static rd_err run(struct dialogue *d, size_t piece, struct rd_why *why)
{
    struct rd_engine_sink sink = {.ctx = d->told,
                                  .begin = on_begin,
                                  .data = on_data,
                                  .end = on_end,
                                  .progress = d->deaf ? NULL : on_progress,
                                  .preview = d->deaf ? NULL : on_preview};
    rd_err err = RD_OK;
    rd_buf_init(&d->told->data, 10 << 20);
    rd_buf_init(&d->told->preview, 10 << 20);
    rd_answer_init(d->answer, d->mapping, &d->generation, 2, &sink);
    for (size_t i = 0; err == RD_OK && i < d->count; i++) {
        err = feed(d->answer, &d->messages[i], piece, why);
    }
    err = err == RD_OK ? rd_answer_finish(d->answer, why) : err;
    rd_answer_done(d->answer);
    return err;
}

static const struct rd_generation png_asked = {
    .format = &small, .media = RD_MEDIA_PNG, .steps = 10, .count = 3};

/* Refused with these words, however the bytes are cut; the sink saw no end. */
static inline void refused(const struct rd_mapping *mapping, const struct message *messages,
                           size_t count, const char *text)
{
    static const size_t pieces[] = {1, 2, 3, 5, 1000000};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct told told = {0};
        struct rd_answer answer;
        struct rd_why why = {""};
        struct dialogue d = {mapping, png_asked, messages, count, &told, &answer, false};
        assert_int_equal(run(&d, pieces[i], &why), RD_ERR_BACKEND_FAILED);
        assert_string_equal(why.text, text);
        assert_true(answer.malformed);
        assert_int_equal(told.ends, 0);
        told_done(&told);
    }
}

#define FILE_TENSOR(name, bytes)                                                                   \
    {                                                                                              \
        {(name), "BYTES", one, 1, false}, (bytes), sizeof(bytes) - 1                               \
    }
#define PNG "\x89PNG\r\n\x1a\n\0\0\0\rIHDR and whatever else" /* 0x22 bytes */

/* A picture of 8 x 4 pixels: the red grows with x, the green with y. */
static void a_picture(struct rd_image *ret)
{
    assert_int_equal(rd_image_new(8, 4, 3, ret), RD_OK);
    for (size_t i = 0; i < 32; i++) {
        ret->pixels[i * 3] = (uint8_t)(i % 8 * 32);
        ret->pixels[i * 3 + 1] = (uint8_t)(i / 8 * 64);
        ret->pixels[i * 3 + 2] = 100;
    }
}

/* The wire form of the picture as a file. */
static void a_file(enum rd_media media, struct rd_buf *out)
{
    struct rd_image image;
    RD_AUTO_BUF struct rd_buf file;
    a_picture(&image);
    rd_buf_init(&file, 100000);
    rd_buf_init(out, 100000);
    assert_int_equal(rd_image_encode(&image, media, 100, &file), RD_OK);
    for (unsigned i = 0; i < 4; i++) {
        rd_buf_char(out, (char)(file.len >> (8 * i)));
    }
    rd_buf_append(out, file.data, file.len);
    rd_image_done(&image);
}

static const struct rd_mapping_tensor raw_outputs[] = {
    {.name = "IMAGES",
     .gives = RD_OUTPUT_IMAGE,
     .datatype = RD_DATATYPE_FP32,
     .range = RD_RANGE_0_1,
     .rank = 4,
     .shape = {1, 3, -1, -1}},
    {.name = "PREVIEW",
     .gives = RD_OUTPUT_PREVIEW,
     .datatype = RD_DATATYPE_UINT8,
     .range = RD_RANGE_0_255,
     .rank = 3,
     .shape = {-1, -1, 3}},
};
static struct rd_mapping raw_mapping(void)
{
    struct rd_mapping mapping = *rd_mapping_ready("prompt-to-picture");
    mapping.outputs = raw_outputs;
    mapping.outputs_count = 2;
    return mapping;
}

#endif
