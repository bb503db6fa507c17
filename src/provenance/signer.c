/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway's end of the channel to render-signer: starts it, speaks signer_proto.h, and starts
 * it again when it has died.
 *
 * Locking: one mutex is held for a whole batch, because the channel answers in turn. Signing one
 * statement costs more than passing it, so a second channel would gain nothing; callers gain by
 * batching.
 *
 * Waits are bounded: the socket is used without blocking, and poll(2) waits at most 5 s for a whole
 * frame in either direction. A signer that is late, wrong or gone is killed, reaped, and forgotten.
 * It is started again by the next call that needs it, at most once a second, so that a key file
 * that went bad does not become a storm of processes. A started signer must show the same public
 * key as the first one: a gateway never changes its identity while it runs.
 *
 * The child gets /dev/null, stderr and its end of the channel, by posix_spawn(3), which is safe in
 * a process with threads. Its parent, for PDEATHSIG, is the thread that started it: when that
 * thread ends the signer is killed, and the next call starts it anew. */
#include "provenance/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "provenance/signer_proto.h"

enum {
    CHILD_CHANNEL = 3, /* where the child finds its end */
    PARK_ABOVE = 10,   /* keeps our descriptors away from the child's 0 to 3 */
    RESTART_MS = 1000, /* at most one start in this time */
    STOP_MS = 1000,    /* patience for its own end before it is killed */
    NS_PER_MS = 1000000,
};

struct rd_signer {
    pthread_mutex_t lock;
    char *program;       /* owned */
    char *key_file;      /* owned */
    int channel;         /* -1: not running */
    _Atomic int pid;     /* 0: not running */
    uint64_t started_ns; /* last attempt to start */
    uint8_t public_key[RD_KEY_LEN];
    char keyid[RD_KEYID_LEN + 1];
};

extern char **environ;

/* ---- bytes through the channel; every failure means that the signer is of no more use ---- */

static uint64_t deadline_in(unsigned ms)
{
    return rd_clock_mono_ns() + (uint64_t)ms * NS_PER_MS;
}

static bool wait_for(int channel, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = rd_clock_mono_ns();
        if (now >= deadline_ns) {
            return false;
        }
        struct pollfd pollfd = {.fd = channel, .events = events};
        int ready = poll(&pollfd, 1, (int)((deadline_ns - now) / NS_PER_MS) + 1);
        if (ready > 0) {
            return true;
        }
        if (ready < 0 && errno != EINTR) {
            return false;
        }
    }
}

/* Takes `sent` bytes off the front of the vector, and the empty parts that then lead it. */
static void advance(struct msghdr *message, size_t sent)
{
    while (message->msg_iovlen > 0 && (sent > 0 || message->msg_iov->iov_len == 0)) {
        struct iovec *first = message->msg_iov;
        size_t step = sent < first->iov_len ? sent : first->iov_len;
        first->iov_base = (char *)first->iov_base + step;
        first->iov_len -= step;
        sent -= step;
        if (first->iov_len == 0) {
            message->msg_iov++;
            message->msg_iovlen--;
        }
    }
}

static rd_err send_all(int channel, struct iovec *parts, size_t count, uint64_t deadline_ns)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    while (message.msg_iovlen > 0) {
        ssize_t sent = sendmsg(channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            advance(&message, (size_t)sent);
        } else if (errno == EAGAIN) {
            if (!wait_for(channel, POLLOUT, deadline_ns)) {
                return RD_ERR_STORAGE;
            }
        } else if (errno != EINTR) {
            return RD_ERR_STORAGE;
        }
    }
    return RD_OK;
}

static rd_err receive_all(int channel, void *out, size_t len, uint64_t deadline_ns)
{
    char *at = out;
    while (len > 0) {
        ssize_t got = recv(channel, at, len, MSG_DONTWAIT);
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        } else if (got < 0 && errno == EAGAIN) {
            if (!wait_for(channel, POLLIN, deadline_ns)) {
                return RD_ERR_STORAGE;
            }
        } else if (got == 0 || errno != EINTR) {
            return RD_ERR_STORAGE;
        }
    }
    return RD_OK;
}

