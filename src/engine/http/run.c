/* SPDX-License-Identifier: Apache-2.0
 *
 * One run: its requests one after the other (count outputs, successive seeds), and the way of a
 * picture from libcurl's buffer to the sink.
 *
 * Nothing reaches the sink before it is known to be a picture of the asked kind: status 200, the
 * right Content-Type, a body whose end can be told (Content-Length or chunked), and the right first
 * bytes. From then on libcurl's buffer is handed on as it is.
 *
 * Errors. The first reason to stop wins (rd_http_run_stop): a sink's error makes libcurl fail with
 * "write error", which must not hide it. */
#include "engine/http/internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

enum { NS_PER_MS = 1000000 };

/* libcurl's results; the rest is BACKEND_FAILED with libcurl's own words. */
static const struct {
    CURLcode code;
    rd_err err;
    bool unreachable; /* the backend is down, not only this request */
    const char *text;
} results[] = {
    {CURLE_COULDNT_CONNECT, RD_ERR_BACKEND_FAILED, true, "cannot connect to the engine"},
    {CURLE_COULDNT_RESOLVE_HOST, RD_ERR_BACKEND_FAILED, true,
     "the engine's host name does not resolve"},
    {CURLE_PEER_FAILED_VERIFICATION, RD_ERR_BACKEND_FAILED, true,
     "the engine's certificate is not valid"},
    {CURLE_SSL_CONNECT_ERROR, RD_ERR_BACKEND_FAILED, true,
     "the TLS handshake with the engine failed"},
    {CURLE_OPERATION_TIMEDOUT, RD_ERR_BACKEND_TIMEOUT, true,
     "connecting to the engine took too long"},
    {CURLE_GOT_NOTHING, RD_ERR_BACKEND_FAILED, false, "the engine closed without an answer"},
    {CURLE_RECV_ERROR, RD_ERR_BACKEND_FAILED, false, "the engine's connection broke"},
    {CURLE_SEND_ERROR, RD_ERR_BACKEND_FAILED, false, "the engine's connection broke"},
    {CURLE_PARTIAL_FILE, RD_ERR_BACKEND_FAILED, false, "the engine's picture ended early"},
    {CURLE_OUT_OF_MEMORY, RD_ERR_NO_MEMORY, false, "out of memory"},
};

void rd_http_run_stop(struct rd_engine_run *run, rd_err err, const char *why)
{
    if (run->err == RD_OK) {
        run->err = err;
        (void)rd_why_set(&run->why, err, "%s", why != NULL ? why : rd_err_info(err)->message);
    }
}

/* What the engine sends is no picture; it would send the same again. */
static void no_picture(struct rd_engine_run *run, const char *why)
{
    run->final = run->final || run->err == RD_OK;
    rd_http_run_stop(run, RD_ERR_BACKEND_FAILED, why);
}

/* ---- the answer arrives ---- */

/* The value behind "Name:" when `line` is that header. */
static bool header_is(const char *line, size_t len, const char *name, const char **ret,
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
    *ret = value;
    *ret_len = value_len;
    return true;
}

static size_t on_header(char *line, size_t size, size_t count, void *user)
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
    switch (line[0]) { /* most lines need no comparison */
    case 'H':
        if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* also behind a 100 or 103 */
            run->chunked = false;
            run->told = false;
        }
        break;
    case 'T':
    case 't':
        if (header_is(line, len, "Transfer-Encoding", &value, &value_len)) {
            run->chunked = value_len >= 7 && strncasecmp(value + value_len - 7, "chunked", 7) == 0;
        }
        break;
    case 'X':
    case 'x':
        if (header_is(line, len, "X-Device-Seconds", &value, &value_len)) {
            run->told = rd_http_seconds_parse(value, value_len, &run->told_ns);
        } else if (header_is(line, len, "X-Device", &value, &value_len)) {
            rd_http_sanitise(value, value_len, run->device, sizeof run->device);
        }
        break;
    default:
        break;
    }
    return len;
}

