/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers, without a server: what comes out of them, in pieces of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/openai/answer.h"

struct heard {
    char text[256];
    size_t len, bytes;
    rd_err refuse;
};

static void hear(struct heard *heard, const char *what, unsigned value)
{
    heard->len += (size_t)snprintf(heard->text + heard->len, sizeof heard->text - heard->len,
                                   "%s%u;", what, value);
}

static void on_progress(void *ctx, double fraction, unsigned step)
{
    (void)step;
    hear(ctx, "progress ", (unsigned)(fraction * 1000));
}

static void on_preview(void *ctx, enum rd_media media, const void *bytes, size_t len)
{
    (void)bytes;
    (void)media;
    hear(ctx, "preview ", (unsigned)len);
}

static rd_err on_begin(void *ctx, unsigned index, enum rd_media media, uint64_t size_hint)
{
    (void)media;
    (void)size_hint;
    hear(ctx, "begin ", index);
    return RD_OK;
}

static rd_err on_data(void *ctx, unsigned index, const void *bytes, size_t len)
{
    (void)index;
    (void)bytes;
    ((struct heard *)ctx)->bytes += len;
    return ((struct heard *)ctx)->refuse;
}

static rd_err on_end(void *ctx, unsigned index)
{
    hear(ctx, "end ", index);
    return RD_OK;
}

static const struct rd_generation generation = {.media = RD_MEDIA_PNG, .count = 2, .steps = 20};

struct fixture {
    struct rd_engine_job job;
    struct heard heard;
    struct rd_openai_answer answer;
    struct rd_why why;
};

static void start(struct fixture *f, bool events)
{
    f->heard = (struct heard){.len = 0};
    f->why.text[0] = '\0';
    f->job = (struct rd_engine_job){
        .generation = &generation,
        .sink = {&f->heard, on_progress, on_preview, on_begin, on_data, on_end, NULL}};
    rd_openai_answer_begin(&f->answer, &f->job, 1, events);
}

static rd_err feed(struct fixture *f, const char *text, size_t step)
{
    size_t len = strlen(text);
    for (size_t at = 0; at < len; at += step) {
        RD_TRY(rd_openai_answer_feed(&f->answer, text + at, len - at < step ? len - at : step,
                                     &f->why));
    }
    RD_TRY(rd_openai_answer_end(&f->answer, &f->why));
    return f->answer.complete ? rd_openai_picture_end(&f->answer.picture, &f->why) : RD_OK;
}

static struct fixture *fixture(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    rd_openai_answer_init(&f->answer);
    return f;
}

static void drop(struct fixture *f)
{
    rd_openai_answer_done(&f->answer);
    free(f);
}

#define PNG "iVBORw0KGgoAAAANSUhEUgAA" /* 18 bytes */
#define PARTIAL                                                                                    \
    "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\","   \
    "\"b64_json\":\"" PNG "\"}\n\n"

static void test_said(void **state)
{
    (void)state;
    struct fixture *f = fixture();
    for (size_t step = 1; step < 200; step += 37) {
        start(f, false);
        assert_int_equal(
            feed(f, "{\"data\":[{\"b64_json\":\"" PNG "\"}],\"inference_time_s\":2.5}", step),
            RD_OK);
        assert_string_equal(f->heard.text, "begin 1;end 1;");
        assert_int_equal(f->heard.bytes, 18);
        assert_true(f->answer.told);
        assert_int_equal(f->answer.told_ns, 2500000000u);
        start(f, false);
        assert_int_equal(
            feed(f,
                 "{\"id\":\"v1\",\"status\":\"queued\",\"progress\":250,\"error\":null,"
                 "\"inference_time_s\":-1}",
                 step),
            RD_OK);
        assert_string_equal(f->answer.id, "v1");
        assert_string_equal(f->answer.status, "queued");
        assert_true(f->answer.progress == 1);
        assert_false(f->answer.told || f->answer.complete);
        start(f, true);
        assert_int_equal(feed(f,
                              PARTIAL PARTIAL PARTIAL PARTIAL
                              "data: {\"type\":\"image_generation.completed\",\"b64_json\":\"" PNG
                              "\"}\n\ndata: [DONE]\n\n",
                              step),
                         RD_OK);
        assert_string_equal(f->heard.text,
                            "progress 625;preview 18;progress 750;preview 18;progress 875;"
                            "preview 18;progress 875;preview 18;begin 1;end 1;");
    }
    drop(f);
}