static rd_err receive_header(int channel, struct rd_signer_header *ret, uint64_t deadline_ns)
{
    uint8_t bytes[RD_SIGNER_HEADER_LEN];
    RD_TRY(receive_all(channel, bytes, sizeof bytes, deadline_ns));
    return rd_signer_header_read(bytes, ret) ? RD_OK : RD_ERR_STORAGE;
}

/* ---- the process ---- */

/* Forgets the signer; kills it when it did not end by itself. */
static void bury(struct rd_signer *signer)
{
    int pid = atomic_load(&signer->pid);
    if (signer->channel >= 0) {
        (void)close(signer->channel);
        signer->channel = -1;
    }
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        atomic_store(&signer->pid, 0);
    }
}

/* `channel` becomes the child's descriptor 3, /dev/null its 0 and 1. Answers an errno. */
static int spawn_with(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes,
                      const struct rd_signer *signer, int channel, pid_t *ret_pid)
{
    char number[16];
    (void)snprintf(number, sizeof number, "%d", (int)CHILD_CHANNEL);
    char flag_key[] = "--key";
    char flag_fd[] = "--fd";
    char *argv[] = {signer->program, flag_key, signer->key_file, flag_fd, number, NULL};
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int failed = posix_spawnattr_setsigmask(attributes, &none);
    failed = failed != 0 ? failed : posix_spawnattr_setsigdefault(attributes, &all);
    failed = failed != 0 ? failed
                         : posix_spawnattr_setflags(attributes,
                                                    POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    failed =
        failed != 0 ? failed : posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDWR, 0);
    failed = failed != 0 ? failed : posix_spawn_file_actions_adddup2(actions, 0, 1);
    failed =
        failed != 0 ? failed : posix_spawn_file_actions_adddup2(actions, channel, CHILD_CHANNEL);
    failed =
        failed != 0 ? failed : posix_spawn_file_actions_addclosefrom_np(actions, CHILD_CHANNEL + 1);
    return failed != 0 ? failed
                       : posix_spawn(ret_pid, signer->program, actions, attributes, argv, environ);
}

static int spawn(const struct rd_signer *signer, int channel, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed != 0) {
        return failed;
    }
    failed = posix_spawnattr_init(&attributes);
    if (failed == 0) {
        failed = spawn_with(&actions, &attributes, signer, channel, ret_pid);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return failed;
}

/* Both ends close on exec and lie above the numbers that the child uses. */
static rd_err open_channel(int *ret_ours, int *ret_theirs, struct rd_why *why)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return rd_why_errno(why, errno, "create", "the signer's channel");
    }
    int theirs = fcntl(ends[1], F_DUPFD_CLOEXEC, PARK_ABOVE);
    int errnum = errno;
    (void)close(ends[1]);
    if (theirs < 0) {
        (void)close(ends[0]);
        return rd_why_errno(why, errnum, "create", "the signer's channel");
    }
    *ret_ours = ends[0];
    *ret_theirs = theirs;
    return RD_OK;
}

/* The text of a FAILED frame becomes `why`. */
static rd_err read_failure(int channel, uint32_t length, uint64_t deadline_ns, struct rd_why *why)
{
    char text[RD_SIGNER_FAILED_MAX + 1] = "";
    if (length > RD_SIGNER_FAILED_MAX || receive_all(channel, text, length, deadline_ns) != RD_OK) {
        return rd_why_set(why, RD_ERR_STORAGE, "render-signer answered nonsense");
    }
    return rd_why_set(why, RD_ERR_STORAGE, "render-signer: %s", text);
}

static rd_err ask_public_key(int channel, uint8_t ret[RD_KEY_LEN], struct rd_why *why)
{
    uint64_t deadline_ns = deadline_in(RD_SIGNER_TIMEOUT_MS);
    uint8_t request[RD_SIGNER_HEADER_LEN];
    struct rd_signer_header header = {.kind = RD_SIGNER_PUBLIC_KEY};
    rd_signer_header_write(request, header);
    struct iovec part = {request, sizeof request};
    /* A signer that could not start may have gone before this arrives; what it left can be read. */
    rd_err sent = send_all(channel, &part, 1, deadline_ns);
    rd_err err = receive_header(channel, &header, deadline_ns);
    if (err == RD_OK && header.kind == RD_SIGNER_FAILED) {
        return read_failure(channel, header.length, deadline_ns, why);
    }
    uint8_t key[RD_KEY_LEN];
    if (sent != RD_OK || err != RD_OK || header.kind != RD_SIGNER_PUBLIC_KEY ||
        header.length != RD_KEY_LEN ||
        receive_all(channel, key, sizeof key, deadline_ns) != RD_OK) {
        return rd_why_set(why, RD_ERR_STORAGE, "render-signer ended or gave no answer in %d s",
                          RD_SIGNER_TIMEOUT_MS / 1000);
    }
    memcpy(ret, key, RD_KEY_LEN);
    return RD_OK;
}

