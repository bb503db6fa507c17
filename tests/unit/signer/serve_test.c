/* SPDX-License-Identifier: Apache-2.0
 *
 * The signer's judgement without a process: what is a statement, what is in the table, and that a
 * batch is signed whole or not at all. (Frames through a real process: provenance/signer_test.c.)
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "base/mem.h"
#include "signer/serve.h"

static struct rd_signerd_key key;
static struct rd_signerd signerd;

static int set_up(void **state)
{
    (void)state;
    key.secret = sodium_malloc(64);
    static const uint8_t seed[32] = {7};
    return key.secret != NULL && crypto_sign_seed_keypair(key.public, key.secret, seed) == 0 &&
                   rd_signerd_init(&signerd, &key) == RD_OK
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    (void)state;
    rd_signerd_done(&signerd);
    rd_signerd_key_done(&key);
    return 0;
}

#define OPENING RD_STATEMENT_PREFIX

static void what_is_a_statement(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        bool ok;
    } cases[] = {
#define CASE(text, ok) {text, sizeof text - 1, ok}
        CASE(OPENING "\"subject\":[]}", true),
        CASE(OPENING "\"x\":\"\xc3\xa9\xf0\x9f\x8e\xa8\x7f\"}", true),
        CASE(OPENING "}", true), /* only the opening and the form of the bytes are judged here */
        CASE("", false),
        CASE(OPENING, false),
        CASE(OPENING "\"subject\":[]", false),
        CASE(OPENING "\"subject\":[]}\n", false),
        CASE(OPENING "\"subject\":\t[]}", false),
        CASE(OPENING "\"a\":\"\0\"}", false),
        CASE(OPENING "\"a\":\"\x1f\"}", false),
        CASE(OPENING "\"a\":\"\xff\"}", false),
        CASE(OPENING "\"a\":\"\xc0\xaf\"}", false),     /* overlong */
        CASE(OPENING "\"a\":\"\xed\xa0\x80\"}", false), /* surrogate */
        CASE(OPENING "\"a\":\"\xc3}", false),           /* cut */
        CASE(" " OPENING "}", false),
        CASE("\xef\xbb\xbf" OPENING "}", false),
        CASE("{\"_type\":\"https://in-toto.io/Statement/v1\"}", false),
        CASE("{\"_type\": \"https://in-toto.io/Statement/v1\",}", false),
        CASE("{\"_type\":\"https://in-toto.io/Statement/v2\",}", false),
        CASE("{\"_TYPE\":\"https://in-toto.io/Statement/v1\",}", false),
        CASE("gateway.example/audit\n3\nKaoTAIHUqgy6BtXy3PGhCz1FSURsboYof80oevnGmWU=\n", false),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (rd_signerd_statement_ok(cases[i].text, cases[i].len) != cases[i].ok) {
            fail_msg("case %zu: %s", i, cases[i].text);
        }
    }
}

static void the_size_of_a_statement(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        size_t len = RD_SIGNER_STATEMENT_MAX + over;
        RD_AUTO_FREE char *text = rd_mem_alloc(len);
        assert_non_null(text);
        memset(text, ' ', len);
        memcpy(text, OPENING, sizeof OPENING - 1);
        text[len - 1] = '}';
        assert_int_equal(rd_signerd_statement_ok(text, len), over == 0);
    }
}

/* All kinds with all counts and lengths near a limit: exactly the table's rows pass. */
static void only_the_table_passes(void **state)
{
    (void)state;
    static const uint16_t counts[] = {0, 1, 2, RD_SIGNER_BATCH_MAX, RD_SIGNER_BATCH_MAX + 1, 65535};
    static const uint32_t lengths[] = {
        0, 1, 3, 4, 5, RD_SIGNER_BODY_MAX, RD_SIGNER_BODY_MAX + 1, UINT32_MAX};
    unsigned passed = 0;
    for (uint32_t kind = 0; kind <= UINT16_MAX; kind++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
                struct rd_signer_header header = {(uint16_t)kind, counts[c], lengths[l]};
                bool key_row = kind == 1 && counts[c] == 0 && lengths[l] == 0;
                bool sign_row = kind == 2 && counts[c] >= 1 && counts[c] <= RD_SIGNER_BATCH_MAX &&
                                lengths[l] >= 4 && lengths[l] <= RD_SIGNER_BODY_MAX;
                if (rd_signerd_header_ok(&header) != (key_row || sign_row)) {
                    fail_msg("kind %u count %u length %u", kind, counts[c], lengths[l]);
                }
                passed += key_row || sign_row;
            }
        }
    }
    assert_int_equal(passed, 1 + 3 * 3);
}

static void headers_read_back(void **state)
{
    (void)state;
    uint8_t bytes[RD_SIGNER_HEADER_LEN];
    struct rd_signer_header got;
    rd_signer_header_write(bytes, (struct rd_signer_header){0x8001, 0x1234, 0xdeadbeef});
    assert_memory_equal(bytes, "RDS1\x01\x80\x34\x12\xef\xbe\xad\xde", sizeof bytes);
    assert_true(rd_signer_header_read(bytes, &got));
    assert_int_equal(got.kind, 0x8001);
    assert_int_equal(got.count, 0x1234);
    assert_true(got.length == 0xdeadbeef);
    for (int i = 0; i < 4; i++) {
        bytes[i] ^= 1;
        assert_false(rd_signer_header_read(bytes, &got));
        bytes[i] ^= 1;
    }
}

