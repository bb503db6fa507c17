/* SPDX-License-Identifier: Apache-2.0
 *
 * Triton over gRPC: connections, cancels, servers that are not there or speak something else,
 * health that follows the server, TLS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "engine/triton/grpc_internal.h"
#include "grpc_fixture.h"

/* Waits until the engine is ready, or not; then why. */
static void wait_health(struct rd_engine *engine, bool ready, unsigned ms,
                        struct rd_engine_health *ret)
{
    uint64_t from = rd_clock_mono_ns();
    for (;;) {
        rd_engine_triton_grpc_ops.health(engine, ret);
        assert_int_equal(ret->ready, ret->why[0] == '\0');
        if (ret->ready == ready) {
            return;
        }
        if (rd_clock_mono_ns() - from > (uint64_t)ms * 1000000) {
            fail_msg("after %u ms: ready %d '%s'", ms, ret->ready, ret->why);
        }
        (void)usleep(2000);
    }
}

/* ---- connections ---- */

/* The server hears of a cancel, at once, and the other streams of the connection go on. */
static void test_cancel_resets_one_stream(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine *engine = open_config(&config);
    struct rd_generation waiting = slow;
    struct recorder recorders[3];
    for (unsigned i = 0; i < 3; i++) {
        recorder_init(&recorders[i]);
        waiting.prompt = "slow-body";
        assert_int_equal(
            recorder_start(&recorders[i], &rd_engine_triton_grpc_ops, engine, &waiting, 1), RD_OK);
        assert_true(recorder_wait_begun(&recorders[i], WAIT_MS));
    }
    recorder_cancel(&recorders[1]);
    assert_true(recorder_wait(&recorders[1], WAIT_MS));
    assert_int_equal(recorders[1].err, RD_ERR_CANCELLED);
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    assert_int_equal(sem_timedwait(&grpc_backend.reset, &until), 0);
    assert_int_equal(atomic_load(&grpc_backend.resets), 1);
    assert_int_equal(recorders[0].done + recorders[2].done, 0);
    struct recorder other;
    run_on(engine, "quick", 1, &other);
    assert_int_equal(other.err, RD_OK);
    recorder_done(&other);
    assert_int_equal(atomic_load(&grpc_backend.connections), 2); /* one is the prober's */
    rd_engine_triton_grpc_ops.close(engine);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(recorders[i].err, RD_ERR_CANCELLED);
        recorder_done(&recorders[i]);
    }
}

static void test_second_connection_when_full(void **state)
{
    (void)state;
    atomic_store(&grpc_backend.streams_max, 2);
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine *engine = open_config(&config);
    struct recorder recorders[5];
    struct rd_generation waiting = slow;
    waiting.prompt = "slow-body";
    for (unsigned i = 0; i < 5; i++) {
        recorder_init(&recorders[i]);
        assert_int_equal(
            recorder_start(&recorders[i], &rd_engine_triton_grpc_ops, engine, &waiting, 1), RD_OK);
    }
    for (unsigned i = 0; i < 5; i++) {
        assert_true(recorder_wait_begun(&recorders[i], WAIT_MS));
    }
    assert_int_equal(atomic_load(&grpc_backend.connections), 1 + 3);
    rd_engine_triton_grpc_ops.close(engine);
    for (unsigned i = 0; i < 5; i++) {
        recorder_done(&recorders[i]);
    }
}

/* What the server says that it has not looked at is sent again. */
static void test_unseen_is_repeated(void **state)
{
    (void)state;
    static const struct {
        const char *prompt;
        unsigned connections; /* with the prober's */
        unsigned infers;
    } cases[] = {{"refuse-5", 2, 6}, {"goaway-1", 3, 2}};
    for (size_t i = 0; i < 2; i++) {
        grpc_backend_reset();
        struct rd_engine_config config = CONFIG(unary_list);
        struct rd_engine *engine = open_config(&config);
        struct recorder recorder;
        run_on(engine, cases[i].prompt, 1, &recorder);
        assert_int_equal(recorder.err, RD_OK);
        recorder_done(&recorder);
        assert_int_equal(atomic_load(&grpc_backend.infers), cases[i].infers);
        struct rd_engine_health health;
        wait_health(engine, true, WAIT_MS, &health);
        assert_int_equal(atomic_load(&grpc_backend.connections), cases[i].connections);
        rd_engine_triton_grpc_ops.close(engine);
    }
}

