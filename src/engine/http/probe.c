/* SPDX-License-Identifier: Apache-2.0
 *
 * Health: one thread of an engine asks its server once a second whether it is ready, 250 ms after
 * an answer that it was not. It never asks for what costs device time.
 *
 * A thread and a libcurl multi handle of its own, because then its connection is no run's, and
 * nothing that happens to runs holds it up; the multi handle (instead of a plain blocking transfer)
 * because closing the engine can interrupt it. Where there is no path to ask for, a TCP connection
 * (with TLS: its handshake) that is closed again is the question.
 *
 * A run that cannot connect makes the engine not ready at once. The next good probe undoes that. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/http/internal.h"

enum { NS_PER_MS = 1000000, NS_PER_S = 1000000000, POLL_MS = 100 };

enum { SHOWN = 120 }; /* bytes of a URL that stand in a message */

/* The URL without what may be secret in it: a user and password, a query. */
static const char *bare(const char *url, char out[SHOWN])
{
    const char *host = strstr(url, "://");
    host = host != NULL ? host + 3 : url;
    const char *at = memrchr(host, '@', strcspn(host, "/?#"));
    const char *from = at != NULL ? at + 1 : host;
    (void)snprintf(out, SHOWN, "%.*s%.*s", (int)(host - url), url, (int)strcspn(from, "?#"), from);
    return out;
}

/* ---- one request ---- */

/* The rest of an answer that is too long is read and dropped: its connection is used again. */
static size_t on_answer(char *data, size_t size, size_t count, void *user)
{
    struct rd_http_prober *prober = user;
    size_t len = size * count;
    size_t room = RD_HTTP_PROBE_MAX - prober->answer.len;
    rd_buf_append(&prober->answer, data, len < room ? len : room);
    return len;
}

static bool closing(struct rd_http_prober *prober)
{
    (void)pthread_mutex_lock(&prober->lock);
    bool is = prober->closing;
    (void)pthread_mutex_unlock(&prober->lock);
    return is;
}

/* Lets libcurl work until the transfer is complete; false when it was interrupted. */
static bool transfer(struct rd_http_prober *prober, CURLcode *ret)
{
    if (curl_multi_add_handle(prober->multi, prober->easy) != CURLM_OK) {
        *ret = CURLE_OUT_OF_MEMORY;
        return true;
    }
    int running = 1;
    bool complete = false;
    *ret = CURLE_FAILED_INIT;
    while (!complete && !closing(prober)) {
        CURLMsg *message;
        int left;
        if (curl_multi_perform(prober->multi, &running) != CURLM_OK) {
            break;
        }
        while ((message = curl_multi_info_read(prober->multi, &left)) != NULL) {
            *ret = message->data.result;
            complete = true;
        }
        if (!complete) {
            (void)curl_multi_poll(prober->multi, NULL, 0, POLL_MS, NULL);
        }
    }
    (void)curl_multi_remove_handle(prober->multi, prober->easy);
    return complete;
}

/* A GET of `path` behind `base`; NULL: only a connection. Fills the status, or says why not. */
static bool ask(struct rd_http_prober *prober, const char *base, const char *path, uint64_t until,
                long *ret_status, char why[RD_ENGINE_WHY_MAX])
{
    CURL *easy = prober->easy;
    uint64_t now = rd_clock_mono_ns();
    long left_ms = now < until ? (long)((until - now) / NS_PER_MS) : 0;
    rd_buf_reset(&prober->url);
    rd_buf_reset(&prober->answer);
    rd_buf_str(&prober->url, base);
    rd_buf_str(&prober->url, path != NULL ? path : "");
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (rd_buf_err(&prober->url) == RD_OK &&
        curl_easy_setopt(easy, CURLOPT_URL, rd_buf_cstr(&prober->url)) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, left_ms > 0 ? left_ms : 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, path == NULL ? 1L : 0L) == CURLE_OK &&
        !transfer(prober, &code)) {
        return false; /* closing: nobody reads why */
    }
    if (code == CURLE_OK) {
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, ret_status);
        return true;
    }
    const struct rd_http_result *result = rd_http_result_find(code);
    const char *text = code == CURLE_OPERATION_TIMEDOUT ? "no answer in time"
                       : result != NULL                 ? result->text
                                                        : curl_easy_strerror(code);
    char shown[SHOWN];
    (void)snprintf(why, RD_ENGINE_WHY_MAX, "%s%s: %.70s", path != NULL ? "GET " : "",
                   bare(rd_buf_cstr(&prober->url), shown), text);
    return false;
}

