/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine that answers at once, for the benchmarks: an HTTP/1.1 server whose every POST is
 * answered with a PNG of SIZE bytes, 1024 x 1024 pixels, and all of them differ. It does nothing
 * else: one thread, epoll, keep-alive, one writev an answer. The gateway and nginx are both
 * measured in front of it.
 *
 * The gateway looks at every pixel, so these are true pictures: gray, of the least depth whose rows
 * hold SIZE bytes; as many rows as fit are noise, which does not compress, and the rest is black. A
 * text chunk fills up the last bytes, another one, in front, is what differs.
 *
 * usage: bench-origin PORT SIZE [same]
 *     PORT 0 takes a free one; prints "listening on PORT" when it is ready; same: the bodies do not
 * differ, so that a store does not grow by them */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <zlib.h>

enum { CLIENTS_MAX = 1024, REQUEST_MAX = 65536, EVENTS = 256 };
enum { SIDE = 1024, STAMP = 8 + 25 + 12 + 34, SIZE_MIN = 1024 };

struct client {
    char in[REQUEST_MAX];
    size_t in_len;
    size_t sent; /* of the answer in flight */
    bool answering;
    char stamp[STAMP]; /* up to what makes this answer differ */
    size_t stamp_len;
};

static struct client *clients[CLIENTS_MAX];
static char *body;
static size_t body_len;
static char head[256];
static size_t head_len;
static uint64_t counter, counts = 1;

static void put32(char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (char)(value >> (24 - 8 * i));
    }
}

/* A chunk whose data is there: its length, type and checksum around it. */
static void seal_chunk(char *chunk, const char *type, size_t len)
{
    put32(chunk, (uint32_t)len);
    memcpy(chunk + 4, type, 4);
    put32(chunk + 8 + len, (uint32_t)crc32_z(0, (const unsigned char *)chunk + 4, len + 4));
}

/* Signature and IHDR are the same in all; the text behind them is not. */
static void write_stamp(struct client *c)
{
    char text[35];
    memcpy(c->stamp, body, STAMP);
    (void)snprintf(text, sizeof text, "n%c%032llx", 0,
                   (unsigned long long)(counter += counts) * 0x9e3779b97f4a7c15u);
    memcpy(c->stamp + 33 + 8, text, 34);
    seal_chunk(c->stamp + 33, "tEXt", 34);
    c->stamp_len = STAMP;
}

/* The pixels packed: `noise` rows of `row` bytes, the others black. */
static size_t pack(char *to, size_t room, size_t row, size_t noise)
{
    unsigned char *raw = calloc(SIDE, row + 1); /* tidy: a benchmark's own helper */
    uLongf len = room;
    uint64_t x = 88172645463325252u;
    if (raw == NULL) {
        exit(1);
    }
    for (size_t y = 0; y < noise; y++) {
        for (size_t i = 0; i < row; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            raw[y * (row + 1) + 1 + i] = (unsigned char)x;
        }
    }
    int got = compress2((Bytef *)to, &len, raw, SIDE * (row + 1), 1);
    free(raw); /* tidy: the same */
    return got == Z_OK ? len : room;
}

static void make_body(void)
{
    unsigned depth = 1;
    while (depth < 16 && (size_t)SIDE * SIDE / 8 * depth < body_len) {
        depth *= 2;
    }
    size_t row = (size_t)SIDE / 8 * depth;
    size_t most = body_len - STAMP - 12 - 12 - 12 - 8; /* IDAT's, IEND's and the filling's frames */
    size_t noise = most / (row + 1) < SIDE ? most / (row + 1) : SIDE;
    char *at = body + STAMP;
    size_t packed = pack(at + 8, most, row, noise);
    while (packed >= most && noise > 0) {
        packed = pack(at + 8, most, row, --noise);
    }
    memcpy(body, "\x89PNG\r\n\x1a\n", 8);
    put32(body + 16, SIDE);
    put32(body + 20, SIDE);
    memcpy(body + 24, (const char[]){(char)depth, 0, 0, 0, 0}, 5);
    seal_chunk(body + 8, "IHDR", 13);
    seal_chunk(at, "IDAT", packed);
    at += packed + 12;
    size_t fill = body_len - (size_t)(at - body) - 12 - 12;
    memset(at + 8, 'x', fill);
    memcpy(at + 8, "fill", 5);
    seal_chunk(at, "tEXt", fill);
    seal_chunk(at + fill + 12, "IEND", 0);
}

