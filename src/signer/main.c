/* SPDX-License-Identifier: Apache-2.0
 *
 * render-signer: the only process that holds the signing key. The gateway starts it with one end of
 * a socketpair; it has no network, reads one file, and answers the two requests of serve.c.
 *
 *     render-signer --key FILE --fd N
 *
 * Order matters, and is the whole of this file:
 *   1. harden: nothing can dump, trace or gain from this process, from before the key is in memory.
 *   2. the key: read or made; its memory is locked and guarded.
 *   3. warm up: one signature, so that whatever a library does on first use is done.
 *   4. the filter (filter.c): from here on read and write of the channel, and exit.
 *   5. serve until the channel ends.
 * Any step that fails ends the start with one line, told to the gateway in a FAILED frame, or to
 * stderr when there is no gateway.
 *
 * It ignores SIGTERM, SIGINT and SIGHUP: a terminal or a service manager sends them to all
 * processes at once, and the gateway still has statements to sign while it drains. It ends with its
 * channel; should something else hold the channel open, it is killed with its parent (PDEATHSIG).
 *
 * Exit: 0 the channel was closed, 1 it could not start, 2 usage, 3 a request outside the table, 4
 * the channel broke. It leaves by _exit: nothing of the C library's farewell is allowed by the
 * filter. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "base/log.h"
#include "base/text.h"
#include "signer/filter.h"
#include "signer/key.h"
#include "signer/serve.h"

enum { EXIT_START = 1, EXIT_USAGE = 2, FD_MAX = 1 << 20 };

struct options {
    const char *key;
    int channel;
};

static bool parse(int argc, char **argv, struct options *ret)
{
    uint64_t channel = 0;
    if (argc != 5 || strcmp(argv[1], "--key") != 0 || strcmp(argv[3], "--fd") != 0 ||
        argv[2][0] == '\0' || !rd_text_u64(argv[4], strlen(argv[4]), &channel) ||
        channel > FD_MAX) {
        return false;
    }
    *ret = (struct options){.key = argv[2], .channel = (int)channel};
    return true;
}

static rd_err harden(struct rd_why *why)
{
    static const int ignored[] = {SIGPIPE, SIGTERM, SIGINT, SIGHUP};
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0) {
        return rd_why_errno(why, errno, "forbid", "core dumps");
    }
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return rd_why_errno(why, errno, "forbid", "tracing");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return rd_why_errno(why, errno, "set", "no_new_privs");
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
        return rd_why_errno(why, errno, "set", "the parent-death signal");
    }
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) {
        if (signal(ignored[i], SIG_IGN) == SIG_ERR) {
            return rd_why_errno(why, errno, "ignore", "signals");
        }
    }
    return RD_OK;
}

/* The channel must be a local stream socket; every other descriptor above stderr is closed. */
static rd_err settle_descriptors(int channel, struct rd_why *why)
{
    int domain = 0;
    int type = 0;
    socklen_t len = sizeof domain;
    if (getsockopt(channel, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0 ||
        getsockopt(channel, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || domain != AF_UNIX ||
        type != SOCK_STREAM) {
        return rd_why_set(why, RD_ERR_CONFIG, "descriptor %d is not a local stream socket",
                          channel);
    }
    unsigned own = (unsigned)channel;
    int failed = own > 3 ? close_range(3, own - 1, 0) : 0;
    if (failed == 0) {
        failed = close_range(own < 3 ? 3 : own + 1, ~0u, 0);
    }
    return failed == 0 ? RD_OK : rd_why_errno(why, errno, "close", "inherited descriptors");
}

static rd_err warm_up(struct rd_signerd *signerd)
{
    static const char text[] = RD_STATEMENT_PREFIX "\"subject\":[]}";
    struct rd_signer_header header = {.kind = RD_SIGNER_SIGN_STATEMENTS,
                                      .count = 1,
                                      .length = RD_SIGNER_LENGTH_LEN + sizeof text - 1};
    rd_signer_put_u32(signerd->body, sizeof text - 1);
    memcpy(signerd->body + RD_SIGNER_LENGTH_LEN, text, sizeof text - 1);
    bool ok = rd_signerd_answer(signerd, &header);
    sodium_memzero(signerd->answer, sizeof signerd->answer); /* this signature is nobody's */
    return ok ? RD_OK : RD_ERR_INTERNAL;
}

static rd_err start(const struct options *options, struct rd_signerd_key *key,
                    struct rd_signerd *signerd, struct rd_why *why)
{
    if (sodium_init() < 0) {
        return rd_why_set(why, RD_ERR_INTERNAL, "cannot start libsodium");
    }
    RD_TRY(harden(why));
    RD_TRY(settle_descriptors(options->channel, why));
    RD_TRY(rd_signerd_key_open(options->key, key, why));
    if (!key->locked) {
        rd_log(RD_LOG_WARN, "the signing key cannot be locked in memory: RLIMIT_MEMLOCK", NULL);
    }
    if (rd_signerd_init(signerd, key) != RD_OK || warm_up(signerd) != RD_OK) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "cannot prepare to sign");
    }
    if (!rd_signerd_filter_strict) {
        rd_log(RD_LOG_WARN, "sanitizer build: the signer's system-call filter is relaxed", NULL);
    }
    return rd_signerd_filter_install(options->channel, why);
}

/* Tells the gateway; stderr when it does not listen. */
static void report(int channel, const char *text)
{
    uint8_t frame[RD_SIGNER_HEADER_LEN + RD_SIGNER_FAILED_MAX];
    size_t len = strnlen(text, RD_SIGNER_FAILED_MAX);
    rd_signer_header_write(
        frame,
        (struct rd_signer_header){.kind = RD_SIGNER_FAILED, .count = 0, .length = (uint32_t)len});
    memcpy(frame + RD_SIGNER_HEADER_LEN, text, len);
    ssize_t want = (ssize_t)(RD_SIGNER_HEADER_LEN + len);
    if (send(channel, frame, (size_t)want, MSG_NOSIGNAL | MSG_DONTWAIT) != want) {
        (void)fprintf(stderr, "render-signer: %s\n", text);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    if (!parse(argc, argv, &options)) {
        (void)fputs("usage: render-signer --key FILE --fd N   (started by render-gateway)\n",
                    stderr);
        _exit(EXIT_USAGE);
    }
    static struct rd_signerd signerd;
    static struct rd_signerd_key key;
    struct rd_why why = {""};
    if (start(&options, &key, &signerd, &why) != RD_OK) {
        report(options.channel, why.text);
        _exit(EXIT_START);
    }
    _exit((int)rd_signerd_serve(&signerd, options.channel));
}
