/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP transport as an engine: opened for a dialect (dialect.h), it forwards generations to a
 * server over HTTP/1.1 and streams what comes back. The threads are in driver.c, a run in run.c,
 * health in probe.c.
 *
 * start() makes the first request in the caller's thread (those are many) and pushes the run to the
 * driver with the fewest; it takes the pool's lock for a few instructions and blocks on nothing
 * else. cancel() sets a flag and wakes the driver, so it needs no lock and cannot meet a run that
 * is gone: the caller promises not to call it after done() returned, and the run's memory stays
 * until close().
 *
 * The key of key_file is read once, at open, and kept as the header line that it is sent in. It is
 * wiped when the engine is closed, and no message holds it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/limits.h"
#include "base/mem.h"
#include "engine/http/internal.h"

static void global_init(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- opening ---- */

/* The part of a URL, "" when it has none. Freed by the caller. */
static char *url_part(CURLU *parsed, CURLUPart part)
{
    char *text = NULL;
    char *copy = NULL;
    if (curl_url_get(parsed, part, &text, 0) == CURLUE_OK) {
        copy = rd_mem_strdup(text);
    } else {
        copy = rd_mem_strdup("");
    }
    curl_free(text);
    return copy;
}

static rd_err take_parsed(struct rd_engine *engine, const struct rd_engine_config *config,
                          CURLU *parsed, struct rd_why *why)
{
    RD_AUTO_FREE char *scheme = url_part(parsed, CURLUPART_SCHEME);
    RD_AUTO_FREE char *query = url_part(parsed, CURLUPART_QUERY);
    RD_AUTO_FREE char *fragment = url_part(parsed, CURLUPART_FRAGMENT);
    engine->url = rd_mem_strdup(config->url);
    if (scheme == NULL || query == NULL || fragment == NULL || engine->url == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: '%s' is not an http or https URL",
                          config->name, config->url);
    }
    if (engine->dialect->base && (query[0] != '\0' || fragment[0] != '\0')) {
        return rd_why_set(why, RD_ERR_CONFIG,
                          "backend %s: paths are put behind the url, so '%s' must end before any "
                          "'?' or '#'",
                          config->name, config->url);
    }
    for (size_t len = strlen(engine->url);
         engine->dialect->base && len > 0 && engine->url[len - 1] == '/'; len--) {
        engine->url[len - 1] = '\0';
    }
    (void)curl_url_set(parsed, CURLUPART_PATH, NULL, 0);
    (void)curl_url_set(parsed, CURLUPART_QUERY, NULL, 0);
    (void)curl_url_set(parsed, CURLUPART_FRAGMENT, NULL, 0);
    engine->origin = url_part(parsed, CURLUPART_URL);
    if (engine->origin == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    size_t len = strlen(engine->origin);
    if (len > 0 && engine->origin[len - 1] == '/') {
        engine->origin[len - 1] = '\0';
    }
    return RD_OK;
}

static rd_err take_url(struct rd_engine *engine, const struct rd_engine_config *config,
                       struct rd_why *why)
{
    if (config->url == NULL) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: an engine of type %s needs a url",
                          config->name, engine->dialect->type);
    }
    if (strlen(config->url) > RD_LIMIT_URL) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: the url is longer than %d bytes",
                          config->name, RD_LIMIT_URL);
    }
    CURLU *parsed = curl_url();
    if (parsed == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    CURLUcode code = curl_url_set(parsed, CURLUPART_URL, config->url, 0);
    rd_err err = RD_ERR_NO_MEMORY;
    if (code == CURLUE_OK) {
        err = take_parsed(engine, config, parsed, why);
    } else if (code != CURLUE_OUT_OF_MEMORY) {
        err = rd_why_set(why, RD_ERR_CONFIG, "backend %s: '%s' is not an http or https URL",
                         config->name, config->url);
    }
    curl_url_cleanup(parsed);
    return err;
}

/* Not read with rd_fs_read into an ordinary buffer: that would leave copies of the key. */
static rd_err take_key(struct rd_engine *engine, const struct rd_engine_config *config,
                       struct rd_why *why)
{
    static const char prefix[] = "Authorization: Bearer ";
    size_t prefix_len = sizeof prefix - 1;
    char key[RD_HTTP_KEY_MAX + 2];
    FILE *file = fopen(config->key_file, "re");
    if (file == NULL) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: cannot open key_file %s", config->name,
                          config->key_file);
    }
    setbuf(file, NULL);
    size_t got = fread(key, 1, sizeof key, file);
    (void)fclose(file);
    size_t len = 0;
    while (len < got && key[len] > 0x20 && key[len] < 0x7f) {
        len++;
    }
    bool ends = len == got || key[len] == '\n' || key[len] == '\r';
    rd_err err = RD_OK;
    if (len == 0 || len > RD_HTTP_KEY_MAX || !ends) {
        err =
            rd_why_set(why, RD_ERR_CONFIG,
                       "backend %s: the first line of key_file %s must be a key: 1 to %d printable "
                       "ASCII characters without spaces",
                       config->name, config->key_file, RD_HTTP_KEY_MAX);
    } else if ((engine->authorization = rd_mem_alloc(prefix_len + len + 1)) == NULL) {
        err = RD_ERR_NO_MEMORY;
    } else {
        memcpy(engine->authorization, prefix, prefix_len);
        memcpy(engine->authorization + prefix_len, key, len);
    }
    rd_mem_wipe(key, sizeof key);
    return err;
}

