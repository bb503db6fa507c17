/* SPDX-License-Identifier: Apache-2.0
 *
 * render-gateway: the network-facing process. It holds no signing key (render-signer does) and
 * needs no privilege. Start order: data folder, store, signer, objects, runtime, HTTP; stop is the
 * reverse. Signals are read from a signalfd by the main thread, which otherwise only does
 * housekeeping: SIGTERM and SIGINT drain, SIGHUP reloads. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <curl/curl.h>
#include <sodium.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/limits.h"
#include "base/text.h"
#include "gateway/data.h"
#include "gateway/gateway.h"
#include "gateway/jobrun.h"
#include "gateway/options.h"
#include "gateway/waits.h"
#include "gateway/webhooks.h"
#include "gateway/ws.h"
#include "webhook/sender.h"

enum {
    HOUSEKEEPING_MS = 500,
    JOBS_MS_MAX = 10000,
    LAST_ANSWERS_MS = 200,
    DRAIN_MS_MAX = 60000,
    GOODBYE_MS_MAX = 300,
    SOCKETS_MS_MAX = 3000,
    CANCEL_MS_MAX = RD_LIMIT_FETCH_TOTAL_MS + 5000, /* the longest thing that nothing can cancel */
    RETENTION_EVERY_MS = 3600 * 1000,
    COMPACT_DEAD_PERCENT = 50,
    RELOAD_SETTLE_MS = 80,  /* a reload takes 100 ms at most */
    START_SETTLE_MS = 1000, /* so that the first request does not come before the first probe */
    POOL_THREADS = 4,
    FETCH_THREADS = 16,
};

struct rd_runtime *rd_gateway_runtime(struct rd_gateway *gateway)
{
    pthread_mutex_lock(&gateway->runtime_lock);
    struct rd_runtime *runtime = gateway->runtime;
    atomic_fetch_add(&runtime->references, 1);
    pthread_mutex_unlock(&gateway->runtime_lock);
    return runtime;
}

static void complain(const char *what, const struct rd_why *why)
{
    rd_log(RD_LOG_ERROR, what, (struct rd_log_field[]){RD_LOG_STR("why", why->text), RD_LOG_END});
}

static void reload(struct rd_gateway *gateway, const char *config_path)
{
    struct rd_runtime *fresh = NULL;
    struct rd_why why = {.text = "out of memory, or too many engine names since start"};
    const uint64_t started_ns = rd_clock_mono_ns();
    rd_err err = rd_runtime_load(config_path, gateway->runtime, &fresh, &why);
    if (err == RD_OK) {
        rd_runtime_settle(fresh, RELOAD_SETTLE_MS);
        const struct rd_fetch_options webhooks = rd_webhooks_options(fresh->config);
        err = rd_webhook_configure(gateway->webhooks, &webhooks);
        err = err == RD_OK ? rd_jobrun_switch(gateway, fresh) : err;
    }
    if (err != RD_OK) {
        rd_runtime_unref(fresh);
        atomic_fetch_add(&gateway->metrics.reloads_failed, 1);
        complain("reload refused; the old configuration stays", &why);
        return;
    }
    rd_log_configure(fresh->config->log_level, fresh->config->log_format);
    atomic_fetch_add(&gateway->metrics.reloads_ok, 1);
    const uint64_t ns = rd_clock_mono_ns() - started_ns;
    rd_log(RD_LOG_INFO, "reloaded",
           (struct rd_log_field[]){RD_LOG_NUM("ms", (double)(ns / 1000) / 1000), RD_LOG_END});
}

/* Retention and compaction: rare, and on the one thread that serves nobody. */
static void tidy(struct rd_gateway *gateway)
{
    unsigned days = gateway->runtime->config->retention_days;
    uint64_t expired = 0;
    uint64_t freed = 0;
    if (days > 0) {
        uint64_t before = rd_clock_wall_ms() - (uint64_t)days * 86400 * 1000;
        if (rd_cas_expire(gateway->cas, before, &expired) != RD_OK) {
            rd_log(RD_LOG_ERROR, "retention failed", NULL);
        }
    }
    if (rd_cas_compact(gateway->cas, COMPACT_DEAD_PERCENT, &freed) != RD_OK) {
        rd_log(RD_LOG_ERROR, "compaction failed", NULL);
    }
    if (expired > 0 || freed > 0) {
        rd_log(RD_LOG_INFO, "tidied",
               (struct rd_log_field[]){RD_LOG_INT("expired", expired),
                                       RD_LOG_INT("freed_bytes", freed), RD_LOG_END});
    }
}

