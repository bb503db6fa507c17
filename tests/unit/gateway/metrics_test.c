/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics.c: the text is read back by a strict reader of Prometheus' format, so that a comma in the
 * wrong place fails here and not in somebody's monitoring. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "gateway/metrics.h"

static const char *const routes[] = {"first", "second", "never", NULL};

static struct rd_metrics *new_metrics(void)
{
    struct rd_metrics *metrics = rd_mem_alloc(sizeof *metrics);
    assert_non_null(metrics);
    return metrics;
}

static size_t name_len(const char *p)
{
    return strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:");
}

/* Reads `{a="b",...}`; returns what is behind it. Fails the test when it is not that. */
static const char *read_labels(const char *p, const char *line)
{
    if (*p != '{') {
        return p;
    }
    do {
        p++;
        size_t len = name_len(p);
        if (len == 0 || p[len] != '=' || p[len + 1] != '"') {
            fail_msg("bad label: %.80s", line);
        }
        p += len + 2;
        p += strcspn(p, "\"\\\n");
        if (*p != '"') {
            fail_msg("bad label value: %.80s", line);
        }
        p++;
    } while (*p == ',');
    if (*p != '}') {
        fail_msg("labels do not end: %.80s", line);
    }
    return p + 1;
}

/* Checks every line; returns the value of the sample whose name and labels are exactly `key`, or
 * NAN. */
static double sample(const struct rd_buf *text, const char *key)
{
    double found = NAN;
    const char *line = rd_buf_cstr(text);
    while (*line != '\0') {
        size_t len = strcspn(line, "\n");
        assert_int_equal(line[len], '\n');
        if (strncmp(line, "# HELP ", 7) == 0 || strncmp(line, "# TYPE ", 7) == 0) {
            assert_true(name_len(line + 7) > 0);
        } else {
            size_t name = name_len(line);
            assert_true(name > 0);
            const char *value = read_labels(line + name, line);
            char *end = NULL;
            assert_int_equal(*value, ' ');
            double number = strtod(value + 1, &end);
            if (end != line + len || end == value + 1) {
                fail_msg("bad value: %.80s", line);
            }
            if ((size_t)(value - line) == strlen(key) && strncmp(line, key, strlen(key)) == 0) {
                assert_true(isnan(found)); /* no sample twice */
                found = number;
            }
        }
        line += len + 1;
    }
    return found;
}

static void expect(const struct rd_buf *text, const char *key, double want)
{
    double got = sample(text, key);
    if (!(fabs(got - want) < 1e-9)) {
        fail_msg("%s is %g, not %g", key, got, want);
    }
}

static void nothing_happened_yet(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 1 << 20);
    struct rd_metrics *metrics = new_metrics();
    rd_metrics_write(metrics, routes, &text);
    assert_int_equal(rd_buf_err(&text), RD_OK);
    expect(&text, "render_generations_ok_total", 0);
    expect(&text, "render_gateway_added_seconds_count", 0);
    expect(&text, "render_gateway_added_seconds_bucket{le=\"+Inf\"}", 0);
    assert_null(strstr(text.data, "route="));
    rd_mem_free(metrics);
}

static void requests_are_counted_by_route_and_class(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *key;
    } cases[] = {
        {200, "render_requests_total{route=\"second\",status=\"2xx\"}"},
        {206, "render_requests_total{route=\"second\",status=\"2xx\"}"},
        {304, "render_requests_total{route=\"second\",status=\"3xx\"}"},
        {404, "render_requests_total{route=\"second\",status=\"4xx\"}"},
        {507, "render_requests_total{route=\"second\",status=\"5xx\"}"},
        {599, "render_requests_total{route=\"second\",status=\"5xx\"}"},
        {0, "render_requests_total{route=\"second\",status=\"0xx\"}"}, /* the client left */
        {600, "render_requests_total{route=\"second\",status=\"0xx\"}"},
        {-1, "render_requests_total{route=\"second\",status=\"0xx\"}"},
    };
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 1 << 20);
    struct rd_metrics *metrics = new_metrics();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rd_buf_reset(&text);
        rd_metrics_write(metrics, routes, &text);
        double before = sample(&text, cases[i].key);
        rd_metrics_request(metrics, 1, cases[i].status, 2000000);
        rd_buf_reset(&text);
        rd_metrics_write(metrics, routes, &text);
        expect(&text, cases[i].key, isnan(before) ? 1 : before + 1);
    }
    expect(&text, "render_request_seconds_count{route=\"second\"}", 9);
    expect(&text, "render_request_seconds_sum{route=\"second\"}", 9 * 0.002);
    assert_null(strstr(text.data, "route=\"first\""));
    assert_null(strstr(text.data, "route=\"never\""));
    rd_mem_free(metrics);
}

