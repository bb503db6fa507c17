/* SPDX-License-Identifier: Apache-2.0
 *
 * The suite. See conformance.h. A run is given wait_ms() to end before it counts as hanging;
 * nothing here sleeps. The order of calls, their threads and their arguments are checked by the
 * recorder.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "conformance.h"
#include "recorder.h"

enum { WAIT_MS = 20000, NOTICE_MS = 2000, SLOTS_MAX = 64, RACERS = 4, NS_PER_MS = 1000000 };

static unsigned wait_ms(const struct rd_conformance *given)
{
    return given->wait_ms != 0 ? given->wait_ms : WAIT_MS;
}

static struct rd_engine *open_engine(const struct rd_conformance *given)
{
    struct rd_engine *engine = NULL;
    struct rd_why why = {""};
    if (given->ops->open(&given->config, &engine, &why) != RD_OK) {
        fail_msg("open: %s", why.text);
    }
    assert_non_null(engine);
    return engine;
}

/* Waits, then checks what every run must fulfil. */
static void settle(struct recorder *recorder, unsigned ms)
{
    if (!recorder_wait(recorder, ms)) {
        fail_msg("no done() after %u ms", ms);
    }
    if (recorder->violation[0] != '\0') {
        fail_msg("%s", recorder->violation);
    }
    assert_int_equal(recorder->done, 1);
}

/* A done() twice, or a sink call after it, may come late; close() waits for all there is. */
static void close_engine(const struct rd_conformance *given, struct rd_engine *engine,
                         struct recorder *recorders, size_t count)
{
    given->ops->close(engine);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(recorders[i].violation, "");
        assert_int_equal(recorders[i].done, 1);
        recorder_done(&recorders[i]);
    }
}

static bool magic_right(enum rd_media media, const uint8_t first[12])
{
    switch (media) {
    case RD_MEDIA_PNG:
        return memcmp(first, "\x89PNG\r\n\x1a\n", 8) == 0;
    case RD_MEDIA_JPEG:
        return memcmp(first, "\xff\xd8\xff", 3) == 0;
    case RD_MEDIA_WEBP:
        return memcmp(first, "RIFF", 4) == 0 && memcmp(first + 8, "WEBP", 4) == 0;
    case RD_MEDIA_MP4:
        return memcmp(first + 4, "ftyp", 4) == 0;
    case RD_MEDIA_COUNT_:
    default:
        return false;
    }
}

static void check_err(const struct recorder *recorder, rd_err err)
{
    if (recorder->err != err) {
        fail_msg("done(%s), not %s: %s", rd_err_info(recorder->err)->code, rd_err_info(err)->code,
                 recorder->why.text);
    }
}

static void check_success(const struct recorder *recorder)
{
    check_err(recorder, RD_OK);
    for (unsigned i = 0; i < recorder->count; i++) {
        if (!magic_right(recorder->media, recorder->first[i])) {
            fail_msg("output %u is no %s", i, rd_media_type(recorder->media));
        }
    }
}

static void check_same(const struct recorder *recorder, const struct recorder *other)
{
    if (recorder->checksum[0] != other->checksum[0]) {
        fail_msg("the same request, another picture");
    }
}

void rd_conformance_one(void **state)
{
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct recorder recorder;
    recorder_init(&recorder);
    assert_int_equal(recorder_start(&recorder, given->ops, engine, given->quick, 1), RD_OK);
    settle(&recorder, wait_ms(given));
    check_success(&recorder);
    close_engine(given, engine, &recorder, 1);
}

void rd_conformance_counts(void **state)
{
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct recorder recorders[RD_LIMIT_COUNT];
    for (unsigned count = 1; count <= RD_LIMIT_COUNT; count++) {
        struct recorder *recorder = &recorders[count - 1];
        recorder_init(recorder);
        assert_int_equal(recorder_start(recorder, given->ops, engine, given->quick, count), RD_OK);
        settle(recorder, wait_ms(given));
        check_success(recorder);
        for (unsigned i = 1; i < count; i++) {
            if (recorder->checksum[i] == recorder->checksum[i - 1]) {
                fail_msg("another seed, the same picture");
            }
        }
        check_same(recorder, &recorders[0]);
    }
    close_engine(given, engine, recorders, RD_LIMIT_COUNT);
}

void rd_conformance_same(void **state)
{
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct recorder recorders[20];
    for (size_t i = 0; i < 20; i++) {
        recorder_init(&recorders[i]);
        recorders[i].bare = true;
        assert_int_equal(recorder_start(&recorders[i], given->ops, engine, given->quick, 1), RD_OK);
        settle(&recorders[i], wait_ms(given));
        check_success(&recorders[i]);
        check_same(&recorders[i], &recorders[0]);
    }
    close_engine(given, engine, recorders, 20);
}

