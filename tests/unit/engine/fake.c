/* SPDX-License-Identifier: Apache-2.0
 *
 * See fake.h. A thread for each run; it waits on one condition for all that may stop it. Runs stay
 * in memory until close(), which waits for their threads. */
#include "fake.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { NS_PER_MS = 1000000, NS_PER_S = 1000000000, BLOCK_MS = 1200, CHUNK = 1000, HAMMER = 200000 };

enum fake_breach fake_breach = FAKE_NONE;
static atomic_bool server_down;

const struct fake_script fake_scripts[] = {
    {"quick",
     {{FAKE_PROGRESS, 30},
      {FAKE_PREVIEW, 0},
      {FAKE_PROGRESS, 60},
      {FAKE_BEGIN, 0},
      {FAKE_DATA, 2500},
      {FAKE_DATA, 1},
      {FAKE_END, 0},
      {FAKE_PROGRESS, 100}},
     false,
     false},
    {"late",
     {{FAKE_WAIT, 40}, {FAKE_BEGIN, 0}, {FAKE_WAIT, 40}, {FAKE_DATA, 100}, {FAKE_END, 0}},
     false,
     false},
    {"slow", {{FAKE_PROGRESS, 10}, {FAKE_HANG, 0}}, false, false},
    /* The server breaks off in the middle. */
    {"partial",
     {{FAKE_BEGIN, 0}, {FAKE_DATA, 100}, {FAKE_FAIL, RD_ERR_BACKEND_FAILED}},
     false,
     false},
    /* It sends, and sends; the engine notices when it is too much. */
    {"oversized",
     {{FAKE_BEGIN, 0}, {FAKE_DATA, 3000000}, {FAKE_FAIL, RD_ERR_BACKEND_FAILED}},
     true,
     false},
    /* The first bytes are no picture's, so nothing is begun. */
    {"malformed", {{FAKE_PROGRESS, 50}, {FAKE_FAIL, RD_ERR_BACKEND_FAILED}}, true, false},
    {"refused", {{FAKE_FAIL, RD_ERR_INVALID_REQUEST}}, true, true},
    {"lost", {{FAKE_WAIT, 20}, {FAKE_FAIL, RD_ERR_BACKEND_TIMEOUT}}, false, false},
};
const size_t fake_scripts_count = sizeof fake_scripts / sizeof fake_scripts[0];

struct rd_engine_run {
    struct rd_engine *engine;
    struct rd_engine_run *next;
    struct rd_engine_job job;
    const struct fake_script *script;
    bool cancelled;     /* under the engine's lock */
    unsigned output;    /* the one being made */
    size_t given;       /* bytes of it */
    bool open, stopped; /* begun and not ended; a sink function failed */
    rd_err err;
};

struct rd_engine {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rd_engine_run *runs;
    unsigned live; /* threads */
    bool closing;
    atomic_bool failed;
    atomic_uint asked, made;
};

static bool breach(enum fake_breach which)
{
    return fake_breach == which;
}

/* ---- a run ---- */

static void after(unsigned ms, struct timespec *ret)
{
    (void)clock_gettime(CLOCK_MONOTONIC, ret);
    ret->tv_sec += (time_t)(ms / 1000);
    ret->tv_nsec += (long)(ms % 1000) * NS_PER_MS;
    if (ret->tv_nsec >= NS_PER_S) {
        ret->tv_sec++;
        ret->tv_nsec -= NS_PER_S;
    }
}

/* Why the run must stop now, or RD_OK. Under the lock. */
static rd_err reason(const struct rd_engine_run *run)
{
    bool deaf = breach(FAKE_DEAF);
    bool timeless = breach(FAKE_TIMELESS);
    if (!deaf && (run->cancelled || run->engine->closing)) {
        return breach(FAKE_WRONG_ERROR) ? RD_ERR_BACKEND_FAILED : RD_ERR_CANCELLED;
    }
    uint64_t deadline = run->job.deadline_mono_ns;
    return !timeless && deadline != 0 && rd_clock_mono_ns() >= deadline ? RD_ERR_BACKEND_TIMEOUT
                                                                        : RD_OK;
}

