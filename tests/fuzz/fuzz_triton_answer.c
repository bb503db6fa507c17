/* SPDX-License-Identifier: Apache-2.0
 *
 * What a server may answer to an inference request over HTTP. The input: a byte that chooses the
 * mapping and whether there is a length of the JSON, two for that length, one for the portions in
 * which the body comes; then the body. Beside crashes it looks for broken promises: the outcome is
 * the same when the body comes at once, and an answer that is taken ended exactly one output. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/triton/http_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds) {
        abort();
    }
}

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    (void)ctx;
    demand(index == 0 && media < RD_MEDIA_COUNT_ && size_hint > 0);
    return RD_OK;
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    (void)ctx;
    (void)len;
    demand(index == 0 && bytes != NULL);
    return RD_OK;
}

static rd_err on_end(void *ctx, unsigned index)
{
    unsigned *ended = ctx;
    demand(index == 0);
    (*ended)++;
    return RD_OK;
}

static const struct rd_mapping_tensor raw_outputs[] = {
    {.name = "R",
     .gives = RD_OUTPUT_IMAGE,
     .datatype = RD_DATATYPE_UINT8,
     .rank = 3,
     .shape = {-1, -1, 3}},
    {.name = "S", .gives = RD_OUTPUT_DEVICE_SECONDS, .datatype = RD_DATATYPE_FP16},
    {.name = "D", .gives = RD_OUTPUT_DEVICE, .datatype = RD_DATATYPE_BYTES},
};
static const struct rd_mapping_tensor file_outputs[] = {
    {.name = "F", .gives = RD_OUTPUT_IMAGE, .datatype = RD_DATATYPE_BYTES},
    {.name = "P", .gives = RD_OUTPUT_PREVIEW, .datatype = RD_DATATYPE_BYTES},
};
static const struct rd_mapping mappings[] = {
    {.name = "raw", .outputs = raw_outputs, .outputs_count = 3},
    {.name = "file", .outputs = file_outputs, .outputs_count = 2},
};

static rd_err scan_all(const uint8_t *data, size_t size, size_t step)
{
    static const struct rd_format format = {"small", RD_MODALITY_IMAGE, 4, 4};
    static const struct rd_generation generation = {
        .format = &format, .media = RD_MEDIA_PNG, .steps = 10, .count = 1};
    static struct rd_triton_scan scan; /* kept from one to the next, as a run keeps it */
    static struct rd_answer answer;
    struct rd_why why = {""};
    unsigned ended = 0;
    const struct rd_engine_sink sink = {
        .ctx = &ended, .begin = on_begin, .data = on_data, .end = on_end};
    rd_answer_init(&answer, &mappings[data[0] & 1], &generation, 0, &sink);
    rd_triton_scan_begin(&scan, &answer, (data[0] & 2) != 0, data[1] | (uint64_t)data[2] << 8);
    rd_err err = RD_OK;
    for (size_t at = 4; err == RD_OK && at < size; at += step) {
        err = rd_triton_scan_feed(&scan, (const char *)data + at,
                                  size - at < step ? size - at : step, &why);
    }
    if (err == RD_OK) {
        err = rd_triton_scan_end(&scan, &why);
    }
    demand(ended == 0);
    if (err == RD_OK) {
        err = rd_answer_finish(&answer, &why);
    }
    demand((err == RD_OK) == (ended == 1));
    demand(err == RD_OK || (answer.malformed && why.text[0] != '\0'));
    rd_answer_done(&answer);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 4) {
        demand(scan_all(data, size, size) == scan_all(data, size, 1 + data[3]));
    }
    return 0;
}
