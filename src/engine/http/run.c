/* SPDX-License-Identifier: Apache-2.0
 *
 * One run: its exchanges one after the other, each from the dialect's request to the dialect's
 * end, and the judgement of what came between. What a good answer means the dialect knows;
 * libcurl's buffer is handed to it as it is.
 *
 * Errors. The first reason to stop wins (rd_http_run_stop): a sink's error makes libcurl fail with
 * "write error", which must not hide it. */
#include "engine/http/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"

enum { NS_PER_MS = 1000000 };

const struct rd_http_result *rd_http_result_find(CURLcode code)
{
    static const struct rd_http_result results[] = {
        {CURLE_COULDNT_CONNECT, RD_ERR_BACKEND_FAILED, true, "cannot connect to the engine"},
        {CURLE_COULDNT_RESOLVE_HOST, RD_ERR_BACKEND_FAILED, true,
         "the engine's host name does not resolve"},
        {CURLE_PEER_FAILED_VERIFICATION, RD_ERR_BACKEND_FAILED, true,
         "the engine's certificate is not valid"},
        {CURLE_SSL_CACERT_BADFILE, RD_ERR_BACKEND_FAILED, true,
         "the file of trusted authorities (ca_file) cannot be read"},
        {CURLE_SSL_CONNECT_ERROR, RD_ERR_BACKEND_FAILED, true,
         "the TLS handshake with the engine failed"},
        {CURLE_OPERATION_TIMEDOUT, RD_ERR_BACKEND_TIMEOUT, true,
         "connecting to the engine took too long"},
        {CURLE_GOT_NOTHING, RD_ERR_BACKEND_FAILED, false, "the engine closed without an answer"},
        {CURLE_RECV_ERROR, RD_ERR_BACKEND_FAILED, false, "the engine's connection broke"},
        {CURLE_SEND_ERROR, RD_ERR_BACKEND_FAILED, false, "the engine's connection broke"},
        {CURLE_PARTIAL_FILE, RD_ERR_BACKEND_FAILED, false, "the engine's answer ended early"},
        {CURLE_OUT_OF_MEMORY, RD_ERR_NO_MEMORY, false, "out of memory"},
    };
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        if (results[i].code == code) {
            return &results[i];
        }
    }
    return NULL;
}

void rd_http_run_stop(struct rd_engine_run *run, rd_err err, const char *why)
{
    if (run->err == RD_OK) {
        run->err = err;
        (void)rd_why_set(&run->why, err, "%s", why != NULL ? why : rd_err_info(err)->message);
    }
}

rd_err rd_http_fail(struct rd_http_run *face, rd_err err, unsigned flags, const char *fmt, ...)
{
    struct rd_engine_run *run = (struct rd_engine_run *)face;
    if (run->err == RD_OK) {
        struct rd_why why;
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(why.text, sizeof why.text, fmt, args);
        va_end(args);
        face->final = (flags & (unsigned)RD_HTTP_FINAL) != 0;
        face->faultless = (flags & (unsigned)RD_HTTP_FAULTLESS) != 0;
        rd_http_run_stop(run, err, why.text);
    }
    return err;
}

/* ---- the answer arrives ---- */

bool rd_http_header_is(const char *line, size_t len, const char *name, const char **ret_value,
                       size_t *ret_len)
{
    size_t name_len = strlen(name);
    if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0) {
        return false;
    }
    const char *value = line + name_len + 1;
    size_t value_len = len - name_len - 1;
    while (value_len > 0 && (value[0] == ' ' || value[0] == '\t')) {
        value++;
        value_len--;
    }
    while (value_len > 0 && strchr(" \t\r\n", value[value_len - 1]) != NULL) {
        value_len--;
    }
    *ret_value = value;
    *ret_len = value_len;
    return true;
}

size_t rd_http_on_header(char *line, size_t size, size_t count, void *user)
{
    struct rd_engine_run *run = user;
    size_t len = size * count;
    const char *value;
    size_t value_len;
    run->head_bytes += len;
    if (run->head_bytes > RD_LIMIT_HEADER_BLOCK) {
        rd_http_run_stop(run, RD_ERR_BACKEND_FAILED, "the engine's header block is too large");
        return 0;
    }
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* also behind a 100 or 103 */
        run->chunked = false;
    } else if ((line[0] == 'T' || line[0] == 't') &&
               rd_http_header_is(line, len, "Transfer-Encoding", &value, &value_len)) {
        run->chunked = value_len >= 7 && strncasecmp(value + value_len - 7, "chunked", 7) == 0;
    }
    if (run->engine->dialect->header != NULL && run->phase != RD_HTTP_FAREWELL) {
        run->engine->dialect->header(&run->face, line, len);
    }
    return len;
}