/* Waits `ms`, or until there is a reason to stop, which it gives. */
static rd_err wait_for_reason(struct rd_engine_run *run, unsigned ms)
{
    uint64_t until = rd_clock_mono_ns() + (uint64_t)ms * NS_PER_MS;
    (void)pthread_mutex_lock(&run->engine->lock);
    rd_err err;
    while ((err = reason(run)) == RD_OK && rd_clock_mono_ns() < until) {
        struct timespec at;
        after(5, &at); /* the deadline has no other alarm */
        (void)pthread_cond_timedwait(&run->engine->changed, &run->engine->lock, &at);
    }
    (void)pthread_mutex_unlock(&run->engine->lock);
    return err;
}

static void *hammer(void *user)
{
    const struct rd_engine_run *run = user;
    for (unsigned i = 0; i < HAMMER && run->job.sink.progress != NULL; i++) {
        run->job.sink.progress(run->job.sink.ctx, 1, 0);
    }
    return NULL;
}

static void two_threads(struct rd_engine_run *run)
{
    pthread_t other;
    if (pthread_create(&other, NULL, hammer, run) == 0) {
        (void)hammer(run);
        (void)pthread_join(other, NULL);
    }
}

static rd_err give_data(struct rd_engine_run *run, size_t len)
{
    static const char *const magic[RD_MEDIA_COUNT_] = {
        [RD_MEDIA_PNG] = "\x89PNG\r\n\x1a\n", [RD_MEDIA_JPEG] = "\xff\xd8\xff"};
    const struct rd_generation *generation = run->job.generation;
    const char *start = breach(FAKE_TEXT) ? "<script>" : magic[generation->media];
    uint32_t seed = generation->seed + (breach(FAKE_SAME_SEED) ? 0 : run->output) +
                    (breach(FAKE_RANDOM) ? atomic_fetch_add(&run->engine->made, 1) * 10 : 0);
    for (size_t done = 0; done < len;) {
        uint8_t bytes[CHUNK];
        size_t part = len - done < sizeof bytes ? len - done : sizeof bytes;
        for (size_t i = 0; i < part; i++) {
            size_t at = run->given + i;
            bytes[i] = start != NULL && at < strlen(start) ? (uint8_t)start[at]
                                                           : (uint8_t)(seed * 31 + at);
        }
        RD_TRY(run->job.sink.data(run->job.sink.ctx, run->output, bytes, part));
        run->given += part;
        done += part;
    }
    return RD_OK;
}

static rd_err give_begin(struct rd_engine_run *run)
{
    const struct rd_engine_sink *sink = &run->job.sink;
    enum rd_media media = run->job.generation->media;
    media = breach(FAKE_OTHER_MEDIA) ? (enum rd_media)((media + 1) % RD_MEDIA_COUNT_) : media;
    run->given = 0;
    run->open = true;
    return sink->begin(sink->ctx, run->output, media, breach(FAKE_HINT) ? 7 : 0);
}

static rd_err give_end(struct rd_engine_run *run)
{
    run->open = false;
    return breach(FAKE_UNENDED) ? RD_OK : run->job.sink.end(run->job.sink.ctx, run->output);
}

static void give_progress(struct rd_engine_run *run, unsigned percent)
{
    const struct rd_engine_sink *sink = &run->job.sink;
    double fraction = (run->output + percent / 100.0) / run->job.generation->count;
    if (sink->progress != NULL) {
        sink->progress(sink->ctx, breach(FAKE_BACKWARDS) ? 1 - fraction : fraction, 0);
    }
}

