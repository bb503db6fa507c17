/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters and histograms, and their Prometheus text. Updating is a few atomic additions; nothing
 * is allocated and no label comes from a client. */
#ifndef RD_GATEWAY_METRICS_H
#define RD_GATEWAY_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"

enum { RD_METRICS_ROUTES_MAX = 40, RD_METRICS_BUCKETS = 12 };

struct rd_metrics_histogram {
    _Atomic uint64_t buckets[RD_METRICS_BUCKETS + 1]; /* the last one is +Inf */
    _Atomic uint64_t sum_us;
};

struct rd_metrics {
    uint64_t started_ms;
    _Atomic uint64_t requests[RD_METRICS_ROUTES_MAX][6]; /* [route][status / 100] */
    struct rd_metrics_histogram latency[RD_METRICS_ROUTES_MAX];
    struct rd_metrics_histogram added; /* gateway's own share of a generation: total less engine */
    _Atomic uint64_t generations_ok, generations_failed, generations_cancelled;
    _Atomic uint64_t device_ns;    /* what engines reported */
    _Atomic uint64_t output_bytes; /* stored by generations */
    _Atomic uint64_t reloads_ok, reloads_failed;
};

void rd_metrics_observe(struct rd_metrics_histogram *histogram, uint64_t ns);
void rd_metrics_request(struct rd_metrics *metrics, unsigned route, int status, uint64_t ns);
/* Lines of one metric: "# HELP", "# TYPE", and the value. For gauges that others keep. */
void rd_metrics_line(struct rd_buf *out, const char *name, const char *type, const char *help,
                     double value);
/* Everything above, with the names of the routes in order (NULL-terminated). */
void rd_metrics_write(const struct rd_metrics *metrics, const char *const *route_names,
                      struct rd_buf *out);

#endif
