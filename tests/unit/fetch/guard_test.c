/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard's table from outside: of each range the first and the last address are refused, and the
 * neighbours on both sides are allowed unless another range holds them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fetch/fetch.h"

static bool allowed(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        return rd_fetch_address_allowed((const struct sockaddr *)&in);
    }
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return rd_fetch_address_allowed((const struct sockaddr *)&in6);
}

#define REFUSED                                                                                    \
    NULL /* this neighbour lies in another refused range, or outside the number space              \
          */
static const struct {
    const char *before, *first, *last, *after; /* before and after: allowed, or REFUSED */
} ranges[] = {
    {REFUSED, "0.0.0.0", "0.255.255.255", "1.0.0.0"},
    {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
    {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
    {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
    {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
    {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
    {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
    {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
    {"192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"},
    {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
    {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
    {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
    {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
    {"223.255.255.255", "224.0.0.0", "239.255.255.255", REFUSED},
    {REFUSED, "240.0.0.0", "255.255.255.255", REFUSED},
    {"168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17"},
    {REFUSED, "100.100.100.200", "100.100.100.200", REFUSED},
    {REFUSED, "169.254.169.254", "169.254.169.254", REFUSED},
    /* IPv6: outside 2000::/3 */
    {REFUSED, "::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"},
    {"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
     "3fff:1000::"},
    {"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     REFUSED},
    /* inside */
    {"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
     "2001:200::"},
    {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
     "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
    {"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "2003::"},
    /* well-known ends of 0::/3 and beyond */
    {REFUSED, "::1", "::1", REFUSED},
    {REFUSED, "100::", "100::ffff:ffff:ffff:ffff", REFUSED},
    {REFUSED, "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", REFUSED},
    {REFUSED, "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", REFUSED},
    {REFUSED, "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", REFUSED},
    {REFUSED, "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", REFUSED},
    {REFUSED, "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", REFUSED},
    /* IPv4 inside: the mapped form and NAT64 mean the IPv4 host, */
    {REFUSED, "::ffff:0.0.0.0", "::ffff:0.255.255.255", "::ffff:1.0.0.0"},
    {"::ffff:9.255.255.255", "::ffff:10.0.0.0", "::ffff:10.255.255.255", "::ffff:11.0.0.0"},
    {"::ffff:168.63.129.15", "::ffff:168.63.129.16", "::ffff:168.63.129.16",
     "::ffff:168.63.129.17"},
    {"64:ff9b::126.255.255.255", "64:ff9b::127.0.0.0", "64:ff9b::127.255.255.255",
     "64:ff9b::128.0.0.0"},
    {"64:ff9b::169.253.255.255", "64:ff9b::169.254.0.0", "64:ff9b::169.254.255.255",
     "64:ff9b::169.255.0.0"},
    /* and the next address behind each of the two prefixes is no longer IPv4 */
    {REFUSED, "::1:0:0:0", "::1:0:808:808", REFUSED},
    {REFUSED, "64:ff9b::1:0:0", "64:ff9b::1:808:808", REFUSED},
    {REFUSED, "64:ff9a:ffff:ffff:ffff:ffff:808:808", "64:ff9a:ffff:ffff:ffff:ffff:808:808",
     REFUSED},
    /* the dead or local forms are refused whatever they carry */
    {REFUSED, "::8.8.8.8", "::8.8.8.8", REFUSED},
    {REFUSED, "::127.0.0.1", "::255.255.255.255", REFUSED},
    {REFUSED, "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", REFUSED},
    {REFUSED, "64:ff9b:1::8.8.8.8", "64:ff9b:1:808:8:800::", REFUSED},
    {REFUSED, "2002:7f00:1::", "2002:a9fe:a9fe::1", REFUSED},
    {REFUSED, "2002:808:808::1", "2002:808:808::1", REFUSED},
};

static void test_ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (allowed(ranges[i].first) || allowed(ranges[i].last)) {
            fail_msg("%s to %s is not refused", ranges[i].first, ranges[i].last);
        }
        if (ranges[i].before != NULL && !allowed(ranges[i].before)) {
            fail_msg("%s, before a range, is refused", ranges[i].before);
        }
        if (ranges[i].after != NULL && !allowed(ranges[i].after)) {
            fail_msg("%s, behind a range, is refused", ranges[i].after);
        }
    }
}

static void test_public(void **state)
{
    (void)state;
    static const char *const hosts[] = {"1.1.1.1",
                                        "8.8.8.8",
                                        "93.184.216.34",
                                        "2606:4700::1111",
                                        "2a00:1450:4001:81b::200e",
                                        "::ffff:8.8.8.8",
                                        "64:ff9b::8.8.8.8",
                                        "100.63.0.1",
                                        "192.0.1.1"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        assert_true(allowed(hosts[i]));
    }
}

/* Every single address of a small range, and a stride over the large ones: no hole in a mask. */
static void test_no_holes(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x01000000; i += 251) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000 + i)};
        assert_false(rd_fetch_address_allowed((const struct sockaddr *)&in));
    }
    for (uint32_t i = 0; i < 256; i++) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000200 + i)};
        assert_false(rd_fetch_address_allowed((const struct sockaddr *)&in));
    }
}

static void test_other_families(void **state)
{
    (void)state;
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
    assert_false(rd_fetch_address_allowed((const struct sockaddr *)&un));
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    assert_false(rd_fetch_address_allowed(&none));
}

/* Whatever addresses this machine has, private or public, none may be fetched from. */
static void test_own_addresses(void **state)
{
    (void)state;
    struct ifaddrs *list = NULL;
    assert_int_equal(getifaddrs(&list), 0);
    unsigned seen = 0;
    for (const struct ifaddrs *at = list; at != NULL; at = at->ifa_next) {
        if (at->ifa_addr != NULL &&
            (at->ifa_addr->sa_family == AF_INET || at->ifa_addr->sa_family == AF_INET6)) {
            assert_false(rd_fetch_address_allowed(at->ifa_addr));
            seen++;
        }
    }
    freeifaddrs(list);
    assert_true(seen > 0);
}

/* The same with a public address, in a network namespace where this process may put one on lo. */
static void child_with_public_address(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    struct sockaddr_in in = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)) {
        _exit(77);
    }
    (void)close(fd);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* of the new namespace */
    (void)inet_pton(AF_INET, "8.8.4.4", &in.sin_addr);
    memcpy(&request.ifr_addr, &in, sizeof in);
    if (fd < 0 || ioctl(fd, SIOCSIFADDR, &request) != 0) {
        _exit(77);
    }
    bool right = !allowed("8.8.4.4") && !allowed("::ffff:8.8.4.4") &&
                 !allowed("64:ff9b::8.8.4.4") && allowed("8.8.4.5");
    _exit(right ? 0 : 1);
}

static void test_own_public_address(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        child_with_public_address();
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message(
            "# no network namespaces for this user: the own public address is not tested\n");
        return;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_public_address), /* first: in the child nothing is cached yet */
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_public),
        cmocka_unit_test(test_no_holes),
        cmocka_unit_test(test_other_families),
        cmocka_unit_test(test_own_addresses),
    };
    return cmocka_run_group_tests_name("fetch/guard", tests, NULL, NULL);
}