static rd_err take_numbers(struct rd_engine *engine, const struct rd_engine_config *config,
                           struct rd_why *why)
{
    if (config->slots < 1 || config->slots > RD_HTTP_SLOTS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: slots must be 1 to %d, not %u",
                          config->name, RD_HTTP_SLOTS_MAX, config->slots);
    }
    if (config->timeout_ms > RD_HTTP_TIMEOUT_MS_MAX) {
        return rd_why_set(why, RD_ERR_CONFIG, "backend %s: the timeout must be at most %d s",
                          config->name, RD_HTTP_TIMEOUT_MS_MAX / 1000);
    }
    unsigned usual = engine->dialect->default_timeout_ms != 0 ? engine->dialect->default_timeout_ms
                                                              : (unsigned)RD_HTTP_TIMEOUT_MS;
    engine->slots = config->slots;
    engine->timeout_ms = config->timeout_ms != 0 ? config->timeout_ms : usual;
    return RD_OK;
}

static rd_err take_config(struct rd_engine *engine, const struct rd_engine_config *config,
                          struct rd_why *why)
{
    RD_TRY(take_url(engine, config, why));
    RD_TRY(take_numbers(engine, config, why));
    if (config->ca_file != NULL) {
        if (access(config->ca_file, R_OK) != 0) {
            return rd_why_set(why, RD_ERR_CONFIG, "backend %s: cannot read ca_file %s",
                              config->name, config->ca_file);
        }
        engine->ca_file = rd_mem_strdup(config->ca_file);
    }
    if (config->health != NULL) {
        if (config->health[0] != '/' || strlen(config->health) > RD_HTTP_PATH_MAX) {
            return rd_why_set(
                why, RD_ERR_CONFIG,
                "backend %s: health must be a path that begins with '/', not '%.100s'",
                config->name, config->health);
        }
        engine->health = rd_mem_strdup(config->health);
    }
    if ((config->ca_file != NULL && engine->ca_file == NULL) ||
        (config->health != NULL && engine->health == NULL)) {
        return RD_ERR_NO_MEMORY;
    }
    return config->key_file != NULL ? take_key(engine, config, why) : RD_OK;
}

/* Runs end with the drivers, which wait for those that workers have. A worker may still be about to
 * wake the driver of a run that is over, so what that touches stays until the workers are gone. */
void rd_http_close(struct rd_engine *engine)
{
    rd_http_prober_close(&engine->prober);
    for (unsigned i = 0; i < engine->drivers_count; i++) {
        rd_http_driver_stop(&engine->drivers[i]);
    }
    rd_http_workers_close(&engine->workers);
    for (unsigned i = 0; i < engine->drivers_count; i++) {
        rd_http_driver_close(&engine->drivers[i]);
    }
    while (engine->pool != NULL) {
        struct rd_engine_run *run = engine->pool;
        engine->pool = run->inbox_next;
        rd_http_run_free(run);
    }
    if (engine->shared != NULL && engine->dialect->close != NULL) {
        engine->dialect->close(engine->shared);
    }
    (void)pthread_mutex_destroy(&engine->pool_lock);
    if (engine->authorization != NULL) {
        rd_mem_wipe(engine->authorization, strlen(engine->authorization));
    }
    rd_mem_free(engine->authorization);
    rd_mem_free(engine->shared);
    rd_mem_free(engine->url);
    rd_mem_free(engine->origin);
    rd_mem_free(engine->ca_file);
    rd_mem_free(engine->health);
    rd_mem_free(engine);
}