static void test_connections_are_kept(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine *engine = open_config(&config);
    for (unsigned i = 0; i < 10; i++) {
        struct recorder recorder;
        run_on(engine, "quick", 4, &recorder);
        assert_int_equal(recorder.err, RD_OK);
        recorder_done(&recorder);
    }
    struct rd_engine_health health;
    wait_health(engine, true, WAIT_MS, &health);
    assert_int_equal(atomic_load(&grpc_backend.connections), 2);
    rd_engine_triton_grpc_ops.close(engine);
}

static void test_capacity(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG(unary_list);
    config.slots = 2;
    struct rd_engine *engine = open_config(&config);
    struct recorder recorders[3];
    for (unsigned i = 0; i < 3; i++) {
        recorder_init(&recorders[i]);
        assert_int_equal(
            recorder_start(&recorders[i], &rd_engine_triton_grpc_ops, engine, &slow, 1),
            i < 2 ? RD_OK : RD_ERR_CAPACITY);
    }
    recorder_cancel(&recorders[0]);
    assert_true(recorder_wait(&recorders[0], WAIT_MS));
    assert_int_equal(recorder_start(&recorders[2], &rd_engine_triton_grpc_ops, engine, &slow, 1),
                     RD_OK);
    struct rd_generation other = quick;
    other.model = "unknown";
    struct recorder none;
    recorder_init(&none);
    assert_int_equal(recorder_start(&none, &rd_engine_triton_grpc_ops, engine, &other, 1),
                     RD_ERR_MODEL_UNAVAILABLE);
    recorder_done(&none);
    rd_engine_triton_grpc_ops.close(engine);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(recorders[i].done, 1);
        recorder_done(&recorders[i]);
    }
}

/* gRPC servers hang up on the third PING within five minutes of silence. */
static void test_keep_alive(void **state)
{
    (void)state;
    const uint64_t second = 1000000000, from = 1000 * second;
    struct rd_grpc_connection connection = {.state = RD_GRPC_OPEN, .fd = -1, .heard_ns = 1};
    struct rd_grpc_call call = {.sent_ns = from};
    nghttp2_session_callbacks *callbacks;
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    assert_int_equal(nghttp2_session_client_new(&connection.session, callbacks, NULL), 0);
    assert_true(rd_grpc_connection_timer(&connection, from) == UINT64_MAX); /* nothing is open */
    rd_grpc_list_push(&connection.calls, &call);
    connection.calls_count = 1;
    uint64_t at = from;
    static const unsigned waits[] = {30, 30, 310, 310};
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        assert_int_equal(rd_grpc_connection_timer(&connection, at), at + waits[i] * second);
        at += waits[i] * second;
        assert_int_equal(connection.pings, i);
        assert_int_equal(rd_grpc_connection_timer(&connection, at), at + 20 * second);
        assert_int_equal(connection.pings, i + 1);
        connection.heard_ns = ++at; /* the answer to it */
        connection.ping_ns = 0;
    }
    connection.pings = 0; /* headers came */
    at += 30 * second;
    assert_int_equal(rd_grpc_connection_timer(&connection, at), at + 20 * second);
    assert_int_equal(rd_grpc_connection_timer(&connection, at + 20 * second - 1), at + 20 * second);
    assert_false(connection.broken);
    assert_int_equal(rd_grpc_connection_timer(&connection, at + 20 * second), at + 20 * second);
    assert_true(connection.broken);
    assert_non_null(strstr(connection.why.text, "does not answer a PING"));
    nghttp2_session_del(connection.session);
    nghttp2_session_callbacks_del(callbacks);
}

/* ---- no server, or none that speaks gRPC ---- */

