/* SPDX-License-Identifier: Apache-2.0
 *
 * accept.c: headers that real clients send, the rules of RFC 9110 12.5.1, and nonsense. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "http/accept.h"

static const char *const images[] = {"image/png", "image/webp", "image/jpeg"};
enum { PNG, WEBP, JPEG, NONE = RD_ACCEPT_NONE };

struct row {
    const char *header;
    int want;
};

static void check(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int got = rd_accept_choose(rows[i].header, images, 3);
        if (got != rows[i].want) {
            fail_msg("%s: expected %d, got %d", rows[i].header, rows[i].want, got);
        }
    }
}
#define CHECK(rows) check(rows, sizeof(rows) / sizeof(rows)[0])

static void clients(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {NULL, PNG},
        {"", PNG},
        {"*/*", PNG}, /* curl, fetch, python-requests */
        {"image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
         WEBP}, /* Chrome <img> */
        {"image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
         WEBP}, /* Firefox */
        {"text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", WEBP},
        {"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JPEG}, /* Java */
        {"application/json", NONE},
        {"application/json, */*;q=0.1", PNG},
        {"image/png", PNG},
        {"image/jpeg", JPEG},
        {"IMAGE/WebP", WEBP},
    };
    CHECK(rows);
}

static void rules(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"image/png;q=0.5, image/webp;q=0.6", WEBP},
        {"image/png;q=0.001, image/webp;q=0", PNG},
        {"image/*;q=0.5, image/jpeg", JPEG},
        {"image/jpeg;q=0.2, image/*;q=0.1", JPEG},
        {"image/png;q=0, image/*", WEBP}, /* the specific one counts, not the better one */
        {"*/*, image/png;q=0", WEBP},     /* order does not matter for that */
        {"*/*;q=0", NONE},
        {"image/*;q=0, image/webp;q=0.1", WEBP},
        {"*/*, image/jpeg", JPEG},        /* equal q: named more precisely */
        {"image/jpeg, image/webp", JPEG}, /* equal: named first */
        {"image/webp;q=1.0, image/png;q=1", WEBP},
        {"image/png;q=1.000", PNG},
        {"image/webp;level=1;q=0.3, image/png;q=0.2", WEBP},
        {"image/webp;v=\"a,b;q=0\";q=0.3, image/png;q=0.2", WEBP},
        {"image/webp;v=\"a\\\",\";q=0.3, image/png;q=0.2", WEBP},
        {"image/jpeg ; Q=0.9 , image/png ;q=0.8", JPEG},
        {"*", PNG},
        {"\timage/webp\t", WEBP},
    };
    CHECK(rows);
}

static void nonsense(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {",", PNG},
        {" , ,, ", PNG},
        {"garbage", PNG},
        {"/", PNG},
        {"image/", PNG},
        {"/png", PNG},
        {"*/png", PNG},
        {"image/png;q=2", PNG},
        {"image/webp;q=1.001", PNG},
        {"image/webp;q=", PNG},
        {"image/webp;q=.", PNG},
        {"image/webp;q=0.1234", PNG},
        {"image/webp;q=-1", PNG},
        {"image/webp;q=\"1\"", PNG},
        {"image/webp q=1", PNG},
        {"image/webp;q=1 x", PNG},
        {"image/webp;", WEBP},
        {"image/webp;;q=0", NONE},
        {"image/webp;v=\"open, image/png", WEBP},
        {"garbage, image/webp", WEBP},
        {"image/webp;q=x, image/jpeg", JPEG},
        {"image/webp/x", PNG},
        {"\x80\xff", PNG},
        {"image/\xc3\xa9", PNG},
    };
    CHECK(rows);
}

/* Every decimal of q is read: of two neighbours the larger one wins. */
static void weights(void **state)
{
    (void)state;
    for (unsigned q = 1; q < 1000; q++) {
        char header[80];
        (void)snprintf(header, sizeof header, "image/png;q=0.%03u, image/jpeg;q=%u.%03u", q,
                       (q + 1) / 1000, (q + 1) % 1000);
        assert_int_equal(rd_accept_choose(header, images, 3), JPEG);
    }
}

static void other_offers(void **state)
{
    (void)state;
    static const char *const one[] = {"video/mp4"};
    static const char *const many[RD_ACCEPT_OFFERS_MAX] = {"a/0", "a/1", "a/2", "a/3", "a/4", "a/5",
                                                           "a/6", "a/7", "a/8", "a/9", "a/a", "a/b",
                                                           "a/c", "a/d", "a/e", "a/f"};
    assert_int_equal(rd_accept_choose("video/*", one, 1), 0);
    assert_int_equal(rd_accept_choose("image/*", one, 1), RD_ACCEPT_NONE);
    assert_int_equal(rd_accept_choose("a/f", many, RD_ACCEPT_OFFERS_MAX), 15);
    assert_int_equal(rd_accept_choose("a/ff", many, RD_ACCEPT_OFFERS_MAX), RD_ACCEPT_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients), cmocka_unit_test(rules),        cmocka_unit_test(nonsense),
        cmocka_unit_test(weights), cmocka_unit_test(other_offers),
    };
    return cmocka_run_group_tests_name("http/accept", tests, NULL, NULL);
}