/* The head is complete: picture or refusal? False when the answer is neither. */
static bool judge_head(struct rd_engine_run *run)
{
    long status = 0;
    char *type = NULL;
    curl_off_t length = -1;
    (void)curl_easy_getinfo(run->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(run->easy, CURLINFO_CONTENT_TYPE, &type);
    (void)curl_easy_getinfo(run->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (status != 200) {
        run->stage = RD_HTTP_REFUSAL;
        run->snippet_wanted = rd_http_type_is_text(type);
        return true;
    }
    run->stage = RD_HTTP_PICTURE;
    if (!rd_http_type_is(type, run->job.generation->media)) {
        char shown[64];
        rd_http_sanitise(type != NULL ? type : "nothing", type != NULL ? strlen(type) : 7, shown,
                         sizeof shown);
        struct rd_why why;
        (void)rd_why_set(&why, RD_OK, "the engine sent %s, not %s", shown,
                         rd_media_type(run->job.generation->media));
        no_picture(run, why.text);
    } else if (length < 0 && !run->chunked) {
        no_picture(run, "the engine's answer has neither Content-Length nor chunked coding");
    } else if (length >= 0 && (uint64_t)length > RD_LIMIT_OBJECT_BYTES) {
        no_picture(run, "the engine's picture is too large");
    }
    return run->err == RD_OK;
}

static bool begin(struct rd_engine_run *run, const void *first)
{
    enum rd_media media = run->job.generation->media;
    if (!rd_http_magic_is(first, media)) {
        no_picture(run, "the engine's body is not what its Content-Type says");
        return false;
    }
    curl_off_t length = -1;
    (void)curl_easy_getinfo(run->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    run->begun = true;
    rd_err err = run->job.sink.begin(run->job.sink.ctx, run->output, media,
                                     length > 0 ? (uint64_t)length : 0);
    if (err != RD_OK) {
        rd_http_run_stop(run, err, NULL);
    }
    return err == RD_OK;
}

static bool give(struct rd_engine_run *run, const void *data, size_t len)
{
    rd_err err = run->job.sink.data(run->job.sink.ctx, run->output, data, len);
    if (err != RD_OK) {
        rd_http_run_stop(run, err, NULL);
    }
    return err == RD_OK;
}

static bool picture_bytes(struct rd_engine_run *run, const char *data, size_t len)
{
    uint64_t before = run->body_bytes;
    run->body_bytes += len;
    if (run->body_bytes > RD_LIMIT_OBJECT_BYTES) {
        no_picture(run, "the engine's picture is too large");
        return false;
    }
    if (run->begun) {
        return give(run, data, len);
    }
    if (before == 0 && len >= RD_HTTP_MAGIC_LEN) { /* the usual case: all at once */
        return begin(run, data) && give(run, data, len);
    }
    size_t missing = RD_HTTP_MAGIC_LEN - (size_t)before;
    size_t take = len < missing ? len : missing;
    memcpy(run->first + before, data, take);
    if (take < missing) {
        return true;
    }
    return begin(run, run->first) && give(run, run->first, RD_HTTP_MAGIC_LEN) &&
           (take == len || give(run, data + take, len - take));
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct rd_engine_run *run = user;
    size_t len = size * count;
    if (atomic_load_explicit(&run->cancelled, memory_order_relaxed)) {
        rd_http_run_stop(run, RD_ERR_CANCELLED, NULL);
        return 0;
    }
    if (len == 0 || (run->stage == RD_HTTP_HEAD && !judge_head(run))) {
        return 0;
    }
    if (run->stage == RD_HTTP_PICTURE) {
        return picture_bytes(run, data, len) ? len : 0;
    }
    size_t room = sizeof run->snippet - run->snippet_len;
    size_t take = !run->snippet_wanted ? 0 : len < room ? len : room;
    memcpy(run->snippet + run->snippet_len, data, take);
    run->snippet_len += take;
    run->body_bytes += len;
    return run->body_bytes > RD_HTTP_DISCARD_MAX ? 0 : len;
}

static size_t on_read(char *out, size_t size, size_t count, void *user)
{
    struct rd_engine_run *run = user;
    return rd_http_body_read(&run->body, out, size * count);
}

static int on_seek(void *user, curl_off_t offset, int origin)
{
    struct rd_engine_run *run = user;
    if (origin != SEEK_SET || offset != 0) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    rd_http_body_rewind(&run->body);
    return CURL_SEEKFUNC_OK;
}

/* The connection stands, the request goes out now: from here on the backend may spend time on it.
 */
static int on_prereq(void *user, char *peer_ip, char *local_ip, int peer_port, int local_port)
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

/* ---- made, armed, finished ---- */

static bool set_constant(struct rd_engine_run *run)
{
    CURL *easy = run->easy;
    bool ok = curl_easy_setopt(easy, CURLOPT_URL, run->engine->url) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PRIVATE, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok =
        ok && curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK;
    ok = ok &&
         curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)RD_HTTP_CONNECT_MS) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)RD_HTTP_IDLE_S) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RD_HTTP_BUFFER) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_USERAGENT, "render/" RD_VERSION) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, run->headers) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HEADERDATA, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEDATA, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_READDATA, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_SEEKDATA, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_prereq) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PREREQDATA, run) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, rd_http_socket_open) == CURLE_OK;
    return ok &&
           curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, rd_http_socket_close) == CURLE_OK;
}