/* ---- a round ---- */

static bool judge(struct rd_http_prober *prober, unsigned step, long status,
                  char why[RD_ENGINE_WHY_MAX])
{
    struct rd_engine *engine = prober->engine;
    const struct rd_http_dialect *dialect = engine->dialect;
    bool ready = status == 200;
    if (engine->health == NULL && dialect->probed != NULL) {
        ready = dialect->probed(engine->shared, step, status, rd_buf_cstr(&prober->answer),
                                prober->answer.len, why);
    }
    if (!ready && why[0] == '\0') {
        char shown[SHOWN];
        (void)snprintf(why, RD_ENGINE_WHY_MAX, "GET %s: answered %ld, not 200",
                       bare(rd_buf_cstr(&prober->url), shown), status);
    }
    return ready;
}

static bool probe_round(struct rd_http_prober *prober, char why[RD_ENGINE_WHY_MAX])
{
    struct rd_engine *engine = prober->engine;
    const struct rd_http_dialect *dialect = engine->dialect;
    uint64_t until = rd_clock_mono_ns() + (uint64_t)RD_HTTP_PROBE_ANSWER_MS * NS_PER_MS;
    char path[RD_HTTP_PATH_MAX] = "";
    long status = 0;
    if (engine->health == NULL && dialect->probe != NULL) {
        for (unsigned step = 0; step < RD_HTTP_PROBE_STEPS_MAX; step++) {
            if (!dialect->probe(engine->shared, step, path)) {
                return true;
            }
            if (!ask(prober, engine->url, path, until, &status, why) ||
                !judge(prober, step, status, why)) {
                return false;
            }
        }
        return true;
    }
    const char *base = engine->health != NULL ? engine->origin : engine->url;
    const char *only = engine->health != NULL ? engine->health : dialect->health;
    return ask(prober, base, only, until, &status, why) &&
           (only == NULL || judge(prober, 0, status, why));
}

/* ---- the thread ---- */

static void wait_until(struct rd_http_prober *prober, uint64_t at)
{
    struct timespec until = {.tv_sec = (time_t)(at / NS_PER_S), .tv_nsec = (long)(at % NS_PER_S)};
    int failed = 0;
    while (!prober->closing && !prober->kicked && failed != ETIMEDOUT) {
        failed = pthread_cond_timedwait(&prober->changed, &prober->lock, &until);
    }
    if (prober->kicked && !prober->closing) {
        prober->kicked = false;
        uint64_t soon = rd_clock_mono_ns() + (uint64_t)RD_HTTP_PROBE_AGAIN_MS * NS_PER_MS;
        soon = soon < at ? soon : at;
        until = (struct timespec){.tv_sec = (time_t)(soon / NS_PER_S),
                                  .tv_nsec = (long)(soon % NS_PER_S)};
        failed = 0;
        while (!prober->closing && failed != ETIMEDOUT) {
            failed = pthread_cond_timedwait(&prober->changed, &prober->lock, &until);
        }
    }
}

static void *probe(void *user)
{
    struct rd_http_prober *prober = user;
    (void)pthread_mutex_lock(&prober->lock);
    while (!prober->closing) {
        struct rd_engine_health health = {.ready = false};
        uint64_t from = rd_clock_mono_ns();
        (void)pthread_mutex_unlock(&prober->lock);
        health.ready = probe_round(prober, health.why);
        if (health.ready) {
            health.why[0] = '\0';
        }
        (void)pthread_mutex_lock(&prober->lock);
        prober->health = health;
        uint64_t at = health.ready
                          ? from + (uint64_t)RD_HTTP_PROBE_PERIOD_MS * NS_PER_MS
                          : rd_clock_mono_ns() + (uint64_t)RD_HTTP_PROBE_AGAIN_MS * NS_PER_MS;
        wait_until(prober, at);
    }
    (void)pthread_mutex_unlock(&prober->lock);
    return NULL;
}

