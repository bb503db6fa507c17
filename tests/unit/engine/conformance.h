/* SPDX-License-Identifier: Apache-2.0
 *
 * The conformance suite of src/engine/engine.h: every MUST and MUST NOT of it, run against one
 * implementation. A test program gives a table of functions, a configuration and two generations,
 * and lists RD_CONFORMANCE_TESTS(&given) among its cmocka tests. */
#ifndef RD_TESTS_ENGINE_CONFORMANCE_H
#define RD_TESTS_ENGINE_CONFORMANCE_H

#include "engine/engine.h"

/* A request that the backend answers badly. The engine must end it with `err`, and be as good as
 * before for the next one. */
struct rd_conformance_failure {
    const char *name;
    const struct rd_generation *generation; /* count is 2 */
    rd_err err;
    bool final, faultless; /* as the report must say */
};

struct rd_conformance {
    const struct rd_engine_ops *ops;
    struct rd_engine_config config; /* at least 4 slots */
    const struct rd_generation
        *quick;                       /* is done in a few milliseconds; count is set by the suite */
    const struct rd_generation *slow; /* takes many seconds unless it is stopped */
    unsigned stop_ms;                 /* a cancelled or overdue run must be done after this long */
    unsigned races;                   /* how many start/cancel races to run */

    /* Of an engine with a backend. */
    const struct rd_conformance_failure *failures;
    size_t failures_count;
    void (*server)(void *ctx, bool up); /* takes the backend away, brings it back */
    void *server_ctx;
    /* Optional. */
    unsigned notice_ms; /* health() must notice either within this; 0: 2000 */
    unsigned wait_ms;   /* a run without done() after this hangs; 0: 20000 */
};

void rd_conformance_one(void **state);         /* one run, in order, the right medium */
void rd_conformance_counts(void **state);      /* count 1 to 4; successive seeds differ */
void rd_conformance_same(void **state);        /* optional sink functions absent; run after run */
void rd_conformance_all_slots(void **state);   /* config.slots runs at once */
void rd_conformance_sink_errors(void **state); /* begin, data, end fail: passed on, nothing after */
void rd_conformance_cancel_inside(void **state); /* cancel() from each sink function */
void rd_conformance_cancel_slow(void **state);   /* cancel at once, later, twice */
void rd_conformance_deadline(void **state);      /* ahead, in the past */
void rd_conformance_close(void **state);         /* with nothing, and with runs in flight */
void rd_conformance_races(void **state);         /* threads that start and cancel */
void rd_conformance_ready(void **state);         /* ready when idle, also after failures */
void rd_conformance_capabilities(void **state);  /* constant; what is told is what runs do */
void rd_conformance_failures(void **state);      /* each of `failures`, then a good run */
void rd_conformance_server(void **state);        /* the backend goes away and returns */

/* For an engine that has no backend outside of this process. */
#define RD_CONFORMANCE_LOCAL_TESTS(given)                                                          \
    cmocka_unit_test_prestate(rd_conformance_one, given),                                          \
        cmocka_unit_test_prestate(rd_conformance_counts, given),                                   \
        cmocka_unit_test_prestate(rd_conformance_same, given),                                     \
        cmocka_unit_test_prestate(rd_conformance_all_slots, given),                                \
        cmocka_unit_test_prestate(rd_conformance_sink_errors, given),                              \
        cmocka_unit_test_prestate(rd_conformance_cancel_inside, given),                            \
        cmocka_unit_test_prestate(rd_conformance_cancel_slow, given),                              \
        cmocka_unit_test_prestate(rd_conformance_deadline, given),                                 \
        cmocka_unit_test_prestate(rd_conformance_close, given),                                    \
        cmocka_unit_test_prestate(rd_conformance_races, given),                                    \
        cmocka_unit_test_prestate(rd_conformance_ready, given),                                    \
        cmocka_unit_test_prestate(rd_conformance_capabilities, given)
/* For the others: `failures` and `server` must be given. */
#define RD_CONFORMANCE_TESTS(given)                                                                \
    RD_CONFORMANCE_LOCAL_TESTS(given), cmocka_unit_test_prestate(rd_conformance_failures, given),  \
        cmocka_unit_test_prestate(rd_conformance_server, given)

#endif
