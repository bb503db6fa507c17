/* SPDX-License-Identifier: Apache-2.0
 *
 * Many event streams at once: opens STREAMS connections, sends REQUEST on each, and holds them.
 * When all have had their first event it prints "open". Then, for the line it is given on standard
 * input, it sends TRIGGER on a connection of its own, waits until every stream has had an event
 * that is named "started", and prints one line of JSON: when the first and the last of them had it,
 * in ms since the trigger was sent.
 *
 * usage: bench-streams PORT REQUEST TRIGGER STREAMS */
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
    STREAMS_MAX = 60000,
    TEXT_MAX = 16384,
    KEPT = 2047,     /* of what came last: the name of an event is far shorter */
    TOGETHER = 256,  /* connections that are opened without looking at the others */
    PATIENCE_S = 60, /* for all of them */
};

struct stream {
    int fd;
    bool has;
    size_t len;
    char text[KEPT + 1];
};

static void die(const char *what)
{
    (void)fprintf(stderr, "bench-streams: %s%s%s\n", what, errno == 0 ? "" : ": ",
                  errno == 0 ? "" : strerror(errno));
    exit(1);
}

static size_t read_text(const char *path, char text[TEXT_MAX])
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        die(path);
    }
    size_t len = fread(text, 1, TEXT_MAX, file);
    if (len == 0 || len == TEXT_MAX) {
        die("a request must have 1 to 16383 bytes");
    }
    (void)fclose(file);
    return len;
}

static int open_one(uint16_t port, const char *request, size_t len)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len) {
        die("cannot open a stream");
    }
    return fd;
}

/* Appends what came, forgetting the oldest. */
static void receive(struct stream *stream)
{
    char fresh[KEPT / 2];
    ssize_t got = recv(stream->fd, fresh, sizeof fresh, 0);
    if (got <= 0) {
        errno = got == 0 ? 0 : errno;
        die("the server closed a stream");
    }
    size_t room = KEPT - stream->len;
    if ((size_t)got > room) {
        size_t drop = (size_t)got - room;
        memmove(stream->text, stream->text + drop, stream->len - drop);
        stream->len -= drop;
    }
    memcpy(stream->text + stream->len, fresh, (size_t)got);
    stream->len += (size_t)got;
    stream->text[stream->len] = '\0';
}

/* Reads until `wanted` streams in all have had `word`, for at most `ms`. */
static size_t read_until(int epoll, const char *word, size_t have, size_t wanted, int ms,
                         uint64_t *ret_first_ns)
{
    uint64_t until = rd_clock_mono_ns() + (uint64_t)ms * 1000000;
    while (have < wanted && rd_clock_mono_ns() <= until) {
        struct epoll_event events[TOGETHER];
        int count = epoll_wait(epoll, events, TOGETHER, ms == 0 ? 0 : 100);
        for (int i = 0; i < count; i++) {
            struct stream *stream = events[i].data.ptr;
            receive(stream);
            if (!stream->has && strstr(stream->text, word) != NULL) {
                stream->has = true;
                *ret_first_ns = have == 0 ? rd_clock_mono_ns() : *ret_first_ns;
                have++;
            }
        }
        if (count == 0 && ms == 0) {
            break;
        }
    }
    return have;
}

static struct stream *open_all(int epoll, uint16_t port, const char *path, size_t count)
{
    char request[TEXT_MAX];
    size_t len = read_text(path, request);
    struct stream *streams = rd_mem_alloc_array(count, sizeof *streams);
    size_t have = 0;
    uint64_t first = 0;
    if (streams == NULL) {
        die("no memory");
    }
    for (size_t i = 0; i < count; i++) {
        streams[i].fd = open_one(port, request, len);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &streams[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, streams[i].fd, &event) != 0) {
            die("cannot watch a stream");
        }
        if (i % TOGETHER == TOGETHER - 1) {
            have = read_until(epoll, "event: ", have, i + 1, PATIENCE_S * 1000, &first);
        }
    }
    if (read_until(epoll, "event: ", have, count, PATIENCE_S * 1000, &first) < count) {
        errno = 0;
        die("not every stream had its first event");
    }
    return streams;
}

int main(int argc, char **argv)
{
    size_t count = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    if (count == 0 || count > STREAMS_MAX) {
        (void)fprintf(stderr, "usage: bench-streams PORT REQUEST TRIGGER STREAMS\n");
        return 2;
    }
    uint16_t port = (uint16_t)strtoul(argv[1], NULL, 10);
    char trigger[TEXT_MAX];
    char line[16];
    size_t trigger_len = read_text(argv[3], trigger);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct stream *streams = open_all(epoll, port, argv[2], count);
    (void)printf("open\n");
    (void)fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) {
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        streams[i].has = false;
    }
    uint64_t first = 0;
    (void)read_until(epoll, "event: started", 0, count, 0, &first); /* what came meanwhile */
    uint64_t start = rd_clock_mono_ns();
    (void)open_one(port, trigger, trigger_len);
    if (read_until(epoll, "event: started", 0, count, PATIENCE_S * 1000, &first) < count) {
        errno = 0;
        die("not every stream had the event");
    }
    (void)printf("{\"first_ms\": %.1f, \"last_ms\": %.1f}\n", (double)(first - start) / 1e6,
                 (double)(rd_clock_mono_ns() - start) / 1e6);
    return 0;
}