/* A gateway without its signer is not ready, so nobody may send the request that would start it
 * again. */
static void keep_signer(struct rd_gateway *gateway, bool *lost)
{
    if (!rd_signer_alive(gateway->signer) && rd_signer_revive(gateway->signer) != RD_OK) {
        if (!*lost) { /* tried on and on, told once */
            rd_log(RD_LOG_ERROR, "the signer has ended and does not start again", NULL);
        }
        *lost = true;
    } else if (*lost) {
        rd_log(RD_LOG_WARN, "the signer runs again", NULL);
        *lost = false;
    }
}

/* Serves until a signal says stop. False when a store has failed for good: exit non-zero then. */
static bool serve(struct rd_gateway *gateway, const struct rd_gateway_options *options, int signals)
{
    uint64_t next_tidy = rd_clock_mono_ns() + RETENTION_EVERY_MS * (uint64_t)1000000;
    bool signer_lost = false;
    for (;;) {
        struct pollfd poller = {.fd = signals, .events = POLLIN};
        int ready = poll(&poller, 1, HOUSEKEEPING_MS);
        struct signalfd_siginfo info;
        if (ready == 1 && read(signals, &info, sizeof info) == (ssize_t)sizeof info) {
            if (info.ssi_signo != SIGHUP) {
                return true;
            }
            reload(gateway, options->config);
        }
        rd_runtime_collect();
        rd_runtime_log_health(gateway->runtime);
        keep_signer(gateway, &signer_lost);
        bool objects = rd_cas_healthy(gateway->cas);
        if (!objects || !rd_store_healthy(gateway->store) || atomic_load(&gateway->broken)) {
            rd_log(RD_LOG_ERROR,
                   "a store failed to write or sync; stopping, so that nothing is accepted "
                   "that cannot be kept",
                   (struct rd_log_field[]){RD_LOG_STR("store", objects ? "render.db" : "objects"),
                                           RD_LOG_END});
            return false;
        }
        if (rd_clock_mono_ns() > next_tidy) {
            tidy(gateway);
            next_tidy = rd_clock_mono_ns() + RETENTION_EVERY_MS * (uint64_t)1000000;
        }
    }
}

static bool all_answered(struct rd_gateway *gateway, unsigned ms)
{
    uint64_t until = rd_clock_mono_ns() + ms * (uint64_t)1000000;
    while (rd_http_open_exchanges(gateway->http) > 0 && rd_clock_mono_ns() < until) {
        (void)poll(NULL, 0, 10);
    }
    return rd_http_open_exchanges(gateway->http) == 0;
}

static bool all_run(struct rd_gateway *gateway, unsigned ms)
{
    uint64_t until = rd_clock_mono_ns() + ms * (uint64_t)1000000;
    while (rd_jobs_running(gateway->jobs) > 0 && rd_clock_mono_ns() < until) {
        (void)poll(NULL, 0, 10);
    }
    return rd_jobs_running(gateway->jobs) == 0;
}

static bool sockets_closed(struct rd_gateway *gateway, unsigned ms)
{
    uint64_t until = rd_clock_mono_ns() + ms * (uint64_t)1000000;
    while (rd_ws_count(gateway->ws) > 0 && rd_clock_mono_ns() < until) {
        (void)poll(NULL, 0, 10);
    }
    return rd_ws_count(gateway->ws) == 0;
}

/* WebSocket clients are told, and get a moment to say goodbye. False: something that one of them
 * asked for is not answered, so that its end would be waited for in vain. */
static bool close_sockets(struct rd_gateway *gateway)
{
    rd_ws_drain(gateway->ws);
    if (sockets_closed(gateway, GOODBYE_MS_MAX)) {
        return true;
    }
    rd_ws_cut(gateway->ws);
    return sockets_closed(gateway, SOCKETS_MS_MAX);
}

/* Jobs that run get a moment to end. They are durable: what is broken off is run again after the
 * next start. */