/* A batch of three with a bad one at each place: the answer names it and holds no signature. */
static void a_batch_is_signed_whole_or_not(void **state)
{
    (void)state;
    static const char good[] = OPENING "\"a\":1}";
    enum { LEN = sizeof good - 1, COUNT = 3 };
    struct rd_signer_header header = {RD_SIGNER_SIGN_STATEMENTS, COUNT, COUNT * (4 + LEN)};
    for (int bad = -1; bad < COUNT; bad++) {
        for (int i = 0; i < COUNT; i++) {
            rd_signer_put_u32(signerd.body + 4 * i, LEN);
            memcpy(signerd.body + 4 * COUNT + i * LEN, good, LEN);
        }
        if (bad >= 0) {
            signerd.body[4 * COUNT + bad * LEN] = 'X';
        }
        assert_true(rd_signerd_answer(&signerd, &header));
        struct rd_signer_header answer;
        assert_true(rd_signer_header_read(signerd.answer, &answer));
        if (bad >= 0) {
            assert_int_equal(answer.kind, RD_SIGNER_REFUSED);
            assert_int_equal(answer.count, bad);
            assert_int_equal(signerd.answer_len, RD_SIGNER_HEADER_LEN);
            continue;
        }
        assert_int_equal(answer.kind, RD_SIGNER_SIGN_STATEMENTS);
        assert_int_equal(signerd.answer_len, RD_SIGNER_HEADER_LEN + COUNT * 64);
        RD_AUTO_BUF struct rd_buf pae;
        rd_buf_init(&pae, 1024);
        assert_int_equal(rd_dsse_pae(&pae, RD_STATEMENT_PAYLOAD_TYPE, good, LEN), RD_OK);
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(
                crypto_sign_verify_detached(signerd.answer + RD_SIGNER_HEADER_LEN + 64 * i,
                                            (const uint8_t *)pae.data, pae.len, key.public),
                0);
        }
    }
}

/* Serving allocates nothing: the filter would kill it. The scratch buffer must never have to grow.
 */
static void the_largest_statement_fits_the_scratch(void **state)
{
    (void)state;
    struct rd_signer_header header = {RD_SIGNER_SIGN_STATEMENTS, 1, 4 + RD_SIGNER_STATEMENT_MAX};
    const char *before = signerd.pae.data;
    size_t cap = signerd.pae.cap;
    memset(signerd.body, ' ', 4 + RD_SIGNER_STATEMENT_MAX);
    rd_signer_put_u32(signerd.body, RD_SIGNER_STATEMENT_MAX);
    memcpy(signerd.body + 4, OPENING, sizeof OPENING - 1);
    signerd.body[4 + RD_SIGNER_STATEMENT_MAX - 1] = '}';
    assert_true(rd_signerd_answer(&signerd, &header));
    assert_ptr_equal(signerd.pae.data, before);
    assert_int_equal(signerd.pae.cap, cap);
    assert_int_equal(signerd.answer_len, RD_SIGNER_HEADER_LEN + 64);
}

static void lengths_must_add_up(void **state)
{
    (void)state;
    struct rd_signer_header header = {RD_SIGNER_SIGN_STATEMENTS, 2, 108};
    static const uint32_t pairs[][2] = {{0, 0},
                                        {50, 49},
                                        {50, 51},
                                        {101, 0},
                                        {0, 101},
                                        {100, 100},
                                        {UINT32_MAX, 101},
                                        {65537, 0},
                                        {0x80000032u, 0x80000032u}};
    memset(signerd.body, 0, 108);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        rd_signer_put_u32(signerd.body, pairs[i][0]);
        rd_signer_put_u32(signerd.body + 4, pairs[i][1]);
        assert_false(rd_signerd_answer(&signerd, &header));
    }
    rd_signer_put_u32(signerd.body, 50);
    rd_signer_put_u32(signerd.body + 4, 50);
    assert_true(rd_signerd_answer(&signerd, &header)); /* they do; the content is refused */
    assert_int_equal(signerd.answer_len, RD_SIGNER_HEADER_LEN);
}

/* The loop's four ends. */
static void the_loop_ends_as_documented(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        enum rd_signerd_end end;
    } cases[] = {
        {"", 0, RD_SIGNERD_END_EOF},
        {"RDS1\1\0\0\0\0\0\0\0", 12, RD_SIGNERD_END_EOF},
        {"RDS1\1\0\0\0\0\0\0\0R", 13, RD_SIGNERD_END_IO},
        {"RDS2\1\0\0\0\0\0\0\0", 12, RD_SIGNERD_END_PROTOCOL},
        {"RDS1\7\0\0\0\0\0\0\0", 12, RD_SIGNERD_END_PROTOCOL},
        {"RDS1\2\0\1\0\4\0\0\0", 12, RD_SIGNERD_END_IO},
        {"RDS1\2\0\1\0\4\0\0\0\1\0\0\0", 16, RD_SIGNERD_END_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        assert_int_equal(write(ends[0], cases[i].bytes, cases[i].len), cases[i].len);
        assert_int_equal(shutdown(ends[0], SHUT_WR), 0);
        assert_int_equal(rd_signerd_serve(&signerd, ends[1]), cases[i].end);
        (void)close(ends[0]);
        (void)close(ends[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_a_statement),
        cmocka_unit_test(the_size_of_a_statement),
        cmocka_unit_test(only_the_table_passes),
        cmocka_unit_test(headers_read_back),
        cmocka_unit_test(a_batch_is_signed_whole_or_not),
        cmocka_unit_test(the_largest_statement_fits_the_scratch),
        cmocka_unit_test(lengths_must_add_up),
        cmocka_unit_test(the_loop_ends_as_documented),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, set_up, tear_down);
}
