/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.c: what is lifted and what is not, depth and size at their limits, offsets back to the
 * body. */
#include "fixture.h"

#include "base/text.h"
#include "request/scan.h"

struct scanned {
    struct rd_arena arena;
    struct rd_scan scan;
};

static rd_err scan(struct scanned *s, const char *body, size_t len)
{
    rd_arena_init(&s->arena, RD_MIB(4));
    return rd_scan_body(body, len, &s->arena, &s->scan);
}

static void assert_slim(const char *body, const char *slim, size_t lifts)
{
    struct scanned s;
    assert_int_equal(scan(&s, body, strlen(body)), RD_OK);
    if (!rd_text_eq(s.scan.text, s.scan.len, slim) || s.scan.lifts_count != lifts) {
        fail_msg("%s gave %.*s with %zu lifts", body, (int)s.scan.len, s.scan.text,
                 s.scan.lifts_count);
    }
    rd_arena_done(&s.arena);
}

static void lifts(void **state)
{
    (void)state;
    assert_slim("{\"image\":\"data:abc\"}", "{\"image\":\"\"}", 1);
    assert_slim("{\"image\" :\n \"data:abc\" , \"mask\":\"data:\"}",
                "{\"image\" :\n \"\" , \"mask\":\"\"}", 2);
    assert_slim("{\"a\":1,\"mask\":\"data:x\\/y\\/\",\"b\":\"\\\"\"}",
                "{\"a\":1,\"mask\":\"\",\"b\":\"\\\"\"}", 1);
    assert_slim("{\"a\":\"image\",\"image\":\"data:x\"}", "{\"a\":\"image\",\"image\":\"\"}", 1);
    assert_slim("{\"image\":\"data:1\",\"image\":\"data:2\"}", "{\"image\":\"\",\"image\":\"\"}",
                2);
    /* more than it keeps: the rest stays, and is refused as a duplicate anyway */
    assert_slim("{\"mask\":\"data:1\",\"mask\":\"data:2\",\"mask\":\"data:3\",\"mask\":\"data:4\","
                "\"mask\":\"data:5\"}",
                "{\"mask\":\"\",\"mask\":\"\",\"mask\":\"\",\"mask\":\"\",\"mask\":\"data:5\"}", 4);
}

static void leaves_alone(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "{}",
        "x",
        "\"",
        "\"\\",
        "{\"image\"",
        "{\"image\":",
        "{\"image\":\"",
        "{\"image\":\"data:",
        "{\"image\":\"data:abc",
        "{\"image\":\"data:abc\\\"",
        "{\"image\":\"https://x\"}",
        "{\"image\":data:abc}",
        "{\"image\"\"data:abc\"}",
        "{\"image\",\"data:abc\"}",
        "{\"x\":{\"image\":\"data:abc\"}}",
        "[[{\"image\":\"data:abc\"}]]",
        "{\"Image\":\"data:abc\"}",
        "{\"im\\u0061ge\":\"data:abc\"}",
        "{\"image\":\"data:a\\u0062c\"}",
        "{\"image\":\"data:a\\\\\"}",
        "{\"image\":\"data:a\\\"b\"}",
        "{\"image\":[\"data:abc\"]}",
        "{\"prompt\":\"data:abc\"}",
        "\"image\":\"data:abc\"",
        "}{\"image\"",
        "{\"x\":\"\\\"image\\\":\\\"data:abc\\\"\"}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        assert_slim(bodies[i], bodies[i], 0);
    }
}

static void finds_what_it_lifted(void **state)
{
    (void)state;
    static const char body[] = "{\"mask\":\"data:m\\/m\",\"image\":\"data:iii\",\"z\":1}";
    struct scanned s;
    assert_int_equal(scan(&s, body, strlen(body)), RD_OK);
    const struct rd_scan_lift *mask = rd_scan_lift_of(&s.scan, rd_field_find("mask"));
    const struct rd_scan_lift *image = rd_scan_lift_of(&s.scan, rd_field_find("image"));
    assert_non_null(mask);
    assert_non_null(image);
    assert_true(rd_text_eq(body + mask->start, mask->len, "data:m\\/m"));
    assert_true(rd_text_eq(body + image->start, image->len, "data:iii"));
    assert_true(mask->escaped);
    assert_false(image->escaped);
    assert_null(rd_scan_lift_of(&s.scan, rd_field_find("prompt")));
    for (size_t i = 0; i < s.scan.len; i++) { /* each offset leads to the same character */
        assert_int_equal(
            body[rd_scan_body_offset(&s.scan, i)] == s.scan.text[i] || s.scan.text[i] == '"', 1);
    }
    assert_int_equal(rd_scan_body_offset(&s.scan, s.scan.len), strlen(body));
    assert_int_equal(rd_scan_body_offset(&s.scan, 0), 0);
    rd_arena_done(&s.arena);
}

