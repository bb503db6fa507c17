/* SPDX-License-Identifier: Apache-2.0
 *
 * A client with a timetable. Request number i is due at start + i / RATE, whatever the server does;
 * the time that counts goes from that moment to the last byte of the answer. So a server that
 * stalls is charged for everybody who would have come meanwhile (a client that waits for its answer
 * before it asks again would have stayed away, and would report one slow request instead of a
 * hundred).
 *
 * One thread: a periodic timer and the kept connections stand in one epoll set. A request that is
 * due takes a connection that is idle; when none is, it waits in the timetable and its clock runs.
 * The first tenth of the requests warms everything up and is not counted.
 *
 * The same bytes are sent each time, from REQUEST: this program knows no HTTP request, and of an
 * answer only the status line and Content-Length.
 *
 * usage: bench-latency PORT REQUEST RATE SECONDS CONNECTIONS
 *     one line of JSON: requests counted, answers other than 200, requests not answered at the end,
 * and percentiles in us; "late": how long after their time the requests were sent, the client's own
 * share */
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
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
    CONNECTIONS_MAX = 1024,
    REQUEST_MAX = 65536, /* what bench-origin takes */
    HEAD_MAX = 16384,
    SINK = 1 << 18,
    SAMPLES_MAX = 1 << 23,
    WARM_UP_PERCENT = 10,
    GRACE_MS = 5000, /* for answers that are still missing when the last request was due */
    EVENTS = 256,
};

struct conn {
    int fd;
    uint64_t index;     /* of the request in flight */
    bool busy, in_body; /* in_body: the head has been read */
    uint64_t body_left;
    size_t head_len;
    char head[HEAD_MAX + 1];
};

struct plan {
    char request[REQUEST_MAX];
    size_t request_len;
    double interval_ns;
    uint64_t start_ns, total, warm_up, next, answered, bad;
    uint64_t *latency_ns, *late_ns; /* by request, 0 while not known */
    struct conn *idle[CONNECTIONS_MAX];
    size_t idle_count;
};

static char sink[SINK];

static void die(const char *what)
{
    (void)fprintf(stderr, "bench-latency: %s%s%s\n", what, errno == 0 ? "" : ": ",
                  errno == 0 ? "" : strerror(errno));
    exit(1);
}

static uint64_t due_ns(const struct plan *plan, uint64_t index)
{
    return plan->start_ns + (uint64_t)((double)index * plan->interval_ns);
}

/* ---- sending ---- */

static void send_due(struct plan *plan)
{
    while (plan->next < plan->total && plan->idle_count > 0) {
        uint64_t now = rd_clock_mono_ns();
        uint64_t due = due_ns(plan, plan->next);
        if (now < due) {
            return;
        }
        struct conn *conn = plan->idle[--plan->idle_count];
        conn->index = plan->next++;
        conn->busy = true;
        conn->in_body = false;
        conn->head_len = 0;
        plan->late_ns[conn->index] = now - due;
        ssize_t put = send(conn->fd, plan->request, plan->request_len, MSG_NOSIGNAL);
        if (put != (ssize_t)plan->request_len) { /* far smaller than the socket's buffer */
            die("cannot send a request whole");
        }
    }
}

/* ---- receiving ---- */

static void finish(struct plan *plan, struct conn *conn)
{
    plan->latency_ns[conn->index] = rd_clock_mono_ns() - due_ns(plan, conn->index);
    plan->answered++;
    conn->busy = false;
    plan->idle[plan->idle_count++] = conn;
    send_due(plan);
}

/* Reads status and length once the whole head is there; the body's first bytes may follow it. */
static void read_head(struct plan *plan, struct conn *conn)
{
    const char *end = memmem(conn->head, conn->head_len, "\r\n\r\n", 4);
    if (end == NULL) {
        if (conn->head_len == HEAD_MAX) {
            die("an answer's head is too long");
        }
        return;
    }
    conn->head[conn->head_len] = '\0';
    plan->bad += strncmp(conn->head, "HTTP/1.1 200 ", 13) != 0;
    const char *field = strcasestr(conn->head, "\r\ncontent-length:");
    if (field == NULL || field > end) {
        die("an answer has no Content-Length");
    }
    uint64_t length = strtoull(field + 17, NULL, 10);
    size_t have = conn->head_len - (size_t)(end + 4 - conn->head);
    if (have > length) {
        die("an answer is longer than it says");
    }
    conn->in_body = true;
    conn->body_left = length - have;
}

