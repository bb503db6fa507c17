/* SPDX-License-Identifier: Apache-2.0
 *
 * See grpc_address.h. The thread and its owner share the lookup by two references; whoever drops
 * the last one frees it. So close() never waits for a name server. */
#include "engine/triton/grpc_address.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

/* ---- the URL ---- */

static bool host_valid(const char *host, size_t len, bool v6)
{
    if (len == 0 || len > RD_GRPC_HOST_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = host[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '.' && (v6 ? c != ':' && c != '%' : c != '-' && c != '_')) {
            return false;
        }
    }
    return true;
}

rd_err rd_grpc_target_parse(const char *url, struct rd_grpc_target *ret, struct rd_why *why)
{
    struct rd_grpc_target target = {.tls = rd_text_starts(url, "grpcs://")};
    const char *at = url + (target.tls ? 8 : 7);
    if (!target.tls && !rd_text_starts(url, "grpc://")) {
        return rd_why_set(why, RD_ERR_CONFIG, "'%s' is not a grpc:// or grpcs:// URL", url);
    }
    size_t len = strcspn(at, "/");
    uint64_t port = RD_GRPC_PORT;
    bool v6 = at[0] == '[';
    const char *end = v6 ? memchr(at, ']', len) : memchr(at, ':', len);
    const char *host = v6 ? at + 1 : at;
    size_t host_len = end != NULL ? (size_t)(end - host) : len;
    const char *colon = end == NULL ? at + len : v6 ? end + 1 : end;
    bool valid = !(v6 && end == NULL) && host_valid(host, host_len, v6) &&
                 (at[len] == '\0' || at[len + 1] == '\0');
    if (valid && colon < at + len) {
        size_t digits = (size_t)(at + len - colon) - 1;
        valid =
            colon[0] == ':' && rd_text_u64(colon + 1, digits, &port) && port >= 1 && port <= 65535;
    }
    if (!valid) {
        return rd_why_set(why, RD_ERR_CONFIG,
                          "'%s' is not HOST or HOST:PORT behind grpc:// or grpcs://, with nothing "
                          "behind that",
                          url);
    }
    memcpy(target.host, host, host_len);
    (void)snprintf(target.port, sizeof target.port, "%u", (unsigned)port);
    (void)snprintf(target.authority, sizeof target.authority, v6 ? "[%s]:%s" : "%s:%s", target.host,
                   target.port);
    *ret = target;
    return RD_OK;
}

/* ---- names ---- */

struct rd_grpc_lookup {
    struct rd_grpc_target target;
    atomic_uint references;
    atomic_bool known;
    int wake_fd;
    int code; /* getaddrinfo's */
    struct addrinfo *found;
};

static int resolve(struct rd_grpc_lookup *lookup, int flags)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    return getaddrinfo(lookup->target.host, lookup->target.port, &hints, &lookup->found);
}

static void *look(void *user)
{
    static const uint64_t one = 1;
    struct rd_grpc_lookup *lookup = user;
    lookup->code = resolve(lookup, 0);
    atomic_store(&lookup->known, true);
    ssize_t written;
    do {
        written = write(lookup->wake_fd, &one, sizeof one);
    } while (written < 0 && errno == EINTR);
    rd_grpc_lookup_drop(lookup);
    return NULL;
}

void rd_grpc_lookup_drop(struct rd_grpc_lookup *lookup)
{
    if (lookup == NULL || atomic_fetch_sub(&lookup->references, 1) != 1) {
        return;
    }
    if (lookup->found != NULL) {
        freeaddrinfo(lookup->found);
    }
    if (lookup->wake_fd >= 0) {
        (void)close(lookup->wake_fd);
    }
    rd_mem_free(lookup);
}

static rd_err start_thread(struct rd_grpc_lookup *lookup)
{
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0) {
        return RD_ERR_NO_MEMORY;
    }
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    atomic_fetch_add(&lookup->references, 1);
    int failed = pthread_create(&thread, &attributes, look, lookup);
    (void)pthread_attr_destroy(&attributes);
    if (failed != 0) {
        atomic_fetch_sub(&lookup->references, 1);
        return RD_ERR_NO_MEMORY;
    }
    return RD_OK;
}

rd_err rd_grpc_lookup_start(const struct rd_grpc_target *target, int wake_fd,
                            struct rd_grpc_lookup **ret)
{
    struct rd_grpc_lookup *lookup = rd_mem_alloc(sizeof *lookup);
    if (lookup == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    lookup->target = *target;
    lookup->wake_fd = -1;
    atomic_init(&lookup->references, 1);
    atomic_init(&lookup->known, false);
    if (resolve(lookup, AI_NUMERICHOST) == 0) {
        atomic_store(&lookup->known, true);
        *ret = lookup;
        return RD_OK;
    }
    rd_err err = RD_OK;
    lookup->wake_fd = fcntl(wake_fd, F_DUPFD_CLOEXEC, 0);
    if (lookup->wake_fd < 0) {
        err = rd_err_errno(errno);
    }
    if (err == RD_OK) {
        err = start_thread(lookup);
    }
    if (err != RD_OK) {
        rd_grpc_lookup_drop(lookup);
        return err;
    }
    *ret = lookup;
    return RD_OK;
}

bool rd_grpc_lookup_known(struct rd_grpc_lookup *lookup, const struct addrinfo **ret,
                          struct rd_why *why)
{
    if (!atomic_load(&lookup->known)) {
        return false;
    }
    if (lookup->found == NULL) {
        (void)rd_why_set(why, RD_ERR_BACKEND_FAILED, "the name %s does not resolve: %s",
                         lookup->target.host, gai_strerror(lookup->code));
    }
    *ret = lookup->found;
    return true;
}