void rd_conformance_all_slots(void **state)
{
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct recorder recorders[SLOTS_MAX];
    unsigned slots = given->config.slots < SLOTS_MAX ? given->config.slots : SLOTS_MAX;
    assert_true(slots >= 4);
    for (unsigned i = 0; i < slots; i++) {
        recorder_init(&recorders[i]);
        assert_int_equal(recorder_start(&recorders[i], given->ops, engine, given->quick, 2), RD_OK);
    }
    for (unsigned i = 0; i < slots; i++) {
        settle(&recorders[i], wait_ms(given));
        check_success(&recorders[i]);
    }
    close_engine(given, engine, recorders, slots);
}

void rd_conformance_sink_errors(void **state)
{
    static const struct {
        enum recorder_stage stage;
        rd_err err;
    } cases[] = {
        {RECORDER_BEGIN, RD_ERR_DISK_FULL}, {RECORDER_DATA, RD_ERR_DISK_FULL},
        {RECORDER_END, RD_ERR_STORAGE},     {RECORDER_DATA, RD_ERR_CANCELLED},
        {RECORDER_BEGIN, RD_ERR_NO_MEMORY},
    };
    enum { COUNT = sizeof cases / sizeof cases[0] };
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct recorder recorders[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        recorder_init(&recorders[i]);
        recorders[i].fail_at = cases[i].stage;
        recorders[i].fail_with = cases[i].err;
        assert_int_equal(recorder_start(&recorders[i], given->ops, engine, given->quick, 3), RD_OK);
        settle(&recorders[i], wait_ms(given));
        check_err(&recorders[i], cases[i].err);
        assert_int_equal(recorders[i].begun, 1);
    }
    close_engine(given, engine, recorders, COUNT);
}

void rd_conformance_cancel_inside(void **state)
{
    static const enum recorder_stage stages[] = {RECORDER_BEGIN, RECORDER_DATA, RECORDER_END,
                                                 RECORDER_PROGRESS, RECORDER_DONE};
    enum { COUNT = sizeof stages / sizeof stages[0] };
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct recorder recorders[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        recorder_init(&recorders[i]);
        recorders[i].cancel_at = stages[i];
        assert_int_equal(recorder_start(&recorders[i], given->ops, engine, given->quick, 4), RD_OK);
        settle(&recorders[i], wait_ms(given));
        bool too_late = stages[i] == RECORDER_DONE ||
                        (stages[i] == RECORDER_PROGRESS && recorders[i].progressed == 0);
        check_err(&recorders[i], too_late ? RD_OK : RD_ERR_CANCELLED);
        assert_true(too_late || recorders[i].ended < 4);
    }
    close_engine(given, engine, recorders, COUNT);
}

void rd_conformance_cancel_slow(void **state)
{
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct recorder recorders[4];
    for (size_t i = 0; i < 4; i++) {
        recorder_init(&recorders[i]);
        assert_int_equal(recorder_start(&recorders[i], given->ops, engine, given->slow, 1), RD_OK);
        if (i == 0) {
            recorder_cancel(&recorders[i]); /* at once */
        } else {
            assert_false(recorder_wait(&recorders[i], (unsigned)i * 10)); /* it is slow, is it? */
            recorder_cancel(&recorders[i]);
            recorder_cancel(&recorders[i]);
        }
        settle(&recorders[i], given->stop_ms);
        check_err(&recorders[i], RD_ERR_CANCELLED);
    }
    close_engine(given, engine, recorders, 4);
}

void rd_conformance_deadline(void **state)
{
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct recorder recorders[3];
    for (size_t i = 0; i < 3; i++) {
        recorder_init(&recorders[i]);
    }
    uint64_t now = rd_clock_mono_ns();
    recorders[0].deadline_mono_ns = now + (uint64_t)60 * NS_PER_MS;
    recorders[1].deadline_mono_ns = now - 1;
    recorders[2].deadline_mono_ns = now + (uint64_t)wait_ms(given) * NS_PER_MS;
    assert_int_equal(recorder_start(&recorders[0], given->ops, engine, given->slow, 1), RD_OK);
    assert_int_equal(recorder_start(&recorders[1], given->ops, engine, given->slow, 1), RD_OK);
    assert_int_equal(recorder_start(&recorders[2], given->ops, engine, given->quick, 1), RD_OK);
    settle(&recorders[0], 60 + given->stop_ms);
    assert_true(rd_clock_mono_ns() >= recorders[0].deadline_mono_ns);
    settle(&recorders[1], given->stop_ms);
    settle(&recorders[2], wait_ms(given));
    check_err(&recorders[0], RD_ERR_BACKEND_TIMEOUT);
    check_err(&recorders[1], RD_ERR_BACKEND_TIMEOUT);
    assert_int_equal(recorders[1].ended, 0);
    check_success(&recorders[2]);
    close_engine(given, engine, recorders, 3);
}