static rd_err take_step(struct rd_engine_run *run, const struct fake_step *step)
{
    const struct rd_engine_sink *sink = &run->job.sink;
    rd_err err = RD_OK;
    switch (step->op) {
    case FAKE_PROGRESS:
        give_progress(run, step->value);
        return RD_OK;
    case FAKE_PREVIEW:
        if (sink->preview != NULL) {
            sink->preview(sink->ctx, RD_MEDIA_PNG, "\x89PNG\r\n\x1a\n....", 12);
        }
        return RD_OK;
    case FAKE_BEGIN:
        err = give_begin(run);
        break;
    case FAKE_DATA:
        err = give_data(run, step->value);
        break;
    case FAKE_END:
        err = give_end(run);
        break;
    case FAKE_WAIT:
        return wait_for_reason(run, step->value);
    case FAKE_HANG:
        return wait_for_reason(run, UINT32_MAX);
    case FAKE_FAIL:
        return (rd_err)step->value;
    case FAKE_STOP:
    default:
        return RD_OK;
    }
    run->stopped = run->stopped || err != RD_OK;
    return breach(FAKE_GOES_ON) ? RD_OK : err;
}

static rd_err follow(struct rd_engine_run *run)
{
    unsigned count = run->job.generation->count - (breach(FAKE_FEWER) ? 1 : 0);
    if (breach(FAKE_TWO_THREADS)) {
        two_threads(run);
    }
    if (atomic_load(&server_down) ||
        (breach(FAKE_STUCK_AFTER_FAIL) && atomic_load(&run->engine->failed))) {
        return RD_ERR_BACKEND_FAILED;
    }
    for (run->output = 0; run->output < count; run->output++) {
        for (const struct fake_step *step = run->script->steps; step->op != FAKE_STOP; step++) {
            RD_TRY(wait_for_reason(run, 0));
            RD_TRY(take_step(run, step));
        }
    }
    return RD_OK;
}

static void tell_done(struct rd_engine_run *run)
{
    const struct rd_engine_sink *sink = &run->job.sink;
    struct rd_why why = {""};
    struct rd_engine_report report = {.device_ns = 1000, .source = RD_DEVICE_TIME_ENGINE};
    rd_err err = breach(FAKE_OTHER_ERROR) && run->stopped ? RD_ERR_INTERNAL : run->err;
    bool ours = err != RD_OK && !run->stopped && err != RD_ERR_CANCELLED &&
                !atomic_load(&server_down) && run->script->steps[0].op != FAKE_HANG;
    (void)rd_why_set(&why, err, "%s", breach(FAKE_EMPTY_WHY) ? "" : "as the script says");
    report.final = (ours && run->script->final) || (breach(FAKE_FINAL_SUCCESS) && err == RD_OK);
    report.faultless = ours && run->script->faultless;
    report.device_ns = breach(FAKE_KNOWN_ZERO) ? 0 : report.device_ns;
    report.source = breach(FAKE_UNKNOWN_TIME) ? RD_DEVICE_TIME_UNKNOWN : report.source;
    sink->done(sink->ctx, err, err == RD_OK ? NULL : &why, breach(FAKE_NO_REPORT) ? NULL : &report);
}

static void *live(void *user)
{
    struct rd_engine_run *run = user;
    struct rd_engine *engine = run->engine;
    if (!breach(FAKE_IN_CANCEL)) {
        run->err = follow(run);
    }
    if (!breach(FAKE_NEVER) && !breach(FAKE_IN_CANCEL)) {
        const struct rd_engine_sink sink = run->job.sink;
        if (run->err != RD_OK) {
            atomic_store(&engine->failed, true);
        }
        tell_done(run);
        if (breach(FAKE_TWICE)) {
            tell_done(run);
        }
        if (breach(FAKE_AFTER)) {
            (void)sink.data(sink.ctx, 0, "x", 1);
        }
    }
    (void)pthread_mutex_lock(&engine->lock);
    engine->live--;
    (void)pthread_cond_broadcast(&engine->changed);
    (void)pthread_mutex_unlock(&engine->lock);
    return NULL;
}

/* ---- the table ---- */