/* What a dialect's function said; false when the run is over because of it. */
static bool obey(struct rd_engine_run *run, rd_err err)
{
    if (err != RD_OK) {
        rd_http_run_stop(run, err, NULL);
    }
    return run->err == RD_OK;
}

/* The head is complete: an answer or a refusal? False when the run is over. */
static bool judge_head(struct rd_engine_run *run)
{
    long status = 0;
    char *type = NULL;
    curl_off_t length = -1;
    (void)curl_easy_getinfo(run->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(run->easy, CURLINFO_CONTENT_TYPE, &type);
    (void)curl_easy_getinfo(run->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    bool good = status == 200 || (run->request.any_2xx && status >= 200 && status <= 299);
    if (!good) {
        run->stage = RD_HTTP_REFUSAL;
        run->error_wanted = rd_http_type_is_text(type);
        return true;
    }
    run->stage = RD_HTTP_BODY;
    const struct rd_http_answer answer = {
        .status = status, .type = type, .length = length > 0 ? (uint64_t)length : 0};
    if (!obey(run, run->engine->dialect->head(&run->face, &answer))) {
        return false;
    }
    if (length < 0 && !run->chunked && status != 204) {
        (void)rd_http_fail(&run->face, RD_ERR_BACKEND_FAILED, RD_HTTP_FINAL,
                           "the engine's answer has neither Content-Length nor chunked coding");
    } else if (answer.length > run->request.answer_max) {
        (void)rd_http_fail(&run->face, RD_ERR_BACKEND_FAILED, RD_HTTP_FINAL,
                           "the engine's answer is too large");
    }
    return run->err == RD_OK;
}

size_t rd_http_on_body(char *data, size_t size, size_t count, void *user)
{
    struct rd_engine_run *run = user;
    size_t len = size * count;
    if (run->phase == RD_HTTP_FAREWELL) {
        return len;
    }
    if (atomic_load_explicit(&run->cancelled, memory_order_relaxed)) {
        rd_http_run_stop(run, RD_ERR_CANCELLED, NULL);
        return 0;
    }
    if (len == 0 || (run->stage == RD_HTTP_HEAD && !judge_head(run))) {
        return 0;
    }
    run->body_bytes += len;
    if (run->stage == RD_HTTP_BODY) {
        if (run->body_bytes > run->request.answer_max) {
            (void)rd_http_fail(&run->face, RD_ERR_BACKEND_FAILED, RD_HTTP_FINAL,
                               "the engine's answer is too large");
            return 0;
        }
        return obey(run, run->engine->dialect->data(&run->face, data, len)) ? len : 0;
    }
    size_t room = RD_HTTP_ERROR_MAX - run->error_len;
    size_t take = !run->error_wanted ? 0 : len < room ? len : room;
    memcpy(run->error + run->error_len, data, take);
    run->error_len += take;
    return run->body_bytes > RD_HTTP_DISCARD_MAX ? 0 : len;
}

size_t rd_http_on_read(char *out, size_t size, size_t count, void *user)
{
    struct rd_engine_run *run = user;
    return rd_http_body_read(&run->face.body, out, size * count);
}

int rd_http_on_seek(void *user, curl_off_t offset, int origin)
{
    struct rd_engine_run *run = user;
    if (origin != SEEK_SET || offset != 0) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    rd_http_body_rewind(&run->face.body);
    return CURL_SEEKFUNC_OK;
}

/* The connection stands, the request goes out now: from here on the backend may spend time on it.
 */
int rd_http_on_prereq(void *user, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    (void)peer_ip;
    (void)local_ip;
    (void)peer_port;
    (void)local_port;
    struct rd_engine_run *run = user;
    run->reached = true;
    run->attempts++;
    return CURL_PREREQFUNC_OK;
}

/* ---- made, prepared, armed ---- */

rd_err rd_http_run_new(struct rd_engine *engine, struct rd_engine_run **ret)
{
    struct rd_engine_run *run = rd_mem_alloc(sizeof *run);
    if (run == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    run->engine = engine;
    run->face.job = &run->job;
    run->face.shared = engine->shared;
    atomic_init(&run->cancelled, false);
    rd_http_body_init(&run->face.body);
    rd_buf_init(&run->url, RD_LIMIT_URL + RD_HTTP_PATH_MAX);
    bool ok = true;
    if (engine->dialect->run_size > 0) {
        run->face.state = rd_mem_alloc(engine->dialect->run_size);
        ok = run->face.state != NULL;
    }
    run->easy = ok ? curl_easy_init() : NULL;
    if (run->easy == NULL || !rd_http_easy_constant(run)) {
        rd_http_run_free(run);
        return RD_ERR_NO_MEMORY;
    }
    *ret = run;
    return RD_OK;
}

void rd_http_run_free(struct rd_engine_run *run)
{
    curl_easy_cleanup(run->easy);
    if (run->face.state != NULL && run->engine->dialect->forget != NULL) {
        run->engine->dialect->forget(run->face.state);
    }
    rd_mem_free(run->face.state);
    rd_http_body_done(&run->face.body);
    rd_buf_done(&run->url);
    rd_mem_free(run);
}

rd_err rd_http_run_begin(struct rd_engine_run *run, const struct rd_engine_job *job)
{
    const struct rd_http_dialect *dialect = run->engine->dialect;
    run->job = *job;
    run->phase = RD_HTTP_NEW;
    run->prepared = false;
    run->err = RD_OK;
    run->ticking = false;
    run->face.spent_ns = 0;
    run->reached = false;
    run->face.exchanges = 0;
    run->face.final = false;
    run->face.faultless = false;
    atomic_store(&run->cancelled, false);
    run->face.deadline_ns = rd_clock_mono_ns() + (uint64_t)run->engine->timeout_ms * NS_PER_MS;
    if (job->deadline_mono_ns != 0 && job->deadline_mono_ns < run->face.deadline_ns) {
        run->face.deadline_ns = job->deadline_mono_ns;
    }
    rd_http_header_line(run->request_id, "X-Request-Id", job->request_id);
    rd_http_header_line(run->traceparent, "traceparent", job->traceparent);
    if (dialect->begin != NULL) {
        RD_TRY(dialect->begin(&run->face));
    }
    if (dialect->slow != NULL && dialect->slow(&run->face, false)) {
        return RD_OK;
    }
    return rd_http_run_prepare(run);
}

static void empty_request(struct rd_engine_run *run)
{
    rd_http_body_reset(&run->face.body);
    run->request = (struct rd_http_request){
        .method = "POST", .content_type = "application/json", .answer_max = RD_LIMIT_OBJECT_BYTES};
}

rd_err rd_http_run_prepare(struct rd_engine_run *run)
{
    empty_request(run);
    run->request.accept = rd_media_type(run->job.generation->media);
    run->face.exchanges++;
    RD_TRY(run->engine->dialect->request(&run->face, &run->request));
    RD_TRY(rd_http_body_seal(&run->face.body));
    run->prepared = true;
    return RD_OK;
}

rd_err rd_http_run_arm(struct rd_engine_run *run)
{
    if (run->attempts > 1) {
        /* libcurl replaced a dead kept connection. It counts that over the handle's whole life,
         * gives up after five, and only a reset sets the count back. */
        curl_easy_reset(run->easy);
        if (!rd_http_easy_constant(run)) {
            return RD_ERR_NO_MEMORY;
        }
    }
    run->prepared = false;
    run->attempts = 0;
    run->stage = RD_HTTP_HEAD;
    run->chunked = false;
    run->head_bytes = 0;
    run->body_bytes = 0;
    run->error_len = 0;
    run->error_wanted = false;
    run->then = (struct rd_http_next){.again = false};
    RD_TRY(rd_http_easy_request(run));
    if (!run->ticking) { /* after a pause it ticks already */
        rd_http_run_tick(run);
    }
    return RD_OK;
}

/* ---- received ---- */

/* Shows a refusal, or a failed connection, to the dialect; then the run is over, or goes on. */
static void refuse(struct rd_engine_run *run, struct rd_http_refusal *refusal)
{
    if (run->engine->dialect->refused != NULL) {
        run->engine->dialect->refused(&run->face, refusal);
    }
    if (refusal->again) {
        run->then = (struct rd_http_next){.again = true, .after_ms = refusal->after_ms};
    } else if (run->err == RD_OK) {
        run->face.final = refusal->final;
        run->face.faultless = refusal->faultless;
        rd_http_run_stop(run, refusal->err, refusal->why.text);
    }
}

static void judge_refusal(struct rd_engine_run *run, long status)
{
    char text[RD_HTTP_SNIPPET_MAX + 1];
    run->error[run->error_len] = '\0';
    size_t shown = run->error_len < RD_HTTP_SNIPPET_MAX ? run->error_len : RD_HTTP_SNIPPET_MAX;
    rd_http_sanitise(run->error, shown, text, sizeof text);
    struct rd_http_refusal refusal = {.status = status,
                                      .body = run->error,
                                      .len = run->error_len,
                                      .err = rd_http_status_err(status)};
    refusal.final = refusal.err == RD_ERR_BACKEND_FAILED && status < 500;
    refusal.faultless = status == 400 || status == 422;
    (void)rd_why_set(&refusal.why, refusal.err, "the engine answered %ld%s%s", status,
                     text[0] != '\0' ? ": " : "", text);
    refuse(run, &refusal);
}

static void judge_failure(struct rd_engine_run *run, CURLcode code)
{
    struct rd_http_refusal refusal = {.body = "", .err = RD_ERR_BACKEND_FAILED};
    const struct rd_http_result *result = rd_http_result_find(code);
    if (code == CURLE_OUT_OF_MEMORY && run->attempts > 0) {
        /* Older libcurl says this of a header line that never ends, and seldom of anything else. */
        rd_http_run_stop(run, RD_ERR_BACKEND_FAILED, "the engine's header block is too large");
        return;
    }
    (void)rd_why_set(&refusal.why, RD_OK, "%s",
                     result != NULL ? result->text : curl_easy_strerror(code));
    if (result != NULL) {
        refusal.err = result->err;
        if (result->unreachable) {
            rd_http_prober_down(&run->engine->prober, result->text);
        }
    }
    refuse(run, &refusal);
}

void rd_http_run_tick(struct rd_engine_run *run)
{
    run->since_ns = rd_clock_mono_ns();
    run->ticking = true;
}

static void stop_ticking(struct rd_engine_run *run)
{
    run->face.spent_ns += run->ticking ? rd_clock_mono_ns() - run->since_ns : 0;
    run->ticking = false;
}

bool rd_http_run_received(struct rd_engine_run *run, CURLcode code)
{
    long status = 0;
    stop_ticking(run);
    if (run->err == RD_OK && atomic_load(&run->cancelled)) {
        rd_http_run_stop(run, RD_ERR_CANCELLED, NULL);
    }
    if (run->err == RD_OK && code == CURLE_OK && run->stage == RD_HTTP_HEAD) {
        (void)judge_head(run); /* no body at all */
    }
    if (run->err != RD_OK) {
        return false;
    }
    if (run->stage == RD_HTTP_REFUSAL) {
        (void)curl_easy_getinfo(run->easy, CURLINFO_RESPONSE_CODE, &status);
        judge_refusal(run, status);
        return false;
    }
    if (code != CURLE_OK) {
        judge_failure(run, code);
        return false;
    }
    return true;
}

void rd_http_run_end(struct rd_engine_run *run)
{
    struct rd_http_next next = {.again = false};
    if (obey(run, run->engine->dialect->end(&run->face, &next))) {
        run->then = next;
    }
}

/* ---- over ---- */

bool rd_http_run_farewell(struct rd_engine_run *run)
{
    const struct rd_http_dialect *dialect = run->engine->dialect;
    if (run->err == RD_OK || !run->reached || dialect->abandon == NULL) {
        return false;
    }
    empty_request(run);
    return dialect->abandon(&run->face, &run->request) &&
           rd_http_body_seal(&run->face.body) == RD_OK && rd_http_run_arm(run) == RD_OK;
}

void rd_http_run_report(struct rd_engine_run *run)
{
    struct rd_engine_report report = {.source = RD_DEVICE_TIME_UNKNOWN};
    stop_ticking(run);
    if (run->reached) {
        report.device_ns = run->face.spent_ns;
        report.source = RD_DEVICE_TIME_MEASURED;
    }
    report.final = run->face.final;
    report.faultless = run->face.faultless;
    if (run->engine->dialect->report != NULL) {
        run->engine->dialect->report(&run->face, run->err, &report);
    }
    run->job.sink.done(run->job.sink.ctx, run->err, run->err == RD_OK ? NULL : &run->why, &report);
}
