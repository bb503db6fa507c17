/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients that hand in jobs as fast as they are let: each of CLIENTS connections sends the same
 * bytes, waits for the whole answer, and sends them again. One program for both servers that are
 * compared, so that the client costs the same:
 *
 *     http      REQUEST is a request, head and body; what counts is an answer with STATUS
 *     beanstalk REQUEST is a put command with its job; what counts is "INSERTED"
 *
 * One thread, epoll. The first tenth of the time warms up and is not counted.
 *
 * usage: bench-enqueue http:STATUS|beanstalk PORT REQUEST CLIENTS SECONDS
 *     one line of JSON: answers counted, other answers, the seconds that were counted, the client's
 *     own share of a core, and percentiles of the time from sending to the answer's end in us */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
    CLIENTS_MAX = 1024,
    REQUEST_MAX = 65536,
    ANSWER_MAX = 16384,
    SAMPLES_MAX = 1 << 23,
    WARM_UP_PERCENT = 10,
    PATIENCE_MS = 10000, /* nobody is answered for so long: the server hangs */
};

struct client {
    int fd;
    uint64_t sent_ns;
    size_t len;
    char answer[ANSWER_MAX + 1];
};

struct load {
    char request[REQUEST_MAX];
    size_t request_len;
    char wanted[32]; /* how a good answer begins */
    bool http;
    uint64_t count_from_ns, until_ns, count, bad;
    uint32_t *us; /* SAMPLES_MAX */
};

static void die(const char *what)
{
    (void)fprintf(stderr, "bench-enqueue: %s%s%s\n", what, errno == 0 ? "" : ": ",
                  errno == 0 ? "" : strerror(errno));
    exit(1);
}

static void send_request(struct load *load, struct client *client)
{
    client->len = 0;
    client->sent_ns = rd_clock_mono_ns();
    ssize_t put = send(client->fd, load->request, load->request_len, MSG_NOSIGNAL);
    if (put != (ssize_t)load->request_len) { /* far smaller than the socket's buffer */
        die("cannot send a request whole");
    }
}

/* The length of the whole answer; 0: not known yet. */
static size_t answer_len(const struct load *load, const struct client *client)
{
    const char *end =
        memmem(client->answer, client->len, load->http ? "\r\n\r\n" : "\r\n", load->http ? 4 : 2);
    if (end == NULL || !load->http) {
        return end == NULL ? 0 : (size_t)(end + 2 - client->answer);
    }
    const char *field = strcasestr(client->answer, "\r\ncontent-length:");
    if (field == NULL || field > end) {
        errno = 0;
        die("an answer has no Content-Length");
    }
    return (size_t)(end + 4 - client->answer) + strtoul(field + 17, NULL, 10);
}

static void answered(struct load *load, struct client *client)
{
    uint64_t now = rd_clock_mono_ns();
    if (strncmp(client->answer, load->wanted, strlen(load->wanted)) != 0) {
        load->bad++;
    } else if (client->sent_ns >= load->count_from_ns && load->count < SAMPLES_MAX) {
        load->us[load->count++] = (uint32_t)((now - client->sent_ns) / 1000);
    }
}

static void receive(struct load *load, struct client *client)
{
    ssize_t got = recv(client->fd, client->answer + client->len, ANSWER_MAX - client->len, 0);
    if (got <= 0) {
        errno = got == 0 ? 0 : errno;
        die("the server closed a connection");
    }
    client->len += (size_t)got;
    client->answer[client->len] = '\0';
    size_t whole = answer_len(load, client);
    if (whole > client->len || whole == 0) {
        if (client->len == ANSWER_MAX) {
            errno = 0;
            die("an answer is too long");
        }
        return;
    }
    answered(load, client);
    if (rd_clock_mono_ns() < load->until_ns) {
        send_request(load, client);
    }
}

static void connect_one(struct client *client, uint16_t port, int epoll)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    int one = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) != 0) {
        die("cannot connect");
    }
}

static void run(struct load *load, struct client *clients, size_t count, int epoll, double seconds)
{
    uint64_t start = rd_clock_mono_ns();
    load->count_from_ns = start + (uint64_t)(seconds * 1e9) * WARM_UP_PERCENT / 100;
    load->until_ns = start + (uint64_t)(seconds * 1e9);
    for (size_t i = 0; i < count; i++) {
        send_request(load, &clients[i]);
    }
    while (rd_clock_mono_ns() < load->until_ns) {
        struct epoll_event events[CLIENTS_MAX];
        int ready = epoll_wait(epoll, events, CLIENTS_MAX, PATIENCE_MS);
        if (ready == 0) {
            errno = 0;
            die("the server does not answer any more");
        }
        for (int i = 0; i < ready; i++) {
            receive(load, events[i].data.ptr);
        }
    }
}

static int by_value(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static uint32_t percentile(const struct load *load, unsigned percent)
{
    uint64_t rank = load->count * percent / 100;
    return load->us[rank >= load->count ? load->count - 1 : rank];
}

static void report(struct load *load, uint64_t cpu_ns)
{
    double seconds = (double)(load->until_ns - load->count_from_ns) / 1e9;
    if (load->count == 0) {
        errno = 0;
        die("no answer was good");
    }
    qsort(load->us, load->count, sizeof *load->us, by_value);
    (void)printf("{\"count\": %" PRIu64 ", \"bad\": %" PRIu64
                 ", \"seconds\": %.3f, \"cpu\": %.2f, \"p50_us\": %" PRIu32 ", \"p99_us\": %" PRIu32
                 ", \"max_us\": %" PRIu32 "}\n",
                 load->count, load->bad, seconds,
                 (double)cpu_ns / 1e9 / (seconds * 100 / (100 - WARM_UP_PERCENT)),
                 percentile(load, 50), percentile(load, 99), percentile(load, 100));
}

static void read_request(const char *path, struct load *load)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        die(path);
    }
    load->request_len = fread(load->request, 1, sizeof load->request, file);
    if (load->request_len == 0 || load->request_len == sizeof load->request) {
        die("the request must have 1 to 65535 bytes");
    }
    (void)fclose(file);
}

int main(int argc, char **argv)
{
    static struct load load;
    size_t count = argc == 6 ? strtoul(argv[4], NULL, 10) : 0;
    double seconds = argc == 6 ? strtod(argv[5], NULL) : 0;
    load.http = argc == 6 && strncmp(argv[1], "http:", 5) == 0;
    if (count == 0 || count > CLIENTS_MAX || seconds <= 0 || seconds > 600 ||
        (!load.http && strcmp(argv[1], "beanstalk") != 0)) {
        (void)fprintf(stderr, "usage: bench-enqueue http:STATUS|beanstalk PORT REQUEST CLIENTS "
                              "SECONDS\n");
        return 2;
    }
    (void)snprintf(load.wanted, sizeof load.wanted, "%s%.8s", load.http ? "HTTP/1.1 " : "INSERTED ",
                   load.http ? argv[1] + 5 : "");
    read_request(argv[3], &load);
    load.us = rd_mem_alloc_array(SAMPLES_MAX, sizeof *load.us);
    struct client *clients = rd_mem_alloc_array(count, sizeof *clients);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load.us == NULL || clients == NULL || epoll < 0) {
        die("cannot start");
    }
    for (size_t i = 0; i < count; i++) {
        connect_one(&clients[i], (uint16_t)strtoul(argv[2], NULL, 10), epoll);
    }
    uint64_t cpu = rd_clock_thread_cpu_ns();
    run(&load, clients, count, epoll, seconds);
    report(&load, rd_clock_thread_cpu_ns() - cpu);
    return 0;
}