static rd_err fake_open(const struct rd_engine_config *config, struct rd_engine **ret,
                        struct rd_why *why)
{
    (void)config;
    (void)why;
    struct rd_engine *engine = calloc(1, sizeof *engine);
    pthread_condattr_t attributes;
    if (engine == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&engine->lock, NULL);
    (void)pthread_cond_init(&engine->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    *ret = engine;
    return RD_OK;
}

static const struct fake_script *script_of(const struct rd_generation *generation)
{
    for (size_t i = 0; i < fake_scripts_count; i++) {
        if (strcmp(fake_scripts[i].prompt, generation->prompt) == 0) {
            return &fake_scripts[i];
        }
    }
    abort();
}

static rd_err fake_start(struct rd_engine *engine, const struct rd_engine_job *job,
                         struct rd_engine_run **ret_run)
{
    struct rd_engine_run *run = calloc(1, sizeof *run);
    pthread_attr_t attributes;
    pthread_t thread;
    if (run == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    run->engine = engine;
    run->job = *job;
    run->script = script_of(job->generation);
    if (breach(FAKE_BLOCKS_START)) {
        (void)usleep(BLOCK_MS * 1000);
    }
    if (breach(FAKE_IN_START)) {
        give_progress(run, 0);
    }
    *ret_run = run;
    (void)pthread_mutex_lock(&engine->lock);
    run->next = engine->runs;
    engine->runs = run;
    engine->live++;
    (void)pthread_mutex_unlock(&engine->lock);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, live, run) != 0) {
        abort();
    }
    (void)pthread_attr_destroy(&attributes);
    return RD_OK;
}

static void fake_cancel(struct rd_engine *engine, struct rd_engine_run *run)
{
    if (breach(FAKE_BLOCKS_CANCEL)) {
        (void)usleep(BLOCK_MS * 1000);
    }
    (void)pthread_mutex_lock(&engine->lock);
    run->cancelled = true;
    (void)pthread_cond_broadcast(&engine->changed);
    (void)pthread_mutex_unlock(&engine->lock);
    if (breach(FAKE_IN_CANCEL)) {
        run->err = RD_ERR_CANCELLED;
        tell_done(run);
    }
}

static void fake_capabilities(struct rd_engine *engine, const char *model,
                              struct rd_engine_capabilities *ret)
{
    (void)model;
    unsigned asked = atomic_fetch_add(&engine->asked, 1);
    *ret = (struct rd_engine_capabilities){
        .tasks = breach(FAKE_CANNOT) ? 0 : 1u << RD_TASK_T2I,
        .media = 1u << RD_MEDIA_PNG,
        .progress = true,
        .previews = !breach(FAKE_UNTOLD_PREVIEWS),
        .trusted = breach(FAKE_FICKLE) && asked > 0,
    };
}

static void fake_health(struct rd_engine *engine, struct rd_engine_health *ret)
{
    (void)engine;
    bool down = atomic_load(&server_down) && !breach(FAKE_ALWAYS_READY);
    *ret = (struct rd_engine_health){.ready = !down && !breach(FAKE_NEVER_READY)};
    if (!ret->ready || breach(FAKE_READY_WORDS)) {
        memcpy(ret->why, "the server is down", 19);
    }
}

static void fake_close(struct rd_engine *engine)
{
    (void)pthread_mutex_lock(&engine->lock);
    engine->closing = true;
    (void)pthread_cond_broadcast(&engine->changed);
    while (engine->live > 0) {
        (void)pthread_cond_wait(&engine->changed, &engine->lock);
    }
    (void)pthread_mutex_unlock(&engine->lock);
    while (engine->runs != NULL) {
        struct rd_engine_run *run = engine->runs;
        engine->runs = run->next;
        free(run);
    }
    (void)pthread_cond_destroy(&engine->changed);
    (void)pthread_mutex_destroy(&engine->lock);
    free(engine);
}

const struct rd_engine_ops fake_ops = {
    .type = "fake",
    .open = fake_open,
    .start = fake_start,
    .cancel = fake_cancel,
    .capabilities = fake_capabilities,
    .health = fake_health,
    .close = fake_close,
};

void fake_server(void *ctx, bool up)
{
    (void)ctx;
    atomic_store(&server_down, !up);
}