static void test_unreachable(void **state)
{
    (void)state;
    static const struct {
        const char *url, *why;
    } cases[] = {
        {"grpc://127.0.0.1:1", "cannot connect to 127.0.0.1:1"},
        {"grpc://[::1]:1", "cannot connect to [::1]:1"},
        {"grpc://name.invalid", "name.invalid does not resolve"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_engine_config config = CONFIG(unary_list);
        config.url = cases[i].url;
        struct rd_engine *engine = open_config(&config);
        struct recorder recorder;
        struct rd_engine_health health;
        run_on(engine, "quick", 2, &recorder);
        assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
        if (strstr(recorder.why.text, cases[i].why) == NULL) {
            fail_msg("%s: %s", cases[i].url, recorder.why.text);
        }
        assert_false(recorder.report.final || recorder.report.faultless);
        assert_int_equal(recorder.report.source, RD_DEVICE_TIME_UNKNOWN); /* nothing was asked */
        assert_int_equal(recorder.report.device_ns, 0);
        recorder_done(&recorder);
        rd_engine_triton_grpc_ops.health(engine, &health); /* at once */
        assert_false(health.ready);
        assert_non_null(strstr(health.why, cases[i].why));
        rd_engine_triton_grpc_ops.close(engine);
    }
}

static void test_not_http2(void **state)
{
    (void)state;
    atomic_store(&grpc_backend.plain, true);
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine *engine = open_config(&config);
    struct recorder recorder;
    run_on(engine, "quick", 1, &recorder);
    assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
    assert_non_null(strstr(recorder.why.text, "does not speak HTTP/2"));
    recorder_done(&recorder);
    rd_engine_triton_grpc_ops.close(engine);

    grpc_backend_reset();
    atomic_store(&grpc_backend.mute, true);
    engine = open_config(&config);
    struct rd_engine_health health;
    uint64_t until = rd_clock_mono_ns() + (uint64_t)5 * 1000000000;
    do {
        (void)usleep(5000);
        rd_engine_triton_grpc_ops.health(engine, &health);
    } while (strstr(health.why, "no HTTP/2 from it") == NULL && rd_clock_mono_ns() < until);
    assert_non_null(strstr(health.why, "took too long: no HTTP/2 from it"));
    rd_engine_triton_grpc_ops.close(engine);
}

static void test_config_refused(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        unsigned slots, timeout_ms;
        const char *key, *ca, *why;
    } cases[] = {
        {NULL, 1, 0, NULL, NULL, "needs a url"},
        {"http://x", 1, 0, NULL, NULL, "not a grpc://"},
        {"grpc://", 1, 0, NULL, NULL, "HOST"},
        {"grpc://x:0", 1, 0, NULL, NULL, "HOST:PORT"},
        {"grpc://x:65536", 1, 0, NULL, NULL, "HOST:PORT"},
        {"grpc://x:1/path", 1, 0, NULL, NULL, "nothing behind"},
        {"grpc://user@x", 1, 0, NULL, NULL, "HOST"},
        {"grpc://[::1", 1, 0, NULL, NULL, "HOST"},
        {"grpc://[::1]x", 1, 0, NULL, NULL, "HOST"},
        {"grpc://x", 0, 0, NULL, NULL, "slots must be 1 to 1024, not 0"},
        {"grpc://x", RD_GRPC_SLOTS_MAX + 1, 0, NULL, NULL, "slots"},
        {"grpc://x", 1, RD_GRPC_TIMEOUT_MS_MAX + 1, NULL, NULL, "timeout"},
        {"grpc://x", 1, 0, "/nonexistent", NULL, "cannot read the key in /nonexistent"},
        {"grpc://x", 1, 0, "/dev/null", NULL, "no key"},
        {"grpcs://x", 1, 0, NULL, "/dev/null", "cannot read the certificates of /dev/null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rd_engine_config config = CONFIG(unary_list);
        struct rd_engine *engine = NULL;
        struct rd_why why = {""};
        config.url = cases[i].url;
        config.slots = cases[i].slots;
        config.timeout_ms = cases[i].timeout_ms;
        config.key_file = cases[i].key;
        config.ca_file = cases[i].ca;
        assert_int_equal(rd_engine_triton_grpc_ops.open(&config, &engine, &why), RD_ERR_CONFIG);
        assert_null(engine);
        if (strstr(why.text, cases[i].why) == NULL || strstr(why.text, "backend test") == NULL) {
            fail_msg("%zu: %s", i, why.text);
        }
    }
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine *engine = NULL;
    struct rd_why why = {""};
    config.mappings_count = 0;
    assert_int_equal(rd_engine_triton_grpc_ops.open(&config, &engine, &why), RD_ERR_CONFIG);
    assert_non_null(strstr(why.text, "no mapping is for the model fam/mod"));
}

/* ---- health ---- */

static void test_health_follows_the_server(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine *engine = open_config(&config);
    struct rd_engine_health health;
    wait_health(engine, true, WAIT_MS, &health);
    static const struct {
        atomic_bool *flag;
        const char *why;
    } cases[] = {
        {&grpc_backend.model_missing, "ModelReady: the server's model 'painter' is not ready"},
        {&grpc_backend.silent, "no answer within 750 ms"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        atomic_store(cases[i].flag, true);
        wait_health(engine, false, 2000, &health);
        if (strstr(health.why, cases[i].why) == NULL) {
            fail_msg("%s", health.why);
        }
        atomic_store(cases[i].flag, false);
        wait_health(engine, true, 2000, &health);
    }
    rd_engine_triton_grpc_ops.close(engine);
}

static void test_not_live_and_not_ready(void **state)
{
    (void)state;
    atomic_bool *flags[] = {&grpc_backend.not_live, &grpc_backend.not_ready};
    static const char *const whys[] = {"ServerLive: the server says that it is not live",
                                       "ServerReady: the server says that it is not ready"};
    struct rd_engine_config config = CONFIG(unary_list);
    for (size_t i = 0; i < 2; i++) {
        grpc_backend_reset();
        atomic_store(flags[i], true);
        struct rd_engine *engine = open_config(&config);
        struct rd_engine_health health;
        uint64_t until = rd_clock_mono_ns() + (uint64_t)5 * 1000000000;
        do {
            (void)usleep(1000);
            rd_engine_triton_grpc_ops.health(engine, &health);
            assert_false(health.ready);
        } while (strcmp(health.why, whys[i]) != 0 && rd_clock_mono_ns() < until);
        assert_string_equal(health.why, whys[i]);
        rd_engine_triton_grpc_ops.close(engine);
    }
}

/* The server's model is compared with the mapping before it counts as ready; which inputs it cannot
 * do without only Triton's ModelConfig tells. */
static void test_model_is_compared(void **state)
{
    (void)state;
    static const struct {
        atomic_bool *flag;
        const char *why;
    } cases[] = {
        {&grpc_backend.wrong_metadata, "input seed"},
        {&grpc_backend.more_inputs, "steps"},
        {&grpc_backend.decoupled_model, "the model is decoupled; write decoupled: true"},
    };
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine_health health;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        grpc_backend_reset();
        atomic_store(cases[i].flag, true);
        struct rd_engine *engine = open_config(&config);
        uint64_t until = rd_clock_mono_ns() + (uint64_t)5 * 1000000000;
        do {
            (void)usleep(1000);
            rd_engine_triton_grpc_ops.health(engine, &health);
            assert_false(health.ready);
        } while (strstr(health.why, "ModelMetadata") == NULL && rd_clock_mono_ns() < until);
        if (strstr(health.why, cases[i].why) == NULL) {
            fail_msg("%s", health.why);
        }
        atomic_store(cases[i].flag, false);
        wait_health(engine, true, 2000, &health);
        rd_engine_triton_grpc_ops.close(engine);
    }
    atomic_store(&grpc_backend.no_config, true);
    atomic_store(&grpc_backend.more_inputs, true);
    struct rd_engine *engine = open_config(&config);
    wait_health(engine, true, 2000, &health);
    rd_engine_triton_grpc_ops.close(engine);
}

static void test_restart(void **state)
{
    (void)state;
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine *engine = open_config(&config);
    struct rd_engine_health health;
    struct recorder recorder;
    run_on(engine, "quick", 1, &recorder);
    recorder_done(&recorder);
    wait_health(engine, true, WAIT_MS, &health);
    grpc_backend_stop();
    wait_health(engine, false, 2000, &health);
    run_on(engine, "quick", 1, &recorder);
    assert_int_equal(recorder.err, RD_ERR_BACKEND_FAILED);
    assert_false(recorder.report.final);
    recorder_done(&recorder);
    assert_int_equal(grpc_backend_start(port, NULL, NULL), port);
    wait_health(engine, true, 2000, &health);
    run_on(engine, "quick", 1, &recorder);
    assert_int_equal(recorder.err, RD_OK);
    recorder_done(&recorder);
    rd_engine_triton_grpc_ops.close(engine);
}

/* The time in the server's queue is no device time. Statistics are asked for only while runs
 * happen. */
static void test_queue_time(void **state)
{
    (void)state;
    atomic_store(&grpc_backend.queue_ms, 50);
    struct rd_engine_config config = CONFIG(unary_list);
    struct rd_engine *engine = open_config(&config);
    struct rd_engine_health health;
    struct recorder recorder;
    wait_health(engine, true, WAIT_MS, &health);
    assert_int_equal(atomic_load(&grpc_backend.statistics), 0);
    uint64_t until = rd_clock_mono_ns() + (uint64_t)10 * 1000000000;
    while (atomic_load(&grpc_backend.statistics) < 2 && rd_clock_mono_ns() < until) {
        run_on(engine, "quick", 1, &recorder);
        recorder_done(&recorder);
    }
    struct rd_generation waiting = slow;
    recorder_init(&recorder);
    recorder.deadline_mono_ns = rd_clock_mono_ns() + 150000000u;
    assert_int_equal(recorder_start(&recorder, &rd_engine_triton_grpc_ops, engine, &waiting, 1),
                     RD_OK);
    assert_true(recorder_wait(&recorder, WAIT_MS));
    assert_int_equal(recorder.report.source, RD_DEVICE_TIME_MEASURED);
    assert_in_range(recorder.report.device_ns, 50000000, 110000000); /* 150 ms less 50 */
    recorder_done(&recorder);
    rd_engine_triton_grpc_ops.close(engine);
}

/* ---- TLS ---- */

static void make_certificate(const char *certificate_path, const char *key_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    assert_true(key != NULL && x509 != NULL);
    assert_int_equal(X509_set_version(x509, 2), 1);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(x509), -60);
    (void)X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    (void)X509_set_pubkey(x509, key);
    X509_NAME *name = X509_get_subject_name(x509);
    (void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"test", -1, -1, 0);
    (void)X509_set_issuer_name(x509, name);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    assert_non_null(names);
    (void)X509_add_ext(x509, names, -1);
    X509_EXTENSION_free(names);
    assert_true(X509_sign(x509, key, EVP_sha256()) > 0);
    FILE *file = fopen(certificate_path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, x509), 1);
    (void)fclose(file);
    file = fopen(key_path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    (void)fclose(file);
    X509_free(x509);
    EVP_PKEY_free(key);
}