static rd_err start_threads(struct rd_engine *engine, struct rd_why *why)
{
    unsigned wanted = (engine->slots + RD_HTTP_SLOTS_PER_DRIVER - 1) / RD_HTTP_SLOTS_PER_DRIVER;
    wanted = wanted > RD_HTTP_DRIVERS_MAX ? RD_HTTP_DRIVERS_MAX : wanted;
    while (engine->drivers_count < wanted) {
        RD_TRY(rd_http_driver_open(&engine->drivers[engine->drivers_count++], engine, why));
    }
    if (engine->dialect->slow != NULL) {
        unsigned workers =
            engine->slots < RD_HTTP_WORKERS_MAX ? engine->slots : RD_HTTP_WORKERS_MAX;
        RD_TRY(rd_http_workers_open(&engine->workers, workers, why));
    }
    return rd_http_prober_open(&engine->prober, engine, why);
}

rd_err rd_http_open(const struct rd_http_dialect *dialect, const struct rd_engine_config *config,
                    struct rd_engine **ret, struct rd_why *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, global_init);
    struct rd_engine *engine = rd_mem_alloc(sizeof *engine);
    if (engine == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    if (pthread_mutex_init(&engine->pool_lock, NULL) != 0) {
        rd_mem_free(engine);
        return RD_ERR_NO_MEMORY;
    }
    engine->dialect = dialect;
    rd_err err = take_config(engine, config, why);
    if (err == RD_OK && dialect->shared_size > 0) {
        engine->shared = rd_mem_alloc(dialect->shared_size);
        err = engine->shared != NULL ? RD_OK : RD_ERR_NO_MEMORY;
    }
    if (err == RD_OK && dialect->open != NULL) {
        err = dialect->open(engine->shared, config, why);
    }
    if (err == RD_OK) {
        err = start_threads(engine, why);
    }
    if (err != RD_OK) {
        rd_http_close(engine);
        return err;
    }
    *ret = engine;
    return RD_OK;
}

/* ---- runs ---- */

void rd_http_engine_pool(struct rd_engine *engine, struct rd_engine_run *run)
{
    if (run->face.body.text.cap > RD_HTTP_TEXT_KEPT) {
        rd_http_body_done(&run->face.body);
        rd_http_body_init(&run->face.body);
    }
    (void)pthread_mutex_lock(&engine->pool_lock);
    run->inbox_next = engine->pool;
    engine->pool = run;
    (void)pthread_mutex_unlock(&engine->pool_lock);
}

static rd_err pool_get(struct rd_engine *engine, struct rd_engine_run **ret)
{
    (void)pthread_mutex_lock(&engine->pool_lock);
    struct rd_engine_run *run = engine->pool;
    if (run != NULL) {
        engine->pool = run->inbox_next;
    }
    (void)pthread_mutex_unlock(&engine->pool_lock);
    if (run == NULL) {
        return rd_http_run_new(engine, ret);
    }
    *ret = run;
    return RD_OK;
}

static struct rd_http_driver *least_loaded(struct rd_engine *engine)
{
    unsigned turn = engine->drivers_count > 1 ? atomic_fetch_add(&engine->turn, 1) : 0;
    struct rd_http_driver *best = NULL;
    for (unsigned i = 0; i < engine->drivers_count; i++) {
        struct rd_http_driver *at = &engine->drivers[(turn + i) % engine->drivers_count];
        if (best == NULL || atomic_load(&at->load) < atomic_load(&best->load)) {
            best = at;
        }
    }
    return best;
}

rd_err rd_http_start(struct rd_engine *engine, const struct rd_engine_job *job,
                     struct rd_engine_run **ret_run)
{
    if (atomic_fetch_add(&engine->active, 1) >= engine->slots) {
        atomic_fetch_sub(&engine->active, 1);
        return RD_ERR_CAPACITY;
    }
    struct rd_engine_run *run = NULL;
    rd_err err = pool_get(engine, &run);
    if (err == RD_OK) {
        err = rd_http_run_begin(run, job);
    }
    if (err != RD_OK && (run == NULL || run->err == RD_OK)) {
        if (run != NULL) {
            rd_http_engine_pool(engine, run);
        }
        atomic_fetch_sub(&engine->active, 1);
        return err;
    }
    run->driver = least_loaded(engine);
    atomic_fetch_add(&run->driver->load, 1);
    *ret_run = run; /* before the push: done() may come before start() returns */
    rd_http_driver_push(run->driver, run);
    return RD_OK;
}

void rd_http_engine_release(struct rd_engine *engine)
{
    atomic_fetch_sub(&engine->active, 1);
}

void rd_http_cancel(struct rd_engine *engine, struct rd_engine_run *run)
{
    (void)engine;
    atomic_store(&run->cancelled, true);
    rd_http_driver_wake(run->driver);
}

void rd_http_capabilities(struct rd_engine *engine, const char *model,
                          struct rd_engine_capabilities *ret)
{
    engine->dialect->capabilities(engine->shared, model, ret);
}

void rd_http_health(struct rd_engine *engine, struct rd_engine_health *ret)
{
    rd_http_prober_health(&engine->prober, ret);
}