/* What an answer said is not in the next one. */
static void test_nothing_is_left_behind(void **state)
{
    (void)state;
    struct fixture *f = fixture();
    start(f, false);
    assert_int_equal(
        feed(f,
             "{\"data\":[{\"url\":\"/u\",\"id\":\"m\",\"owned_by\":\"o\"}],\"id\":\"i\","
             "\"status\":\"s\",\"error\":{\"message\":\"e\",\"code\":\"c\",\"type\":\"t\"},"
             "\"type\":\"y\",\"progress\":1,\"inference_time_s\":1,\"loaded_models\":[]}",
             7),
        RD_OK);
    const struct rd_openai_answer *a = &f->answer;
    assert_true(a->url[0] == '/' && a->model[0] == 'm' && a->owner[0] == 'o' && a->loaded);
    start(f, false);
    assert_int_equal(feed(f, "{}", 1), RD_OK);
    assert_true(a->url[0] == '\0' && a->model[0] == '\0' && a->owner[0] == '\0' && !a->loaded);
    assert_true(a->id[0] == '\0' && a->status[0] == '\0' && a->error[0] == '\0');
    assert_true(a->code[0] == '\0' && a->type[0] == '\0' && a->event_type[0] == '\0');
    assert_true(a->progress < 0 && !a->told && !a->complete);
    drop(f);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        bool events;
        const char *text, *why;
    } rows[] = {
        {false, "{\"data\":[{\"b64_json\":\"" PNG "\",\"b64_json\":\"" PNG "\"}]}",
         "a second picture"},
        {false, "{\"data\":[{},{\"b64_json\":\"" PNG "\"}]}", "a second picture"},
        {false, "{\"b64_json\":\"\"}", "0 bytes is too short"},
        {true, "data: {\"b64_json\":\"" PNG "\"}\n\n", "whether it is the last one"},
        {true,
         "data: {\"type\":\"x.completed\",\"b64_json\":\"" PNG "\"}\n\ndata: {\"type\":"
         "\"x.completed\",\"b64_json\":\"" PNG "\"}\n\n",
         "a second picture"},
        {true, "data: {\"error\":{\"message\":\"no\\u0007\"}}\n\n", "the engine failed: no?"},
        {true, "data: {\"error\":\n\n", "ends early"},
        {true, "data: {}{}\n\n", "nothing more"},
    };
    struct fixture *f = fixture();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        start(f, rows[i].events);
        assert_int_equal(feed(f, rows[i].text, 5), RD_ERR_BACKEND_FAILED);
        if (strstr(f->why.text, rows[i].why) == NULL) {
            fail_msg("%s: %s", rows[i].text, f->why.text);
        }
    }
    rd_openai_answer_begin(&f->answer, NULL, 0, false);
    assert_int_equal(feed(f, "{\"b64_json\":\"" PNG "\"}", 5), RD_ERR_BACKEND_FAILED);
    start(f, false);
    f->heard.refuse = RD_ERR_DISK_FULL;
    assert_int_equal(feed(f, "{\"b64_json\":\"" PNG "\"}", 5), RD_ERR_DISK_FULL);
    drop(f);
}

/* A preview that is too large is not shown, and costs nothing else. */
static void test_large_previews(void **state)
{
    (void)state;
    static const char before[] = "data: {\"type\":\"partial_image\",\"b64_json\":\"";
    struct fixture *f = fixture();
    uint8_t *bytes = calloc(1, RD_ENGINE_HELD_MAX + 3);
    char *text = malloc(RD_TEXT_BASE64_LEN(RD_ENGINE_HELD_MAX + 3) + 128);
    assert_true(bytes != NULL && text != NULL);
    memcpy(bytes, "\x89PNG\r\n\x1a\n", 8);
    for (size_t more = 0; more < 2; more++) {
        size_t len = RD_ENGINE_HELD_MAX + more;
        memcpy(text, before, sizeof before);
        rd_text_base64(bytes, len, text + sizeof before - 1);
        memcpy(text + sizeof before - 1 + RD_TEXT_BASE64_LEN(len), "\"}\n\n", 5);
        start(f, true);
        assert_int_equal(feed(f, text, 1000), RD_OK);
        assert_string_equal(f->heard.text,
                            more == 0 ? "progress 625;preview 262144;" : "progress 625;");
    }
    free(bytes);
    free(text);
    drop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_said),
        cmocka_unit_test(test_nothing_is_left_behind),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_large_previews),
    };
    return cmocka_run_group_tests_name("engine/openai_answer", tests, NULL, NULL);
}