static void check_tls(const char *host, const char *ca, const char *why)
{
    char url[64];
    (void)snprintf(url, sizeof url, "grpcs://%s:%u", host, port);
    struct rd_engine_config config = CONFIG(unary_list);
    config.url = url;
    config.ca_file = ca;
    struct rd_engine *engine = open_config(&config);
    struct recorder recorder;
    run_on(engine, "quick", 3, &recorder);
    if (why == NULL
            ? recorder.err != RD_OK
            : recorder.err != RD_ERR_BACKEND_FAILED || strstr(recorder.why.text, why) == NULL) {
        fail_msg("%s: %s", host, recorder.why.text);
    }
    recorder_done(&recorder);
    rd_engine_triton_grpc_ops.close(engine);
}

static void test_tls(void **state)
{
    (void)state;
    char folder[] = "/tmp/grpc_test_XXXXXX", certificate[64], key[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(certificate, sizeof certificate, "%s/certificate.pem", folder);
    (void)snprintf(key, sizeof key, "%s/key.pem", folder);
    make_certificate(certificate, key);
    grpc_backend_stop();
    assert_int_equal(grpc_backend_start(port, certificate, key), port);
    check_tls("127.0.0.1", certificate, NULL);
    check_tls("127.0.0.1", NULL, "certificate is not valid");
    check_tls("localhost", certificate, "certificate is not valid"); /* it is for the address */
    atomic_store(&grpc_backend.no_alpn, true);
    check_tls("127.0.0.1", certificate, "does not offer HTTP/2");
    grpc_backend_stop();
    assert_int_equal(grpc_backend_start(port, NULL, NULL), port);
    check_tls("127.0.0.1", certificate, "TLS"); /* the server has none */
    (void)unlink(certificate);
    (void)unlink(key);
    (void)rmdir(folder);
}

#define TEST(name) cmocka_unit_test_setup(name, before)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cancel_resets_one_stream),
        TEST(test_second_connection_when_full),
        TEST(test_unseen_is_repeated),
        TEST(test_connections_are_kept),
        TEST(test_capacity),
        TEST(test_keep_alive),
        TEST(test_unreachable),
        TEST(test_not_http2),
        TEST(test_config_refused),
        TEST(test_health_follows_the_server),
        TEST(test_not_live_and_not_ready),
        TEST(test_model_is_compared),
        TEST(test_restart),
        TEST(test_queue_time),
        TEST(test_tls),
    };
    return cmocka_run_group_tests_name("engine/grpc_health", tests, setup, teardown);
}
