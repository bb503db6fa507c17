/* SPDX-License-Identifier: Apache-2.0
 *
 * Which addresses a stranger's URL may reach: the ranges of IANA's special-purpose registries, the
 * clouds' metadata services that stand on public addresses, and the addresses of this machine.
 *
 * IPv4 is a list of what is refused. IPv6 is the reverse: global unicast is 2000::/3 and nothing
 * else, less the ranges inside it that are not for the public. Forms that carry an IPv4 address:
 *
 *     ::ffff:0:0/96     the same host as the IPv4 address: its verdict is the answer
 *     64:ff9b::/96      NAT64 (what DNS64 makes on a network without IPv4): the same
 *     ::/96             "compatible", long dead: refused whatever it carries
 *     64:ff9b:1::/48    NAT64 of the local network, so by definition inside: refused
 *     2002::/16         6to4, its relays are gone: refused
 *
 * The last three need no decoding, because no address in them is allowed.
 *
 * A machine's own addresses are read at most once in OWN_TTL_NS. When they cannot be read, nothing
 * is allowed: a guard that cannot see must not wave people through.
 *
 * At the end, the hooks in which libcurl asks (guard.h). */
#include "fetch/guard.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "fetch/fetch.h"

struct range4 {
    uint32_t first;
    unsigned bits;
};
#define V4(a, b, c, d)                                                                             \
    ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

static const struct range4 refused4[] = {
    {V4(0, 0, 0, 0), 8},       /* this network */
    {V4(10, 0, 0, 0), 8},      /* private */
    {V4(100, 64, 0, 0), 10},   /* carrier NAT; holds 100.100.100.200, Alibaba's metadata service */
    {V4(127, 0, 0, 0), 8},     /* loopback */
    {V4(169, 254, 0, 0), 16},  /* link local; 169.254.169.254, everyone's metadata service */
    {V4(172, 16, 0, 0), 12},   /* private */
    {V4(192, 0, 0, 0), 24},    /* protocol assignments */
    {V4(192, 0, 2, 0), 24},    /* documentation */
    {V4(192, 88, 99, 0), 24},  /* 6to4 relays */
    {V4(192, 168, 0, 0), 16},  /* private */
    {V4(198, 18, 0, 0), 15},   /* benchmarks */
    {V4(198, 51, 100, 0), 24}, /* documentation */
    {V4(203, 0, 113, 0), 24},  /* documentation */
    {V4(224, 0, 0, 0), 4},     /* multicast */
    {V4(240, 0, 0, 0), 4},     /* reserved, and the broadcast address */
    {V4(100, 100, 100, 200), 32}, /* stands on its own, should the range above ever be opened */
    {V4(168, 63, 129, 16), 32},   /* Azure's host agent, a public address */
};