static void a_request_faster_than_a_microsecond_is_seen(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 1 << 20);
    struct rd_metrics *metrics = new_metrics();
    rd_metrics_request(metrics, 0, 200, 999);
    rd_metrics_write(metrics, routes, &text);
    expect(&text, "render_request_seconds_count{route=\"first\"}", 1);
    rd_mem_free(metrics);
}

/* A value on a bound belongs to its bucket; one more does not; each bucket holds those below it. */
static void buckets_at_their_bounds(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        const char *le;
    } bounds[] = {
        {100000, "0.0001"},  {250000, "0.00025"}, {500000, "0.0005"}, {1000000, "0.001"},
        {2500000, "0.0025"}, {5000000, "0.005"},  {10000000, "0.01"}, {50000000, "0.05"},
        {250000000, "0.25"}, {1000000000, "1"},   {5000000000, "5"},  {30000000000, "30"},
    };
    enum { BOUNDS = sizeof bounds / sizeof bounds[0] };
    _Static_assert((int)BOUNDS == (int)RD_METRICS_BUCKETS, "every bucket is tested");
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 1 << 20);
    struct rd_metrics *metrics = new_metrics();
    for (size_t i = 0; i < BOUNDS; i++) {
        rd_metrics_observe(&metrics->added, bounds[i].ns);
        rd_metrics_observe(&metrics->added, bounds[i].ns + 1);
    }
    rd_metrics_write(metrics, routes, &text);
    for (size_t i = 0; i < BOUNDS; i++) {
        char key[80];
        (void)snprintf(key, sizeof key, "render_gateway_added_seconds_bucket{le=\"%s\"}",
                       bounds[i].le);
        expect(&text, key, (double)(2 * i + 1));
    }
    expect(&text, "render_gateway_added_seconds_bucket{le=\"+Inf\"}", 2 * BOUNDS);
    expect(&text, "render_gateway_added_seconds_count", 2 * BOUNDS);
    rd_mem_free(metrics);
}

static void counters_reach_the_text(void **state)
{
    (void)state;
    RD_AUTO_BUF struct rd_buf text;
    rd_buf_init(&text, 1 << 20);
    struct rd_metrics *metrics = new_metrics();
    atomic_store(&metrics->generations_ok, 1);
    atomic_store(&metrics->generations_failed, 2);
    atomic_store(&metrics->generations_cancelled, 3);
    atomic_store(&metrics->device_ns, 6500000000);
    atomic_store(&metrics->output_bytes, (uint64_t)7 << 40);
    atomic_store(&metrics->reloads_ok, 8);
    atomic_store(&metrics->reloads_failed, 9);
    rd_metrics_write(metrics, routes, &text);
    expect(&text, "render_generations_ok_total", 1);
    expect(&text, "render_generations_failed_total", 2);
    expect(&text, "render_generations_cancelled_total", 3);
    expect(&text, "render_device_seconds_total", 6.5);
    expect(&text, "render_output_bytes_total", 7.0 * 1099511627776.0);
    expect(&text, "render_reloads_total", 8);
    expect(&text, "render_reload_failures_total", 9);
    rd_metrics_line(&text, "render_gauge", "gauge", "what others keep", 0.25);
    expect(&text, "render_gauge", 0.25);
    rd_mem_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_happened_yet),
        cmocka_unit_test(requests_are_counted_by_route_and_class),
        cmocka_unit_test(a_request_faster_than_a_microsecond_is_seen),
        cmocka_unit_test(buckets_at_their_bounds),
        cmocka_unit_test(counters_reach_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