static void drain(struct rd_gateway *gateway)
{
    atomic_store(&gateway->draining, true);
    rd_http_quiesce(gateway->http);
    rd_waits_drain(gateway->waits);
    rd_jobs_drain(gateway->jobs);
    if (!all_run(gateway, JOBS_MS_MAX)) {
        rd_jobs_break_off(gateway->jobs);
    }
    bool well = all_answered(gateway, DRAIN_MS_MAX) && all_run(gateway, DRAIN_MS_MAX);
    if (!well) {
        rd_log(RD_LOG_WARN, "requests still run after a minute; cancelling them", NULL);
        rd_http_hang_up(gateway->http);
        well = all_answered(gateway, CANCEL_MS_MAX) && all_run(gateway, CANCEL_MS_MAX);
    }
    if (!close_sockets(gateway) || !well) {
        /* The server cannot be taken down around a suspended request. Nothing that was answered is
         * lost: the stores are made for ending at any moment. */
        rd_log(RD_LOG_ERROR, "a cancelled request does not end; leaving without it", NULL);
        _exit(EXIT_FAILURE);
    }
}

static rd_err start_parts(struct rd_gateway *gateway, const struct rd_gateway_options *options,
                          struct rd_why *why)
{
    struct rd_data_paths paths;
    RD_TRY(rd_data_prepare(options->data, &paths, why));
    RD_TRY(rd_runtime_load(options->config, NULL, &gateway->runtime, why));
    const struct rd_config *config = gateway->runtime->config;
    rd_log_configure(config->log_level, config->log_format);
    RD_TRY(rd_store_open(options->data, &gateway->store, why));
    RD_TRY(rd_data_admin_key(gateway->store, paths.admin_key, why));
    RD_TRY(rd_data_prompt_secret(paths.prompt_secret, gateway->prompt_secret, why));
    RD_TRY(rd_signer_start(paths.signer_program, paths.signing_key, &gateway->signer, why));
    const struct rd_cas_config cas = {
        .dir = paths.objects,
        .durability = config->durability,
        .pack_bytes = config->pack_bytes,
        .own_file_bytes = config->own_file_bytes,
        .min_free_bytes = config->min_free_bytes,
        .annotate = rd_attest_batch,
        .annotate_ctx = gateway,
    };
    RD_TRY(rd_cas_open(&cas, &gateway->cas, why));
    RD_TRY(rd_pool_start(FETCH_THREADS, &gateway->fetchers));
    RD_TRY(rd_pool_start(FETCH_THREADS, &gateway->starters));
    return rd_pool_start(POOL_THREADS, &gateway->pool);
}

/* What needs to know our own URL. */
static rd_err start_queue(struct rd_gateway *gateway, struct rd_why *why)
{
    const struct rd_fetch_options options = rd_webhooks_options(gateway->runtime->config);
    RD_TRY(rd_webhook_start(gateway->store, &options, &gateway->webhooks, why));
    RD_TRY(rd_jobrun_open(gateway, why));
    return rd_sockets_start(gateway);
}

static rd_err listen_http(struct rd_gateway *gateway, const struct rd_gateway_options *options,
                          struct rd_why *why)
{
    const struct rd_config *config = gateway->runtime->config;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const struct rd_http_options http = {
        .host = options->host,
        .port = options->port,
        .threads = config->threads > 0 ? config->threads : (unsigned)(cores > 0 ? cores : 1),
    };
    RD_TRY(rd_http_listen(&http, &gateway->http, why));
    bool v6 = strchr(options->host, ':') != NULL;
    int len = snprintf(gateway->listen_url, sizeof gateway->listen_url,
                       v6 ? "http://[%s]:%u" : "http://%s:%u", options->host,
                       (unsigned)rd_http_port(gateway->http));
    len = len < 0 || config->public_url == NULL
              ? len
              : snprintf(gateway->public_url, sizeof gateway->public_url, "%s", config->public_url);
    if (config->public_url == NULL) {
        memcpy(gateway->public_url, gateway->listen_url, sizeof gateway->public_url);
    }
    return len > 0 && (size_t)len < sizeof gateway->public_url
               ? RD_OK
               : rd_why_set(why, RD_ERR_CONFIG, "the public URL is too long");
}

