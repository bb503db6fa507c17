/* SPDX-License-Identifier: Apache-2.0
 *
 * Backends, as the queue is told of them and as it thinks of them. They have numbers by name, for
 * as long as the process lives, so what is known of one (its slots in use, its breaker) outlives a
 * reload. Readiness is asked ten times a second; of one in quarantine the queue is told each time,
 * since it waits for the word "ready" after the last slot came back. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/internal.h"

/* ---- telling the queue ---- */

void rd_jobs_tell_backend(struct rd_jobs *jobs, uint32_t number)
{
    const struct backend *backend = &jobs->backends[number];
    struct rd_queue_event event = {
        .kind = RD_EV_BACKEND,
        .backend = number,
        .slots = jobs->draining || !jobs->going ? 0 : backend->slots,
        .weight = backend->weight,
        .ready = backend->ready,
        .lease_ns = backend->lease_ns,
    };
    struct rd_queue_result result;
    rd_jobs_step(jobs, &event, &result);
}

rd_err rd_jobs_backend(struct rd_jobs *jobs, const struct rd_jobs_backend *backend,
                       uint32_t *ret_backend)
{
    rd_jobs_lock(jobs);
    uint32_t number = 1;
    while (number <= jobs->backends_count &&
           strcmp(jobs->backends[number].name, backend->name) != 0) {
        number++;
    }
    if (number >= RD_QUEUE_BACKENDS_MAX) {
        rd_jobs_leave(jobs);
        return RD_ERR_NO_MEMORY;
    }
    struct backend *it = &jobs->backends[number];
    if (number > jobs->backends_count) {
        jobs->backends_count = number;
        (void)snprintf(it->name, sizeof it->name, "%s", backend->name);
    }
    it->slots = backend->slots;
    it->weight = backend->weight;
    it->lease_ns = backend->lease_ns;
    *ret_backend = number;
    rd_jobs_leave(jobs);
    return RD_OK;
}

uint32_t rd_jobs_backend_taken(struct rd_jobs *jobs, uint32_t backend)
{
    rd_jobs_lock(jobs);
    uint32_t taken = backend <= jobs->backends_count ? jobs->backends[backend].taken : 0;
    rd_jobs_leave(jobs);
    return taken;
}

void rd_jobs_poll(struct rd_jobs *jobs)
{
    for (uint32_t i = 1; i <= jobs->backends_count; i++) {
        struct backend *backend = &jobs->backends[i];
        struct rd_queue_backend look;
        bool ready = backend->slots > 0 && jobs->options.host.ready(jobs->options.host.ctx, i);
        bool waits = rd_queue_look_backend(jobs->queue, i, &look) && look.quarantined && ready;
        if (ready != backend->ready || waits) {
            backend->ready = ready;
            rd_jobs_tell_backend(jobs, i);
        }
    }
}

/* ---- what the queue thinks ---- */

static const char *const states[] = {[RD_BREAKER_CLOSED] = "closed",
                                     [RD_BREAKER_OPEN] = "open",
                                     [RD_BREAKER_HALF_OPEN] = "half_open"};

/* The next one that is configured, or still has runs, from `from` on; 0: there is none. */
static uint32_t next_backend(const struct rd_jobs *jobs, uint32_t from,
                             struct rd_queue_backend *ret)
{
    for (uint32_t i = from; i <= jobs->backends_count; i++) {
        const struct backend *backend = &jobs->backends[i];
        if (rd_queue_look_backend(jobs->queue, i, ret) && (backend->slots > 0 || ret->taken > 0)) {
            return i;
        }
    }
    return 0;
}

static void write_backend(const struct backend *backend, const struct rd_queue_backend *look,
                          struct rd_buf *json)
{
    rd_buf_str(json, "{\"name\":");
    rd_buf_json_str(json, backend->name);
    rd_buf_printf(json,
                  ",\"slots\":%" PRIu32 ",\"taken\":%" PRIu32 ",\"weight\":%" PRIu32
                  ",\"ready\":%s,\"quarantined\":%s",
                  backend->slots, look->taken,
                  backend->weight != 0 ? backend->weight : backend->slots,
                  backend->ready ? "true" : "false", look->quarantined ? "true" : "false");
    rd_buf_printf(json,
                  ",\"breaker\":{\"state\":\"%s\",\"requests\":%" PRIu32 ",\"failures\":%" PRIu32,
                  states[look->breaker], look->requests, look->failures);
    rd_jobs_write_seconds(json, "retry_after_seconds", look->retry_ns);
    rd_buf_str(json, "}}");
}

void rd_jobs_backends_json(struct rd_jobs *jobs, struct rd_buf *json)
{
    struct rd_queue_backend look;
    rd_buf_char(json, '[');
    rd_jobs_lock(jobs);
    const char *comma = "";
    for (uint32_t i = next_backend(jobs, 1, &look); i != 0; i = next_backend(jobs, i + 1, &look)) {
        rd_buf_str(json, comma);
        write_backend(&jobs->backends[i], &look, json);
        comma = ",";
    }
    rd_jobs_leave(jobs);
    rd_buf_char(json, ']');
}

static uint32_t measure_slots(const struct backend *backend, const struct rd_queue_backend *look)
{
    (void)look;
    return backend->slots;
}

static uint32_t measure_taken(const struct backend *backend, const struct rd_queue_backend *look)
{
    (void)backend;
    return look->taken;
}

static uint32_t measure_ready(const struct backend *backend, const struct rd_queue_backend *look)
{
    (void)look;
    return backend->ready ? 1 : 0;
}

static uint32_t measure_breaker(const struct backend *backend, const struct rd_queue_backend *look)
{
    (void)backend;
    return (uint32_t)look->breaker;
}

static uint32_t measure_quarantined(const struct backend *backend,
                                    const struct rd_queue_backend *look)
{
    (void)backend;
    return look->quarantined ? 1 : 0;
}

void rd_jobs_backends_metrics(struct rd_jobs *jobs, struct rd_buf *text)
{
    static const struct {
        const char *name, *help;
        uint32_t (*measure)(const struct backend *backend, const struct rd_queue_backend *look);
    } gauges[] = {
        {"render_backend_slots", "Slots of the backend.", measure_slots},
        {"render_backend_slots_taken", "Slots of the backend that are taken.", measure_taken},
        {"render_backend_ready", "1: the backend would take work.", measure_ready},
        {"render_backend_breaker_state", "Its circuit breaker: 0 closed, 1 open, 2 half open.",
         measure_breaker},
        {"render_backend_quarantined", "1: it has not ended a run that it was told to stop.",
         measure_quarantined},
    };
    struct rd_queue_backend look;
    for (size_t g = 0; g < sizeof gauges / sizeof gauges[0]; g++) {
        rd_buf_printf(text, "# HELP %s %s\n# TYPE %s gauge\n", gauges[g].name, gauges[g].help,
                      gauges[g].name);
        for (uint32_t i = next_backend(jobs, 1, &look); i != 0;
             i = next_backend(jobs, i + 1, &look)) {
            rd_buf_printf(text, "%s{backend=\"%s\"} %" PRIu32 "\n", gauges[g].name,
                          jobs->backends[i].name, gauges[g].measure(&jobs->backends[i], &look));
        }
    }
}