static void bounds_depth(void **state)
{
    (void)state;
    char body[2 * RD_LIMIT_JSON_DEPTH + 3];
    for (size_t depth = RD_LIMIT_JSON_DEPTH; depth <= RD_LIMIT_JSON_DEPTH + 1; depth++) {
        memset(body, '[', depth);
        memset(body + depth, ']', depth);
        struct scanned s;
        rd_err err = scan(&s, body, 2 * depth);
        assert_int_equal(err, depth > RD_LIMIT_JSON_DEPTH ? RD_ERR_INVALID_JSON : RD_OK);
        assert_int_equal(s.scan.deep_at, depth > RD_LIMIT_JSON_DEPTH ? RD_LIMIT_JSON_DEPTH : 0);
        rd_arena_done(&s.arena);
    }
    struct scanned s; /* brackets in strings do not count, closing ones never go below zero */
    memset(body, '[', 130);
    body[0] = body[129] = '"';
    assert_int_equal(scan(&s, body, 130), RD_OK);
    memset(body, ']', 130);
    assert_int_equal(scan(&s, body, 130), RD_OK);
    rd_arena_done(&s.arena);
}

/* A body of exactly `rest` bytes besides a data URI of `uri` bytes. */
static char *sized_body(size_t rest, size_t uri, size_t *ret_len)
{
    static const char head[] = "{\"image\":\"";
    static const char middle[] = "\",\"p\":\"";
    size_t fill = rest - strlen(head) - strlen(middle) - 2;
    char *body = rd_mem_alloc(rest + uri);
    assert_non_null(body);
    memset(body, 'A', rest + uri);
    memcpy(body, head, strlen(head));
    memcpy(body + strlen(head), "data:", uri < 5 ? uri : 5);
    memcpy(body + strlen(head) + uri, middle, strlen(middle));
    memcpy(body + strlen(head) + uri + strlen(middle) + fill, "\"}", 2);
    *ret_len = rest + uri;
    return body;
}

static void bounds_size(void **state)
{
    (void)state;
    static const struct {
        size_t rest, uri;
        rd_err want;
    } rows[] = {
        {RD_LIMIT_JSON_BODY, 0, RD_OK},
        {RD_LIMIT_JSON_BODY + 1, 0, RD_ERR_TOO_LARGE},
        {RD_LIMIT_JSON_BODY, RD_MIB(1), RD_OK},
        {RD_LIMIT_JSON_BODY + 1, RD_MIB(1), RD_ERR_TOO_LARGE},
        {RD_LIMIT_JSON_BODY, RD_LIMIT_JSON_BODY_DATA_URI - RD_LIMIT_JSON_BODY, RD_OK},
        {1000, RD_LIMIT_JSON_BODY_DATA_URI - 1000, RD_OK},
        {1000, RD_LIMIT_JSON_BODY_DATA_URI - 999, RD_ERR_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len;
        RD_AUTO_FREE char *body = sized_body(rows[i].rest, rows[i].uri, &len);
        struct scanned s;
        assert_int_equal(scan(&s, body, len), rows[i].want);
        rd_arena_done(&s.arena);
    }
}

/* Cost that grows with the square of the body would take minutes here. */
static void stays_linear(void **state)
{
    (void)state;
    static const char *const units[] = {"\\",
                                        "\"",
                                        "\\\"",
                                        "\"image\":",
                                        "\"image\":\"data:",
                                        "\"image\":\"data:\\u",
                                        "\\\\\"",
                                        "{\"image\":\"data:\",\\"};
    size_t max = RD_LIMIT_JSON_BODY_DATA_URI / 8;
    RD_AUTO_FREE char *body = rd_mem_alloc(max + 32);
    assert_non_null(body);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t unit = strlen(units[i]);
        size_t len = 0;
        for (; len < max; len += unit) {
            memcpy(body + len, units[i], unit);
        }
        struct scanned s;
        rd_err err = scan(&s, body, len);
        assert_true(err == RD_ERR_TOO_LARGE || err == RD_ERR_INVALID_JSON);
        rd_arena_done(&s.arena);
    }
}

static void needs_memory(void **state)
{
    (void)state;
    struct rd_scan s;
    struct rd_arena arena;
    rd_arena_init(&arena, 4);
    static const char body[] = "{\"image\":\"data:abc\"}";
    assert_int_equal(rd_scan_body(body, strlen(body), &arena, &s), RD_ERR_NO_MEMORY);
    rd_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lifts),
        cmocka_unit_test(leaves_alone),
        cmocka_unit_test(finds_what_it_lifted),
        cmocka_unit_test(bounds_depth),
        cmocka_unit_test(bounds_size),
        cmocka_unit_test(stays_linear),
        cmocka_unit_test(needs_memory),
    };
    return cmocka_run_group_tests_name("request/scan", tests, NULL, NULL);
}