/* The length of the first whole request in `in`, or 0. */
static size_t request_len(const struct client *c)
{
    const char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (end == NULL) {
        return 0;
    }
    size_t len = (size_t)(end - c->in) + 4;
    const char *p = c->in;
    while (p < end) {
        if (strncasecmp(p, "content-length:", 15) == 0) {
            len += strtoul(p + 15, NULL, 10);
        }
        const char *next = memchr(p, '\n', (size_t)(end + 2 - p));
        p = next == NULL ? end : next + 1;
    }
    return len <= c->in_len ? len : 0;
}

/* Sends what is left of the answer; true when all of it is gone, or the client (then *dead). */
static bool send_rest(int fd, struct client *c, bool *dead)
{
    size_t total = head_len + c->stamp_len + body_len - c->stamp_len;
    while (c->sent < total) {
        struct iovec parts[3] = {
            {head, head_len},
            {c->stamp, c->stamp_len},
            {body + c->stamp_len, body_len - c->stamp_len},
        };
        size_t skip = c->sent;
        int first = 0;
        while (first < 2 && skip >= parts[first].iov_len) {
            skip -= parts[first++].iov_len;
        }
        parts[first].iov_base = (char *)parts[first].iov_base + skip;
        parts[first].iov_len -= skip;
        ssize_t put = writev(fd, parts + first, 3 - first);
        if (put < 0) {
            *dead = errno != EAGAIN && errno != EWOULDBLOCK;
            return *dead;
        }
        c->sent += (size_t)put;
    }
    return true;
}

static bool serve(int fd, struct client *c)
{
    for (;;) {
        bool dead = false;
        if (c->answering) {
            if (!send_rest(fd, c, &dead)) {
                return true;
            }
            if (dead) {
                return false;
            }
            c->answering = false;
        }
        size_t len = request_len(c);
        if (len > 0) {
            memmove(c->in, c->in + len, c->in_len - len);
            c->in_len -= len;
            write_stamp(c);
            c->answering = true;
            c->sent = 0;
            continue;
        }
        ssize_t got = read(fd, c->in + c->in_len, sizeof c->in - c->in_len);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return true;
        }
        if (got <= 0) {
            return false;
        }
        c->in_len += (size_t)got;
    }
}

/* *port: the one asked for, and then the one taken. */
static int open_listener(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        perror("bench-origin: listen");
        exit(1);
    }
    *port = ntohs(address.sin_port);
    return fd;
}

static void accept_all(int epoll, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int one = 1;
        if (fd >= CLIENTS_MAX) {
            (void)close(fd);
            continue;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (clients[fd] == NULL) {
            clients[fd] = calloc(1, sizeof *clients[fd]); /* tidy: a benchmark's own helper */
        }
        if (clients[fd] == NULL) {
            exit(1);
        }
        clients[fd]->in_len = 0;
        clients[fd]->answering = false;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 && (argc != 4 || strcmp(argv[3], "same") != 0)) {
        (void)fprintf(stderr, "usage: bench-origin PORT SIZE [same]\n");
        return 2;
    }
    counts = argc == 3;
    body_len = strtoul(argv[2], NULL, 10);
    body = malloc(body_len + 64); /* tidy: a benchmark's own helper */
    if (body == NULL || body_len < SIZE_MIN) {
        return 1;
    }
    make_body();
    head_len = (size_t)snprintf(
        head, sizeof head,
        "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %zu\r\n\r\n", body_len);
    (void)signal(SIGPIPE, SIG_IGN); /* who is measured may close with an answer on its way */
    uint16_t port = (uint16_t)strtoul(argv[1], NULL, 10);
    int listener = open_listener(&port);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    (void)printf("listening on %u\n", (unsigned)port);
    (void)fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(epoll, listener);
            } else if (!serve(fd, clients[fd])) {
                (void)close(fd);
            }
        }
    }
}
