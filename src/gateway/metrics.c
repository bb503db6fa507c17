/* SPDX-License-Identifier: Apache-2.0
 *
 * Prometheus text format 0.0.4. See metrics.h. */
#include "gateway/metrics.h"

static const double bounds_ms[RD_METRICS_BUCKETS] = {0.1, 0.25, 0.5, 1,    2.5,  5,
                                                     10,  50,   250, 1000, 5000, 30000};

void rd_metrics_observe(struct rd_metrics_histogram *histogram, uint64_t ns)
{
    unsigned i = 0;
    while (i < RD_METRICS_BUCKETS && (double)ns > bounds_ms[i] * 1e6) {
        i++;
    }
    atomic_fetch_add_explicit(&histogram->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_us, ns / 1000, memory_order_relaxed);
}

void rd_metrics_request(struct rd_metrics *metrics, unsigned route, int status, uint64_t ns)
{
    unsigned class = status < 100 || status > 599 ? 0 : (unsigned)status / 100;
    atomic_fetch_add_explicit(&metrics->requests[route][class], 1, memory_order_relaxed);
    rd_metrics_observe(&metrics->latency[route], ns);
}

void rd_metrics_line(struct rd_buf *out, const char *name, const char *type, const char *help,
                     double value)
{
    rd_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s ", name, help, name, type, name);
    rd_buf_json_number(out, value);
    rd_buf_char(out, '\n');
}

static void write_histogram(const struct rd_metrics_histogram *histogram, const char *name,
                            const char *label, struct rd_buf *out)
{
    uint64_t total = 0;
    for (unsigned i = 0; i <= RD_METRICS_BUCKETS; i++) {
        total += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        rd_buf_printf(out, "%s_bucket{%sle=\"", name, label);
        if (i < RD_METRICS_BUCKETS) {
            rd_buf_json_number(out, bounds_ms[i] / 1000);
        } else {
            rd_buf_str(out, "+Inf");
        }
        rd_buf_printf(out, "\"} %llu\n", (unsigned long long)total);
    }
    /* "route=\"x\"," without its comma stands alone in _sum and _count */
    int bare = 0;
    while (label[bare] != '\0' && label[bare + 1] != '\0') {
        bare++;
    }
    const char *open = bare > 0 ? "{" : "";
    const char *close = bare > 0 ? "}" : "";
    rd_buf_printf(out, "%s_sum%s%.*s%s ", name, open, bare, label, close);
    rd_buf_json_number(out, (double)atomic_load_explicit(&histogram->sum_us, memory_order_relaxed) /
                                1e6);
    rd_buf_printf(out, "\n%s_count%s%.*s%s %llu\n", name, open, bare, label, close,
                  (unsigned long long)total);
}

static uint64_t total_of(const struct rd_metrics_histogram *histogram)
{
    uint64_t total = 0;
    for (unsigned i = 0; i <= RD_METRICS_BUCKETS; i++) {
        total += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
    }
    return total;
}

static double count_of(const _Atomic uint64_t *counter)
{
    return (double)atomic_load_explicit(counter, memory_order_relaxed);
}

void rd_metrics_write(const struct rd_metrics *m, const char *const *names, struct rd_buf *out)
{
    rd_buf_str(out, "# HELP render_requests_total answers by route and status class\n"
                    "# TYPE render_requests_total counter\n");
    for (unsigned route = 0; names[route] != NULL; route++) {
        for (unsigned class = 0; class < 6; class ++) {
            uint64_t value = atomic_load_explicit(&m->requests[route][class], memory_order_relaxed);
            if (value > 0) {
                rd_buf_printf(out, "render_requests_total{route=\"%s\",status=\"%uxx\"} %llu\n",
                              names[route], class, (unsigned long long)value);
            }
        }
    }
    rd_buf_str(out, "# HELP render_request_seconds from the request line to the last byte\n"
                    "# TYPE render_request_seconds histogram\n");
    for (unsigned route = 0; names[route] != NULL; route++) {
        char label[64];
        RD_AUTO_BUF struct rd_buf text;
        rd_buf_init(&text, sizeof label);
        rd_buf_printf(&text, "route=\"%s\",", names[route]);
        if (total_of(&m->latency[route]) > 0) {
            write_histogram(&m->latency[route], "render_request_seconds", rd_buf_cstr(&text), out);
        }
    }
    rd_buf_str(out, "# HELP render_gateway_added_seconds a generation's time outside its engine\n"
                    "# TYPE render_gateway_added_seconds histogram\n");
    write_histogram(&m->added, "render_gateway_added_seconds", "", out);
    const struct {
        const char *name, *help;
        double value;
    } counters[] = {
        {"render_generations_ok_total", "generations that ended well",
         count_of(&m->generations_ok)},
        {"render_generations_failed_total", "generations that an engine or the store failed",
         count_of(&m->generations_failed)},
        {"render_generations_cancelled_total", "generations whose client left",
         count_of(&m->generations_cancelled)},
        {"render_device_seconds_total", "device time that engines reported",
         count_of(&m->device_ns) / 1e9},
        {"render_output_bytes_total", "bytes stored by generations", count_of(&m->output_bytes)},
        {"render_reloads_total", "configurations loaded", count_of(&m->reloads_ok)},
        {"render_reload_failures_total", "configurations refused", count_of(&m->reloads_failed)},
    };
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        rd_metrics_line(out, counters[i].name, "counter", counters[i].help, counters[i].value);
    }
}