/* The reverse of the start; every part may be missing. */
static void stop_parts(struct rd_gateway *gateway)
{
    rd_ws_stop(gateway->ws); /* its sockets are the server's */
    if (gateway->http != NULL) {
        rd_http_stop(gateway->http);
    }
    rd_pool_stop(gateway->starters);
    rd_pool_stop(gateway->fetchers);
    rd_pool_stop(gateway->pool);
    rd_jobs_close(gateway->jobs);
    rd_webhook_stop(gateway->webhooks);
    rd_waits_free(gateway->waits);
    rd_runtime_unref(gateway->runtime);
    rd_runtime_collect(); /* closes the engines, which may still commit */
    if (gateway->cas != NULL) {
        rd_cas_close(gateway->cas);
    }
    if (gateway->signer != NULL) {
        rd_signer_stop(gateway->signer);
    }
    if (gateway->store != NULL) {
        rd_store_close(gateway->store);
    }
    (void)pthread_mutex_destroy(&gateway->runtime_lock);
}

/* Signals go to the main thread's descriptor only; every thread started later inherits the mask. */
static int take_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ,
                 SIG_IGN); /* a file that may not grow is a full disk, not a reason to die */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return -1;
    }
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* As many descriptors as the connection limit needs, as far as the system lets us; and no core
 * file, because requests in memory hold keys and prompts. */
static void set_process_limits(void)
{
    struct rlimit limit;
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run_gateway(const struct rd_gateway_options *options)
{
    struct rd_why why = {.text = "out of memory"};
    struct rd_gateway *gateway = rd_mem_alloc(sizeof *gateway);
    int signals = take_signals();
    if (gateway == NULL || signals < 0 || pthread_mutex_init(&gateway->runtime_lock, NULL) != 0) {
        complain("cannot start", &why);
        return EXIT_FAILURE;
    }
    gateway->metrics.started_ms = rd_clock_wall_ms();
    struct rd_http_app app;
    rd_routes_app(gateway, &app);
    rd_err err = start_parts(gateway, options, &why);
    err = err == RD_OK ? listen_http(gateway, options, &why) : err;
    err = err == RD_OK ? start_queue(gateway, &why) : err;
    if (err == RD_OK) {
        rd_runtime_settle(gateway->runtime, START_SETTLE_MS);
        rd_jobs_go(gateway->jobs);
    }
    err = err == RD_OK ? rd_http_serve(gateway->http, &app, &why) : err;
    bool well = false;
    if (err != RD_OK) {
        complain("cannot start", &why);
    } else if (printf("listening on %s\n", gateway->listen_url) < 0 || fflush(stdout) != 0) {
        complain("cannot start", &(struct rd_why){.text = "standard output cannot be written"});
    } else {
        well = serve(gateway, options, signals);
        if (!well) { /* nothing can be kept any more: whoever waits is told now, or by the end */
            (void)all_answered(gateway, LAST_ANSWERS_MS);
            _exit(EXIT_FAILURE);
        }
        drain(gateway);
    }
    stop_parts(gateway);
    rd_mem_free(gateway);
    (void)close(signals);
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void report_bad(void *ctx, const char *where, const uint8_t blake3[RD_HASH_LEN])
{
    char asset[RD_ID_ASSET_LEN + 1];
    (void)ctx;
    rd_id_asset(blake3, asset);
    (void)printf("bad %s in %s\n", asset, where);
}

/* Offline: reads and checks every stored object. */
static int run_scrub(const struct rd_gateway_options *options)
{
    struct rd_why why = {.text = "out of memory"};
    struct rd_data_paths paths;
    struct rd_cas *cas = NULL;
    struct rd_cas_scrub scrub = {.on_bad = report_bad};
    rd_err err = rd_data_paths(options->data, &paths, &why);
    const struct rd_cas_config config = {.dir = paths.objects};
    err = err == RD_OK ? rd_cas_open(&config, &cas, &why) : err;
    if (err != RD_OK) {
        complain("cannot scrub", &why);
        return EXIT_FAILURE;
    }
    err = rd_cas_scrub(cas, &scrub);
    rd_cas_close(cas);
    (void)printf("%llu objects, %llu bytes read, %llu bad\n", (unsigned long long)scrub.objects,
                 (unsigned long long)scrub.bytes, (unsigned long long)scrub.bad);
    return err == RD_OK && scrub.bad == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct rd_gateway_options options;
    int code = rd_gateway_options_parse(argc, argv, &options);
    if (code >= 0) {
        return code;
    }
    if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        rd_log(RD_LOG_ERROR, "cannot start: the cryptographic library does not work here", NULL);
        return EXIT_FAILURE;
    }
    set_process_limits();
    return options.scrub ? run_scrub(&options) : run_gateway(&options);
}