static void receive(struct plan *plan, struct conn *conn)
{
    while (conn->busy) {
        bool body = conn->in_body;
        size_t left = body ? conn->body_left : HEAD_MAX - conn->head_len;
        char *into = body ? sink : conn->head + conn->head_len;
        ssize_t got = recv(conn->fd, into, left > sizeof sink ? sizeof sink : left, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (got <= 0) {
            errno = got == 0 ? 0 : errno;
            die("the server closed a connection");
        }
        if (body) {
            conn->body_left -= (uint64_t)got;
        } else {
            conn->head_len += (size_t)got;
            read_head(plan, conn);
        }
        if (conn->in_body && conn->body_left == 0) {
            finish(plan, conn);
        }
    }
}

/* ---- the run ---- */

static struct conn *connect_one(uint16_t port)
{
    struct conn *conn = rd_mem_alloc(sizeof *conn);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    if (conn == NULL) {
        die("no memory");
    }
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
        die("cannot connect");
    }
    return conn;
}

static int open_timer(uint64_t interval_ns)
{
    struct timespec interval = {.tv_sec = (time_t)(interval_ns / 1000000000),
                                .tv_nsec = (long)(interval_ns % 1000000000)};
    struct itimerspec spec = {.it_interval = interval, .it_value = interval};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0 || timerfd_settime(fd, 0, &spec, NULL) != 0) {
        die("cannot set a timer");
    }
    return fd;
}

static void watch(int epoll, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("cannot watch a descriptor");
    }
}

static void run(struct plan *plan, int epoll)
{
    int timer = open_timer((uint64_t)plan->interval_ns);
    watch(epoll, timer, NULL); /* NULL: the timer; everything else is a connection */
    plan->start_ns = rd_clock_mono_ns();
    uint64_t until = due_ns(plan, plan->total) + GRACE_MS * (uint64_t)1000000;
    while (plan->answered < plan->total && rd_clock_mono_ns() < until) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, 100);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr != NULL) {
                receive(plan, events[i].data.ptr);
                continue;
            }
            uint64_t ticks;
            if (read(timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN) {
                die("cannot read the timer");
            }
        }
        send_due(plan);
    }
}

/* ---- the report ---- */

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Nearest rank, over values in order. */
static double percentile_us(const uint64_t *values, uint64_t count, double percent)
{
    uint64_t rank = (uint64_t)((double)count * percent / 100);
    return (double)values[rank >= count ? count - 1 : rank] / 1e3;
}

static void print_percentiles(const char *name, uint64_t *values, uint64_t count)
{
    qsort(values, count, sizeof *values, by_value);
    (void)printf(", \"%s\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f}", name,
                 percentile_us(values, count, 50), percentile_us(values, count, 90),
                 percentile_us(values, count, 99), percentile_us(values, count, 100));
}

static void report(struct plan *plan)
{
    uint64_t count = 0;
    for (uint64_t i = plan->warm_up; i < plan->next;
         i++) { /* those with an answer move to the front */
        if (plan->latency_ns[i] != 0) {
            plan->latency_ns[count] = plan->latency_ns[i];
            plan->late_ns[count++] = plan->late_ns[i];
        }
    }
    if (count == 0) {
        errno = 0;
        die("no answer came");
    }
    (void)printf("{\"count\": %" PRIu64 ", \"bad\": %" PRIu64 ", \"unanswered\": %" PRIu64, count,
                 plan->bad, plan->total - plan->answered);
    print_percentiles("us", plan->latency_ns, count);
    print_percentiles("late", plan->late_ns, count);
    (void)printf("}\n");
}

static void read_request(const char *path, struct plan *plan)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        die(path);
    }
    plan->request_len = fread(plan->request, 1, sizeof plan->request, file);
    if (plan->request_len == 0 || plan->request_len == sizeof plan->request) {
        die("the request must have 1 to 65535 bytes");
    }
    (void)fclose(file);
}

int main(int argc, char **argv)
{
    static struct plan plan;
    double rate = argc == 6 ? strtod(argv[3], NULL) : 0;
    double seconds = argc == 6 ? strtod(argv[4], NULL) : 0;
    size_t conns = argc == 6 ? strtoul(argv[5], NULL, 10) : 0;
    if (rate < 1 || rate > 1e6 || seconds <= 0 || rate * seconds < 10 ||
        rate * seconds > SAMPLES_MAX || conns == 0 || conns > CONNECTIONS_MAX) {
        (void)fprintf(stderr, "usage: bench-latency PORT REQUEST RATE SECONDS CONNECTIONS\n");
        return 2;
    }
    read_request(argv[2], &plan);
    plan.interval_ns = 1e9 / rate;
    plan.total = (uint64_t)(rate * seconds);
    plan.warm_up = plan.total * WARM_UP_PERCENT / 100;
    plan.latency_ns = rd_mem_alloc_array(plan.total, sizeof *plan.latency_ns);
    plan.late_ns = rd_mem_alloc_array(plan.total, sizeof *plan.late_ns);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (plan.latency_ns == NULL || plan.late_ns == NULL || epoll < 0) {
        die("cannot start");
    }
    for (size_t i = 0; i < conns; i++) {
        struct conn *conn = connect_one((uint16_t)strtoul(argv[1], NULL, 10));
        plan.idle[plan.idle_count++] = conn;
        watch(epoll, conn->fd, conn);
    }
    run(&plan, epoll);
    report(&plan);
    return 0;
}