rd_err rd_http_run_new(struct rd_engine *engine, struct rd_engine_run **ret)
{
    static char json[] = "Content-Type: application/json";
    static char no_expect[] = "Expect:"; /* no waiting for 100-continue with a large body */
    struct rd_engine_run *run = rd_mem_alloc(sizeof *run);
    if (run == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    run->engine = engine;
    atomic_init(&run->cancelled, false);
    rd_http_body_init(&run->body);
    char *const lines[] = {json, no_expect, run->accept, run->request_id, run->traceparent};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        run->headers[i].data = lines[i];
        run->headers[i].next = i < 4 ? &run->headers[i + 1] : NULL;
    }
    run->easy = curl_easy_init();
    if (run->easy == NULL || !set_constant(run)) {
        rd_http_run_free(run);
        return RD_ERR_NO_MEMORY;
    }
    *ret = run;
    return RD_OK;
}

void rd_http_run_free(struct rd_engine_run *run)
{
    curl_easy_cleanup(run->easy);
    rd_http_body_done(&run->body);
    rd_mem_free(run);
}

/* "Name: value" in `line`; "Name:" (which sends nothing) when the value is absent, too long, or
 * holds what a header must not. */
static void header_line(char line[RD_HTTP_HEADER_TEXT], const char *name, const char *value)
{
    size_t len = value != NULL ? strlen(value) : 0;
    bool fits = len > 0 && strlen(name) + 2 + len < RD_HTTP_HEADER_TEXT;
    for (size_t i = 0; fits && i < len; i++) {
        fits = value[i] >= 0x20 && value[i] < 0x7f;
    }
    (void)snprintf(line, RD_HTTP_HEADER_TEXT, fits ? "%s: %s" : "%s:", name, value);
}

rd_err rd_http_run_prepare(struct rd_engine_run *run, const struct rd_engine_job *job)
{
    run->job = *job;
    run->output = 0;
    run->err = RD_OK;
    run->measured_ns = 0;
    run->device_ns = 0;
    run->all_told = true;
    run->device[0] = '\0';
    run->reached = false;
    atomic_store(&run->cancelled, false);
    run->deadline_ns = rd_clock_mono_ns() + (uint64_t)run->engine->timeout_ms * NS_PER_MS;
    if (job->deadline_mono_ns != 0 && job->deadline_mono_ns < run->deadline_ns) {
        run->deadline_ns = job->deadline_mono_ns;
    }
    header_line(run->accept, "Accept", rd_media_type(job->generation->media));
    header_line(run->request_id, "X-Request-Id", job->request_id);
    header_line(run->traceparent, "traceparent", job->traceparent);
    return rd_http_body_make(&run->body, job->generation, 0);
}