void rd_http_prober_down(struct rd_http_prober *prober, const char *why)
{
    char shown[SHOWN];
    (void)bare(prober->engine->origin, shown);
    (void)pthread_mutex_lock(&prober->lock);
    prober->health.ready = false;
    (void)snprintf(prober->health.why, sizeof prober->health.why, "%s: a request failed: %.60s",
                   shown, why);
    prober->kicked = true;
    (void)pthread_cond_signal(&prober->changed);
    (void)pthread_mutex_unlock(&prober->lock);
}

void rd_http_prober_health(struct rd_http_prober *prober, struct rd_engine_health *ret)
{
    (void)pthread_mutex_lock(&prober->lock);
    *ret = prober->health;
    (void)pthread_mutex_unlock(&prober->lock);
}

/* ---- opened and closed ---- */

static bool make_handles(struct rd_http_prober *prober)
{
    static char accept[] = "Accept:";
    prober->multi = curl_multi_init();
    prober->easy = curl_easy_init();
    if (prober->multi == NULL || prober->easy == NULL) {
        return false;
    }
    CURL *easy = prober->easy;
    const char *authorization = prober->engine->authorization;
    prober->headers[0].data = authorization != NULL ? prober->engine->authorization : accept;
    return rd_http_easy_common(prober->engine, easy) &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, prober->headers) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, prober) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, rd_http_socket_open) == CURLE_OK;
}

static bool make_locks(struct rd_http_prober *prober)
{
    pthread_condattr_t attr;
    if (pthread_mutex_init(&prober->lock, NULL) != 0) {
        return false;
    }
    bool ok = pthread_condattr_init(&attr) == 0;
    ok = ok && pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 &&
         pthread_cond_init(&prober->changed, &attr) == 0;
    (void)pthread_condattr_destroy(&attr);
    if (!ok) {
        (void)pthread_mutex_destroy(&prober->lock);
    }
    return ok;
}

rd_err rd_http_prober_open(struct rd_http_prober *prober, struct rd_engine *engine,
                           struct rd_why *why)
{
    prober->engine = engine;
    rd_buf_init(&prober->url, RD_LIMIT_URL + RD_HTTP_PATH_MAX);
    rd_buf_init(&prober->answer, RD_HTTP_PROBE_MAX);
    char shown[SHOWN];
    (void)snprintf(prober->health.why, sizeof prober->health.why, "%s: not probed yet",
                   bare(engine->origin, shown));
    prober->made = make_locks(prober);
    if (!prober->made || !make_handles(prober)) {
        return RD_ERR_NO_MEMORY;
    }
    int failed = pthread_create(&prober->thread, NULL, probe, prober);
    prober->running = failed == 0;
    return failed == 0 ? RD_OK : rd_why_errno(why, failed, "start", "the engine's prober");
}

void rd_http_prober_close(struct rd_http_prober *prober)
{
    if (prober->running) {
        (void)pthread_mutex_lock(&prober->lock);
        prober->closing = true;
        (void)pthread_cond_signal(&prober->changed);
        (void)pthread_mutex_unlock(&prober->lock);
        (void)curl_multi_wakeup(prober->multi);
        (void)pthread_join(prober->thread, NULL);
    }
    curl_easy_cleanup(prober->easy);
    if (prober->multi != NULL) {
        (void)curl_multi_cleanup(prober->multi);
    }
    if (prober->made) {
        (void)pthread_cond_destroy(&prober->changed);
        (void)pthread_mutex_destroy(&prober->lock);
    }
    rd_buf_done(&prober->url);
    rd_buf_done(&prober->answer);
}