/* Starts the process and asks for its key. On failure nothing runs. */
static rd_err start_process(struct rd_signer *signer, uint8_t ret_key[RD_KEY_LEN],
                            struct rd_why *why)
{
    int theirs = -1;
    pid_t pid = 0;
    signer->started_ns = rd_clock_mono_ns();
    RD_TRY(open_channel(&signer->channel, &theirs, why));
    int failed = spawn(signer, theirs, &pid);
    (void)close(theirs);
    if (failed != 0) {
        bury(signer);
        return rd_why_errno(why, failed, "start", signer->program);
    }
    atomic_store(&signer->pid, (int)pid);
    rd_err err = ask_public_key(signer->channel, ret_key, why);
    if (err != RD_OK) {
        bury(signer);
    }
    return err;
}

/* Makes sure that a signer runs, within the rate of starts. */
static rd_err ensure_running(struct rd_signer *signer)
{
    uint8_t key[RD_KEY_LEN];
    if (signer->channel >= 0) {
        return RD_OK;
    }
    if (rd_clock_mono_ns() - signer->started_ns < (uint64_t)RESTART_MS * NS_PER_MS) {
        return RD_ERR_STORAGE;
    }
    RD_TRY(start_process(signer, key, NULL));
    if (memcmp(key, signer->public_key, RD_KEY_LEN) != 0) {
        bury(signer);
        return RD_ERR_STORAGE;
    }
    return RD_OK;
}

/* ---- signing ---- */

/* How many of the items fit into one frame; at least 1 (each length was checked). */
static size_t frame_fit(const struct rd_signer_item *items, size_t count, size_t *ret_body)
{
    size_t body = 0;
    size_t fit = 0;
    while (fit < count && fit < RD_SIGNER_BATCH_MAX &&
           body + RD_SIGNER_LENGTH_LEN + items[fit].len <= RD_SIGNER_BODY_MAX) {
        body += RD_SIGNER_LENGTH_LEN + items[fit].len;
        fit++;
    }
    *ret_body = body;
    return fit;
}

static rd_err receive_signatures(int channel, struct rd_signer_item *items, size_t count,
                                 uint64_t deadline_ns)
{
    struct rd_signer_header header;
    uint8_t signatures[RD_SIGNER_BATCH_MAX][RD_SIGNATURE_LEN];
    RD_TRY(receive_header(channel, &header, deadline_ns));
    if (header.kind == RD_SIGNER_REFUSED && header.length == 0) {
        return RD_ERR_INVALID_REQUEST;
    }
    if (header.kind != RD_SIGNER_SIGN_STATEMENTS || header.count != count ||
        header.length != count * RD_SIGNATURE_LEN) {
        return RD_ERR_STORAGE;
    }
    RD_TRY(receive_all(channel, signatures, header.length, deadline_ns));
    for (size_t i = 0; i < count; i++) {
        memcpy(items[i].signature, signatures[i], RD_SIGNATURE_LEN);
    }
    return RD_OK;
}

static rd_err sign_frame(const struct rd_signer *signer, struct rd_signer_item *items, size_t count,
                         size_t body)
{
    uint8_t head[RD_SIGNER_HEADER_LEN + RD_SIGNER_BATCH_MAX * RD_SIGNER_LENGTH_LEN];
    struct iovec parts[1 + RD_SIGNER_BATCH_MAX];
    uint64_t deadline_ns = deadline_in(RD_SIGNER_TIMEOUT_MS);
    rd_signer_header_write(head, (struct rd_signer_header){.kind = RD_SIGNER_SIGN_STATEMENTS,
                                                           .count = (uint16_t)count,
                                                           .length = (uint32_t)body});
    parts[0] = (struct iovec){head, RD_SIGNER_HEADER_LEN + count * RD_SIGNER_LENGTH_LEN};
    for (size_t i = 0; i < count; i++) {
        rd_signer_put_u32(head + RD_SIGNER_HEADER_LEN + i * RD_SIGNER_LENGTH_LEN,
                          (uint32_t)items[i].len);
        memcpy(&parts[1 + i].iov_base, &items[i].statement, sizeof(void *)); /* only read from */
        parts[1 + i].iov_len = items[i].len;
    }
    RD_TRY(send_all(signer->channel, parts, 1 + count, deadline_ns));
    return receive_signatures(signer->channel, items, count, deadline_ns);
}

