/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of an OpenAI-compatible server on any bytes: the first says whether they are events and
 * in pieces of which size they come. Beside crashes it looks for broken promises: the sink is
 * called in order, what came in pieces says the same as what came whole, and an error has words. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/openai/answer.h"
#include "engine/openai/link.h"

struct heard {
    uint64_t sum; /* of all that reached the sink, in its order */
    bool begun, ended;
};

static void note(struct heard *heard, uint64_t value)
{
    heard->sum = (heard->sum ^ value) * 1099511628211u;
}

static void on_progress(void *ctx, double fraction, unsigned step)
{
    assert(fraction >= 0 && fraction <= 1 && step <= 20);
    note(ctx, 1);
}

static void on_preview(void *ctx, enum rd_media media, const void *bytes, size_t len)
{
    assert(media < RD_MEDIA_COUNT_ && len > 0 && len <= RD_ENGINE_HELD_MAX);
    note(ctx, ((const uint8_t *)bytes)[len - 1]);
}

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    struct heard *heard = ctx;
    assert(index == 0 && media == RD_MEDIA_PNG && !heard->begun);
    (void)size_hint;
    heard->begun = true;
    return RD_OK;
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    struct heard *heard = ctx;
    assert(index == 0 && heard->begun && !heard->ended);
    for (size_t i = 0; i < len; i++) {
        note(heard, ((const uint8_t *)bytes)[i]);
    }
    return RD_OK;
}

static rd_err on_end(void *ctx, unsigned index)
{
    struct heard *heard = ctx;
    assert(index == 0 && heard->begun && !heard->ended);
    heard->ended = true;
    return RD_OK;
}

static rd_err read_all(struct rd_openai_answer *answer, const char *data, size_t size, size_t step,
                       struct rd_why *why)
{
    for (size_t at = 0; at < size; at += step) {
        RD_TRY(rd_openai_answer_feed(answer, data + at, size - at < step ? size - at : step, why));
    }
    RD_TRY(rd_openai_answer_end(answer, why));
    return answer->complete ? rd_openai_picture_end(&answer->picture, why) : RD_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rd_format small = {"2", RD_MODALITY_IMAGE, 2, 2};
    static const struct rd_generation generation = {
        .format = &small, .media = RD_MEDIA_PNG, .count = 1, .steps = 20};
    if (size == 0) {
        return 0;
    }
    struct heard heard[2] = {{0}, {0}};
    rd_err errs[2];
    const size_t steps[2] = {size, (data[0] >> 1) + 1u};
    char url[RD_OPENAI_TEXT_MAX + 1] = "";
    for (int i = 0; i < 2; i++) {
        struct rd_openai_answer *answer = rd_mem_alloc(sizeof *answer);
        assert(answer != NULL);
        const struct rd_engine_job job = {
            .generation = &generation,
            .sink = {&heard[i], on_progress, on_preview, on_begin, on_data, on_end, NULL}};
        struct rd_why why = {""};
        rd_openai_answer_init(answer);
        rd_openai_answer_begin(answer, &job, 0, (data[0] & 1) != 0);
        errs[i] = read_all(answer, (const char *)data + 1, size - 1, steps[i], &why);
        assert(errs[i] == RD_OK || errs[i] == RD_ERR_NO_MEMORY || why.text[0] != '\0');
        assert(heard[i].ended == (answer->complete && errs[i] == RD_OK) || !heard[i].begun);
        (void)snprintf(url, sizeof url, "%s", answer->url);
        rd_openai_answer_done(answer);
        rd_mem_free(answer);
    }
    assert(errs[0] == errs[1] && heard[0].sum == heard[1].sum);
    char path[64];
    struct rd_why why;
    if (rd_openai_link("http://a:8000/b", url, path, sizeof path, &why) == RD_OK) {
        assert(path[0] == '/' && strpbrk(path, " \r\n") == NULL);
    }
    return 0;
}