struct range6 {
    uint16_t group[3]; /* the first 48 bits; no range here is longer */
    unsigned bits;
};
static const struct range6 global_unicast6 = {{0x2000, 0, 0}, 3};
static const struct range6 refused6[] = {
    {{0x2001, 0, 0}, 23},      /* protocol assignments: Teredo, ORCHID, benchmarks */
    {{0x2001, 0x0db8, 0}, 32}, /* documentation */
    {{0x2002, 0, 0}, 16},      /* 6to4 */
    {{0x3fff, 0, 0}, 20},      /* documentation */
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static const uint8_t nat64_prefix[12] = {0, 0x64, 0xff, 0x9b};

enum { OWN_MAX = 256 }; /* more addresses than this: the machine is odd, refuse everything */
#define OWN_TTL_NS ((uint64_t)5 * 1000000000)

/* This machine's addresses, IPv4 in the ::ffff: form. `usable` is false when they are not known. */
static struct {
    pthread_mutex_t lock;
    uint64_t read_at;
    size_t count;
    bool usable;
    uint8_t address[OWN_MAX][16];
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void map4(uint32_t address, uint8_t out[16])
{
    memcpy(out, mapped_prefix, sizeof mapped_prefix);
    for (unsigned i = 0; i < 4; i++) {
        out[12 + i] = (uint8_t)(address >> (24 - 8 * i));
    }
}

static uint32_t low4(const uint8_t bytes[16])
{
    return V4(bytes[12], bytes[13], bytes[14], bytes[15]);
}

static bool own_add(const struct sockaddr *address)
{
    bool v4 = address->sa_family == AF_INET;
    if (!v4 && address->sa_family != AF_INET6) {
        return true; /* packet sockets and the like have no place in a URL */
    }
    if (own.count == OWN_MAX) {
        return false;
    }
    uint8_t *slot = own.address[own.count++];
    if (v4) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        map4(ntohl(in.sin_addr.s_addr), slot);
    } else {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        memcpy(slot, in6.sin6_addr.s6_addr, 16);
    }
    return true;
}

static void own_read(void)
{
    struct ifaddrs *list = NULL;
    own.count = 0;
    own.usable = getifaddrs(&list) == 0;
    for (const struct ifaddrs *at = list; own.usable && at != NULL; at = at->ifa_next) {
        if (at->ifa_addr != NULL) {
            own.usable = own_add(at->ifa_addr);
        }
    }
    if (list != NULL) {
        freeifaddrs(list);
    }
}

/* True also when nobody knows which addresses are ours. */
static bool is_own(const uint8_t address[16])
{
    uint64_t now = rd_clock_mono_ns();
    (void)pthread_mutex_lock(&own.lock);
    if (own.read_at == 0 || now - own.read_at > OWN_TTL_NS) {
        own_read();
        own.read_at = own.usable ? now : 0;
    }
    bool found = !own.usable;
    for (size_t i = 0; i < own.count && !found; i++) {
        found = memcmp(own.address[i], address, 16) == 0;
    }
    (void)pthread_mutex_unlock(&own.lock);
    return found;
}

static bool allowed4(uint32_t address)
{
    for (size_t i = 0; i < sizeof refused4 / sizeof refused4[0]; i++) {
        if ((address ^ refused4[i].first) >> (32 - refused4[i].bits) == 0) {
            return false;
        }
    }
    uint8_t mapped[16];
    map4(address, mapped);
    return !is_own(mapped);
}

static bool in_range6(const uint8_t bytes[16], const struct range6 *range)
{
    uint64_t address = 0;
    uint64_t first = 0;
    for (unsigned i = 0; i < 3; i++) {
        address = address << 16 | (uint64_t)bytes[2 * i] << 8 | bytes[2 * i + 1];
        first = first << 16 | range->group[i];
    }
    return (address ^ first) >> (48 - range->bits) == 0;
}

static bool allowed6(const uint8_t bytes[16])
{
    if (memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0 ||
        memcmp(bytes, nat64_prefix, sizeof nat64_prefix) == 0) {
        return allowed4(low4(bytes));
    }
    if (!in_range6(bytes, &global_unicast6)) {
        return false;
    }
    for (size_t i = 0; i < sizeof refused6 / sizeof refused6[0]; i++) {
        if (in_range6(bytes, &refused6[i])) {
            return false;
        }
    }
    return !is_own(bytes);
}

bool rd_fetch_address_allowed(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in); /* callers hand in storage of any alignment */
        return allowed4(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        return allowed6(in6.sin6_addr.s6_addr);
    }
    return false; /* unix sockets, and whatever else there may be one day */
}

/* ---- the hooks ---- */

static curl_socket_t on_open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct rd_fetch_guard *guard = user;
    struct sockaddr_storage storage = {0};
    if (purpose != CURLSOCKTYPE_IPCXN || address->addrlen > sizeof storage) {
        return CURL_SOCKET_BAD;
    }
    memcpy(&storage, &address->addr, address->addrlen);
    if (!guard->exempt && !rd_fetch_address_allowed((const struct sockaddr *)&storage)) {
        guard->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int on_prereq(void *user, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    (void)local_ip;
    (void)peer_port;
    (void)local_port;
    struct rd_fetch_guard *guard = user;
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    bool allowed = guard->exempt;
    if (!allowed && inet_pton(AF_INET, peer_ip, &in.sin_addr) == 1) {
        allowed = rd_fetch_address_allowed((const struct sockaddr *)&in);
    } else if (!allowed && inet_pton(AF_INET6, peer_ip, &in6.sin6_addr) == 1) {
        allowed = rd_fetch_address_allowed((const struct sockaddr *)&in6);
    }
    guard->refused = guard->refused || !allowed;
    guard->reached = allowed;
    return allowed ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

bool rd_fetch_guard_install(CURL *easy, struct rd_fetch_guard *guard)
{
    bool ok = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
    ok =
        ok && curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
    ok =
        ok && curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_USERAGENT, "render/" RD_VERSION) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, guard) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_prereq) == CURLE_OK;
    return ok && curl_easy_setopt(easy, CURLOPT_PREREQDATA, guard) == CURLE_OK;
}