/* One frame, tried again once with a new signer when the old one turns out to be dead. */
static rd_err sign_frame_retrying(struct rd_signer *signer, struct rd_signer_item *items,
                                  size_t count, size_t body)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        RD_TRY(ensure_running(signer));
        rd_err err = sign_frame(signer, items, count, body);
        if (err != RD_ERR_STORAGE) {
            return err;
        }
        bury(signer);
    }
    return RD_ERR_STORAGE;
}

rd_err rd_signer_sign(struct rd_signer *signer, struct rd_signer_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].len > RD_SIGNER_STATEMENT_MAX) {
            return RD_ERR_TOO_LARGE;
        }
    }
    rd_err err = RD_OK;
    (void)pthread_mutex_lock(&signer->lock);
    while (count > 0 && err == RD_OK) {
        size_t body = 0;
        size_t fit = frame_fit(items, count, &body);
        err = sign_frame_retrying(signer, items, fit, body);
        items += fit;
        count -= fit;
    }
    (void)pthread_mutex_unlock(&signer->lock);
    return err;
}

/* ---- life ---- */

rd_err rd_signer_start(const char *program, const char *key_file, struct rd_signer **ret,
                       struct rd_why *why)
{
    struct rd_signer *signer = rd_mem_alloc(sizeof *signer);
    if (signer == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    signer->channel = -1;
    signer->program = rd_mem_strdup(program);
    signer->key_file = rd_mem_strdup(key_file);
    rd_err err = signer->program == NULL || signer->key_file == NULL ||
                         pthread_mutex_init(&signer->lock, NULL) != 0
                     ? RD_ERR_NO_MEMORY
                     : start_process(signer, signer->public_key, why);
    if (err != RD_OK) {
        rd_mem_free(signer->program);
        rd_mem_free(signer->key_file);
        rd_mem_free(signer);
        return err;
    }
    rd_jwk_thumbprint(signer->public_key, signer->keyid);
    *ret = signer;
    return RD_OK;
}

const uint8_t *rd_signer_public_key(const struct rd_signer *signer)
{
    return signer->public_key;
}

const char *rd_signer_keyid(const struct rd_signer *signer)
{
    return signer->keyid;
}

int rd_signer_pid(const struct rd_signer *signer)
{
    return atomic_load(&signer->pid);
}

bool rd_signer_alive(struct rd_signer *signer)
{
    /* Held: a batch is under way, whose caller will find out; do not wait for it. */
    if (pthread_mutex_trylock(&signer->lock) != 0) {
        return rd_signer_pid(signer) > 0;
    }
    int pid = rd_signer_pid(signer);
    bool alive = pid > 0 && waitpid(pid, NULL, WNOHANG) == 0;
    if (pid > 0 && !alive) {
        atomic_store(&signer->pid, 0); /* reaped just now: bury() must not kill its number */
        bury(signer);
    }
    (void)pthread_mutex_unlock(&signer->lock);
    return alive;
}

rd_err rd_signer_revive(struct rd_signer *signer)
{
    (void)pthread_mutex_lock(&signer->lock);
    rd_err err = ensure_running(signer);
    (void)pthread_mutex_unlock(&signer->lock);
    return err;
}

void rd_signer_stop(struct rd_signer *signer)
{
    if (signer == NULL) {
        return;
    }
    if (signer->channel >= 0 && shutdown(signer->channel, SHUT_WR) == 0) {
        /* The signer sees the end and leaves; its end of the channel closes with it. */
        (void)wait_for(signer->channel, POLLIN, deadline_in(STOP_MS));
    }
    bury(signer);
    (void)pthread_mutex_destroy(&signer->lock);
    rd_mem_free(signer->program);
    rd_mem_free(signer->key_file);
    rd_mem_free(signer);
}