rd_err rd_http_run_arm(struct rd_engine_run *run)
{
    if (run->output > 0) { /* the first was made by start() */
        RD_TRY(rd_http_body_make(&run->body, run->job.generation, run->output));
    }
    if (run->attempts > 1) {
        /* libcurl replaced a dead kept connection. It counts that over the handle's whole life,
         * gives up after five, and only a reset sets the count back. */
        curl_easy_reset(run->easy);
        if (!set_constant(run)) {
            return RD_ERR_NO_MEMORY;
        }
    }
    run->attempts = 0;
    run->stage = RD_HTTP_HEAD;
    run->begun = false;
    run->chunked = false;
    run->head_bytes = 0;
    run->body_bytes = 0;
    run->snippet_len = 0;
    run->told = false;
    /* POSTFIELDS lets libcurl send head and body in one write. */
    const char *flat = rd_http_body_flat(&run->body);
    CURL *easy = run->easy;
    bool ok = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)run->body.total) ==
              CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDS, flat) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, run->driver) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, run->driver) == CURLE_OK;
    run->sent_ns = rd_clock_mono_ns();
    return ok ? RD_OK : RD_ERR_NO_MEMORY;
}

static void judge_result(struct rd_engine_run *run, CURLcode code)
{
    long status = 0;
    (void)curl_easy_getinfo(run->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK && run->stage == RD_HTTP_HEAD && !judge_head(run)) {
        return; /* no body at all */
    }
    if (run->stage == RD_HTTP_REFUSAL) {
        char text[RD_HTTP_SNIPPET_MAX + 1];
        struct rd_why why;
        rd_http_sanitise(run->snippet, run->snippet_len, text, sizeof text);
        rd_err err = rd_http_status_err(status);
        run->final = run->err == RD_OK && err == RD_ERR_BACKEND_FAILED && status != 502;
        (void)rd_why_set(&why, err, "the engine answered %ld%s%s", status,
                         text[0] != '\0' ? ": " : "", text);
        rd_http_run_stop(run, err, why.text);
        return;
    }
    if (code == CURLE_OUT_OF_MEMORY && run->attempts > 0) {
        /* Older libcurl says this of a header line that never ends, and seldom of anything else. */
        rd_http_run_stop(run, RD_ERR_BACKEND_FAILED, "the engine's header block is too large");
        return;
    }
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        if (results[i].code == code) {
            if (results[i].unreachable) {
                atomic_store(&run->engine->not_before_ns,
                             rd_clock_mono_ns() + (uint64_t)RD_HTTP_NOT_READY_MS * NS_PER_MS);
            }
            rd_http_run_stop(run, results[i].err, results[i].text);
            return;
        }
    }
    if (code != CURLE_OK) {
        rd_http_run_stop(run, RD_ERR_BACKEND_FAILED, curl_easy_strerror(code));
    } else if (!run->begun) {
        no_picture(run, "the engine's body is too short to be a picture");
    }
}

bool rd_http_run_finish(struct rd_engine_run *run, CURLcode code)
{
    uint64_t took = rd_clock_mono_ns() - run->sent_ns;
    if (run->err == RD_OK) {
        judge_result(run, code);
    }
    if (run->stage != RD_HTTP_HEAD &&
        atomic_load_explicit(&run->engine->not_before_ns, memory_order_relaxed) != 0) {
        atomic_store(&run->engine->not_before_ns, 0); /* it answers again */
    }
    run->measured_ns += took;
    run->device_ns += run->told ? run->told_ns : took;
    run->all_told = run->all_told && run->told;
    if (run->err == RD_OK && atomic_load(&run->cancelled)) {
        rd_http_run_stop(run, RD_ERR_CANCELLED, NULL);
    }
    if (run->err == RD_OK) {
        rd_err err = run->job.sink.end(run->job.sink.ctx, run->output);
        if (err != RD_OK) {
            rd_http_run_stop(run, err, NULL);
        }
    }
    return run->err == RD_OK && ++run->output < run->job.generation->count;
}

void rd_http_run_report(struct rd_engine_run *run)
{
    struct rd_engine_report report = {.source = RD_DEVICE_TIME_UNKNOWN};
    if (run->reached) {
        report.device_ns = run->all_told ? run->device_ns : run->measured_ns;
        report.source = run->all_told ? RD_DEVICE_TIME_ENGINE : RD_DEVICE_TIME_MEASURED;
    }
    memcpy(report.device, run->device, sizeof report.device);
    report.final = run->final;
    run->job.sink.done(run->job.sink.ctx, run->err, run->err == RD_OK ? NULL : &run->why, &report);
}
