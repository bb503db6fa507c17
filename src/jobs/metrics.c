/* SPDX-License-Identifier: Apache-2.0
 *
 * What Prometheus is told of the queue. Labels are models of the catalogue and words of tables,
 * never what a client sent. */
#include <inttypes.h>

#include "jobs/internal.h"

static const double bounds_s[BUCKETS] = {0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800};
static const char *const lanes[RD_LANE_COUNT_] = {"high", "normal", "low"};

void rd_jobs_observe(struct histogram *histogram, uint64_t ns)
{
    double seconds = (double)ns / 1e9;
    unsigned i = 0;
    while (i < BUCKETS && seconds > bounds_s[i]) {
        i++;
    }
    histogram->buckets[i]++;
    histogram->sum_us += ns / 1000;
}

static void head(struct rd_buf *text, const char *name, const char *type, const char *help)
{
    rd_buf_printf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void histogram(struct rd_buf *text, const char *name, const char *labels,
                      const struct histogram *histogram)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        sum += histogram->buckets[i];
        rd_buf_printf(text, "%s_bucket{%s,le=\"%g\"} %" PRIu64 "\n", name, labels, bounds_s[i],
                      sum);
    }
    sum += histogram->buckets[BUCKETS];
    rd_buf_printf(text, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, labels, sum);
    rd_buf_printf(text, "%s_sum{%s} %.6f\n%s_count{%s} %" PRIu64 "\n", name, labels,
                  (double)histogram->sum_us / 1e6, name, labels, sum);
}

static bool used(const struct histogram *histogram)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i <= BUCKETS; i++) {
        sum += histogram->buckets[i];
    }
    return sum > 0;
}

/* One metric for every class and lane that has seen a job. */
static void classes(const struct rd_jobs *jobs, struct rd_buf *text, const char *name,
                    const char *help, bool wait)
{
    head(text, name, "histogram", help);
    for (uint32_t c = 1; c <= jobs->classes_count; c++) {
        for (unsigned lane = 0; lane < RD_LANE_COUNT_; lane++) {
            const struct class_ *class_ = &jobs->classes[c];
            const struct histogram *of = wait ? &class_->wait[lane] : &class_->run[lane];
            if (!used(of)) {
                continue;
            }
            RD_AUTO_BUF struct rd_buf labels;
            rd_buf_init(&labels, 512);
            rd_buf_printf(&labels, "model=\"%s\",kind=\"%d\",task=\"%s\",media=\"%s\",lane=\"%s\"",
                          class_->model, class_->kind, rd_task_name(class_->task),
                          rd_media_extension(class_->media), lanes[lane]);
            histogram(text, name, rd_buf_cstr(&labels), of);
        }
    }
}

void rd_jobs_metrics(struct rd_jobs *jobs, struct rd_buf *text)
{
    static const char *const refusals[RD_ADMIT_COUNT_] = {
        "",           "rate",      "concurrency", "depth",     "lane",   "full",
        "no_backend", "not_ready", "no_slot",     "no_memory", "stopped"};
    static const char *const ends[] = {"complete", "error", "cancelled", "expired", "lost"};
    struct rd_queue_counts counts;
    rd_jobs_lock(jobs);
    rd_queue_counts(jobs->queue, &counts);
    head(text, "render_queue_depth", "gauge", "Jobs that wait, by lane.");
    for (unsigned i = 0; i < RD_LANE_COUNT_; i++) {
        rd_buf_printf(text, "render_queue_depth{lane=\"%s\"} %" PRIu32 "\n", lanes[i],
                      counts.queued[i]);
    }
    head(text, "render_slots_taken", "gauge", "Slots of backends that are taken.");
    rd_buf_printf(text, "render_slots_taken %" PRIu32 "\n", counts.running);
    head(text, "render_slots", "gauge", "Slots of the backends that are ready.");
    rd_buf_printf(text, "render_slots %" PRIu32 "\n", counts.capacity);
    head(text, "render_jobs_accepted_total", "counter", "Jobs that were made durable.");
    rd_buf_printf(text, "render_jobs_accepted_total %" PRIu64 "\n", jobs->accepted);
    head(text, "render_jobs_ended_total", "counter", "Jobs that have ended, by how.");
    for (unsigned i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        rd_buf_printf(text, "render_jobs_ended_total{end=\"%s\"} %" PRIu64 "\n", ends[i],
                      jobs->ended[i]);
    }
    head(text, "render_refused_total", "counter", "Requests that limits or capacity refused.");
    for (unsigned i = 1; i < sizeof refusals / sizeof refusals[0]; i++) {
        rd_buf_printf(text, "render_refused_total{reason=\"%s\"} %" PRIu64 "\n", refusals[i],
                      jobs->refused[i]);
    }
    head(text, "render_leases_lost_total", "counter", "Runs that gave no sign of life in time.");
    rd_buf_printf(text, "render_leases_lost_total %" PRIu64 "\n", jobs->leases_lost);
    rd_jobs_backends_metrics(jobs, text);
    head(text, "render_event_watchers", "gauge", "Event streams and subscriptions that are open.");
    rd_buf_printf(text, "render_event_watchers %zu\n", jobs->watches_count);
    classes(jobs, text, "render_job_wait_seconds", "From acceptance to each start.", true);
    classes(jobs, text, "render_job_run_seconds", "From the last start to the end.", false);
    rd_jobs_leave(jobs);
}