void rd_conformance_close(void **state)
{
    const struct rd_conformance *given = *state;
    given->ops->close(open_engine(given));

    struct rd_engine *engine = open_engine(given);
    struct recorder recorders[4];
    for (size_t i = 0; i < 4; i++) {
        recorder_init(&recorders[i]);
        assert_int_equal(recorder_start(&recorders[i], given->ops, engine, given->slow, 1), RD_OK);
    }
    uint64_t from = rd_clock_mono_ns();
    close_engine(given, engine, recorders, 4);
    assert_true(rd_clock_mono_ns() - from < (uint64_t)given->stop_ms * NS_PER_MS);
    for (size_t i = 0; i < 4; i++) {
        check_err(&recorders[i], RD_ERR_CANCELLED);
    }
}

struct racer {
    const struct rd_conformance *given;
    struct rd_engine *engine;
    unsigned index;
    char violation[256];
};

/* Starts runs and cancels each at another moment of its life, by a few hundred turns of the
 * scheduler more or less; some are left alone. */
static void *race(void *user)
{
    struct racer *racer = user;
    for (unsigned i = 0; i < racer->given->races && racer->violation[0] == '\0'; i++) {
        struct recorder recorder;
        recorder_init(&recorder);
        unsigned delay = (i * 37 + racer->index * 11) % 200;
        rd_err err = recorder_start(&recorder, racer->given->ops, racer->engine,
                                    racer->given->quick, 1 + i % 2);
        if (err != RD_OK) {
            memcpy(racer->violation, "start failed", 13);
            return NULL;
        }
        for (unsigned turn = 0; turn < delay; turn++) {
            (void)sched_yield();
        }
        if (i % 5 != 0) {
            recorder_cancel(&recorder);
        }
        if (!recorder_wait(&recorder, wait_ms(racer->given))) {
            memcpy(racer->violation, "no done()", 10);
            return NULL; /* leaks the recorder, which the engine may still use */
        }
        memcpy(racer->violation, recorder.violation, sizeof racer->violation);
        if (racer->violation[0] == '\0' && recorder.err != RD_OK &&
            recorder.err != RD_ERR_CANCELLED) {
            memcpy(racer->violation, recorder.why.text, sizeof racer->violation - 1);
        }
        recorder_done(&recorder);
    }
    return NULL;
}

void rd_conformance_races(void **state)
{
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct racer racers[RACERS];
    pthread_t threads[RACERS];
    memset(racers, 0, sizeof racers);
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i].given = given;
        racers[i].engine = engine;
        racers[i].index = i;
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_string_equal(racers[i].violation, "");
    }
    given->ops->close(engine);
}

static bool ready_now(const struct rd_conformance *given, struct rd_engine *engine)
{
    struct rd_engine_health health;
    memset(&health, 0xa5, sizeof health); /* all of it is to be written */
    given->ops->health(engine, &health);
    assert_non_null(memchr(health.why, '\0', sizeof health.why));
    if (health.ready != (health.why[0] == '\0')) {
        fail_msg("health: ready %d with the words \"%s\"", health.ready, health.why);
    }
    return health.ready;
}

/* Within `ms`: an engine may have to hear from its server first. */
static bool becomes(const struct rd_conformance *given, struct rd_engine *engine, bool ready,
                    unsigned ms)
{
    uint64_t until = rd_clock_mono_ns() + (uint64_t)ms * NS_PER_MS;
    while (ready_now(given, engine) != ready) {
        if (rd_clock_mono_ns() > until) {
            return false;
        }
        (void)usleep(1000);
    }
    return true;
}

void rd_conformance_ready(void **state)
{
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct recorder recorder;
    if (!becomes(given, engine, true, wait_ms(given))) {
        fail_msg("not ready after %u ms", wait_ms(given));
    }
    recorder_init(&recorder);
    recorder.fail_at = RECORDER_BEGIN;
    recorder.fail_with = RD_ERR_IO;
    assert_int_equal(recorder_start(&recorder, given->ops, engine, given->quick, 1), RD_OK);
    settle(&recorder, wait_ms(given));
    /* A sink that fails says nothing about the engine. */
    assert_true(becomes(given, engine, true, wait_ms(given)));
    close_engine(given, engine, &recorder, 1);
}

