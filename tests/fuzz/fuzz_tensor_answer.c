/* SPDX-License-Identifier: Apache-2.0
 *
 * What a server of the Open Inference Protocol may answer. The input is a script: a mapping and a
 * type, then steps, each a message's head (tensors with the mapping's names, or another; datatypes;
 * shapes) or bytes of one of its tensors. Beside crashes it looks for broken promises: the sink is
 * called in order, gets what it was promised, and an answer that is taken ended exactly once. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tensor/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
    unsigned begins, ends;
    uint64_t hint, got;
};

static void demand(int holds)
{
    if (!holds) {
        abort();
    }
}

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    struct told *told = ctx;
    demand(index == 1 && media < RD_MEDIA_COUNT_ && told->begins == 0 && size_hint > 0);
    told->begins++;
    told->hint = size_hint;
    return RD_OK;
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    struct told *told = ctx;
    demand(index == 1 && bytes != NULL && told->begins == 1 && told->ends == 0);
    told->got += len;
    demand(told->got <= told->hint);
    return RD_OK;
}

static rd_err on_end(void *ctx, unsigned index)
{
    struct told *told = ctx;
    demand(index == 1 && told->begins == 1 && told->got == told->hint);
    told->ends++;
    return RD_OK;
}

static void on_progress(void *ctx, double fraction, unsigned step)
{
    struct told *told = ctx;
    demand(fraction >= 0 && fraction <= 1 && step <= 10 && told->ends == 0);
}

static void on_preview(void *ctx, enum rd_media media, const void *bytes, size_t len)
{
    struct told *told = ctx;
    demand(media < RD_MEDIA_MP4 && bytes != NULL && len > 0 && told->ends == 0);
}

/* The script. Behind its end everything is 0. */
struct script {
    const uint8_t *at;
    size_t left;
};

static unsigned next(struct script *script)
{
    if (script->left == 0) {
        return 0;
    }
    script->left--;
    return *script->at++;
}

enum { TENSORS = 6 };

static rd_err head(struct script *script, struct rd_answer *answer, struct rd_why *why)
{
    struct rd_tensor_info infos[TENSORS];
    int64_t shapes[TENSORS][8];
    size_t count = next(script) % (TENSORS + 1);
    for (size_t i = 0; i < count; i++) {
        unsigned name = next(script) % (unsigned)(answer->mapping->outputs_count + 1);
        unsigned datatype = next(script) % (RD_DATATYPE_COUNT_ + 1);
        size_t rank = next(script) % 9;
        for (size_t k = 0; k < rank && k < 8; k++) {
            shapes[i][k] = (int8_t)next(script);
            shapes[i][k] *= shapes[i][k] == -128 ? INT64_MAX / 128 : 1;
        }
        infos[i] = (struct rd_tensor_info){
            name < answer->mapping->outputs_count ? answer->mapping->outputs[name].name : "other",
            datatype < RD_DATATYPE_COUNT_ ? rd_datatype_name(datatype) : "STRING", shapes[i],
            rank < 8 ? rank : 8, false};
    }
    return rd_answer_head(answer, infos, count, why);
}

static rd_err bytes(struct script *script, struct rd_answer *answer, struct rd_why *why)
{
    size_t index = next(script) % (TENSORS + 1);
    size_t len = next(script);
    len += next(script) << 8;
    len = len < script->left ? len : script->left;
    const uint8_t *from = script->at;
    script->at += len;
    script->left -= len;
    return rd_answer_data(answer, index, from, len, why);
}

/* Beside the ready ones: a raw picture, with a raw preview. */
static const struct rd_mapping *mapping_at(unsigned index)
{
    static const struct rd_mapping_tensor outputs[] = {
        {.name = "image",
         .gives = RD_OUTPUT_IMAGE,
         .datatype = RD_DATATYPE_FP16,
         .rank = 4,
         .shape = {1, 3, -1, -1}},
        {.name = "preview",
         .gives = RD_OUTPUT_PREVIEW,
         .datatype = RD_DATATYPE_UINT8,
         .range = RD_RANGE_0_255,
         .rank = 3,
         .shape = {-1, -1, 3}},
        {.name = "progress", .gives = RD_OUTPUT_PROGRESS, .datatype = RD_DATATYPE_BF16},
    };
    static struct rd_mapping raw;
    const struct rd_mapping *ready = rd_mapping_ready_at(index % 8);
    if (ready != NULL) {
        return ready;
    }
    raw = *rd_mapping_ready_at(0);
    raw.decoupled = index >= 128;
    raw.outputs = outputs;
    raw.outputs_count = 3;
    return &raw;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rd_format format = {"small", RD_MODALITY_IMAGE, 8, 4};
    struct script script = {data, size};
    struct told told = {0};
    struct rd_engine_sink sink = {&told, on_progress, on_preview, on_begin, on_data, on_end, NULL};
    struct rd_answer answer;
    struct rd_why why = {""};
    const struct rd_mapping *mapping = mapping_at(next(&script));
    struct rd_generation generation = {.format = &format, .steps = 10, .count = 2};
    generation.media = rd_mapping_has(mapping, RD_OUTPUT_VIDEO)
                           ? RD_MEDIA_MP4
                           : (enum rd_media)(next(&script) % RD_MEDIA_MP4);
    rd_answer_init(&answer, mapping, &generation, 1, &sink);
    rd_err err = RD_OK;
    while (err == RD_OK && script.left > 0) {
        err = next(&script) % 2 == 0 ? head(&script, &answer, &why) : bytes(&script, &answer, &why);
    }
    demand(told.ends == 0);
    err = err == RD_OK ? rd_answer_finish(&answer, &why) : err;
    demand((err == RD_OK) == (told.ends == 1));
    demand(err == RD_OK || (answer.malformed && why.text[0] != '\0'));
    rd_answer_done(&answer);
    return 0;
}