void rd_conformance_capabilities(void **state)
{
    const struct rd_conformance *given = *state;
    struct rd_engine *engine = open_engine(given);
    struct rd_engine_capabilities can;
    struct rd_engine_capabilities again;
    struct recorder recorder;
    char model[256];
    (void)snprintf(model, sizeof model, "%s/%s", given->quick->family, given->quick->model);
    memset(&can, 0xa5, sizeof can);
    given->ops->capabilities(engine, model, &can);
    assert_int_equal(can.tasks >> RD_TASK_COUNT_, 0);
    assert_int_equal(can.media >> RD_MEDIA_COUNT_, 0);
    assert_true(can.tasks & (1u << given->quick->task));
    assert_true(can.media & (1u << given->quick->media));

    recorder_init(&recorder);
    assert_int_equal(recorder_start(&recorder, given->ops, engine, given->quick, 1), RD_OK);
    settle(&recorder, wait_ms(given));
    check_success(&recorder);
    if (!can.progress && recorder.progressed > 0) {
        fail_msg("progress, which capabilities() does not tell");
    }
    if (!can.previews && recorder.previews > 0) {
        fail_msg("previews, which capabilities() does not tell");
    }
    memset(&again, 0x5a, sizeof again);
    given->ops->capabilities(engine, model, &again);
    assert_int_equal(again.tasks, can.tasks);
    assert_int_equal(again.media, can.media);
    assert_true(again.progress == can.progress && again.previews == can.previews &&
                again.trusted == can.trusted);
    close_engine(given, engine, &recorder, 1);
}

void rd_conformance_failures(void **state)
{
    const struct rd_conformance *given = *state;
    assert_true(given->failures_count > 0);
    struct rd_engine *engine = open_engine(given);
    for (size_t i = 0; i < given->failures_count; i++) {
        const struct rd_conformance_failure *failure = &given->failures[i];
        struct recorder recorders[2];
        recorder_init(&recorders[0]);
        recorder_init(&recorders[1]);
        assert_int_equal(recorder_start(&recorders[0], given->ops, engine, failure->generation, 2),
                         RD_OK);
        settle(&recorders[0], wait_ms(given));
        const struct recorder *got = &recorders[0];
        if (got->err != failure->err || !got->has_why || got->report.final != failure->final ||
            got->report.faultless != failure->faultless || got->ended >= 2) {
            fail_msg("%s: done(%s)%s%s, \"%s\"", failure->name, rd_err_info(got->err)->code,
                     got->report.final ? ", final" : "", got->report.faultless ? ", faultless" : "",
                     got->why.text);
        }
        assert_int_equal(recorder_start(&recorders[1], given->ops, engine, given->quick, 1), RD_OK);
        settle(&recorders[1], wait_ms(given));
        check_success(&recorders[1]);
        recorder_done(&recorders[0]);
        recorder_done(&recorders[1]);
    }
    given->ops->close(engine);
}

void rd_conformance_server(void **state)
{
    const struct rd_conformance *given = *state;
    assert_non_null(given->server);
    unsigned ms = given->notice_ms != 0 ? given->notice_ms : NOTICE_MS;
    struct rd_engine *engine = open_engine(given);
    struct recorder recorders[2];
    recorder_init(&recorders[0]);
    recorder_init(&recorders[1]);
    assert_true(becomes(given, engine, true, wait_ms(given)));
    given->server(given->server_ctx, false);
    bool noticed = becomes(given, engine, false, ms);
    assert_int_equal(recorder_start(&recorders[0], given->ops, engine, given->quick, 1), RD_OK);
    settle(&recorders[0], wait_ms(given));
    given->server(given->server_ctx, true); /* before anything can end this test */
    if (!noticed) {
        fail_msg("ready %u ms after the server went away", ms);
    }
    assert_int_not_equal(recorders[0].err, RD_OK);
    assert_false(recorders[0].report.final); /* elsewhere, or later, it may well be done */
    assert_true(becomes(given, engine, true, ms));
    assert_int_equal(recorder_start(&recorders[1], given->ops, engine, given->quick, 1), RD_OK);
    settle(&recorders[1], wait_ms(given));
    check_success(&recorders[1]);
    close_engine(given, engine, recorders, 2);
}
