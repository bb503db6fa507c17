/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread that serves all connections, and what other threads may do to them. See ws.h.
 *
 * Others reach a connection only by rd_ws_put and rd_ws_touch: they put it on the list of those
 * that the thread shall look at, and wake the thread when the list was empty. Timers are a look at
 * all connections, some times a second: a few thousand comparisons cost less than a heap of
 * deadlines costs in code. */
#include "ws/ws.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "ws/internal.h"

enum {
    EVENTS = 64,
    TICK_MS = 250,
    PING_MS = 20000,
    PONG_MS = 20000,
    CLOSE_MS = 5000,
    CHECK_MS = 500
};

#define MS ((uint64_t)1000000)

/* ---- from any thread ---- */

static void wake(struct rd_ws *ws)
{
    uint64_t one = 1;
    ssize_t put = write(ws->event, &one, sizeof one);
    (void)put; /* a full counter wakes as well */
}

void rd_ws_touch(struct rd_ws_conn *conn)
{
    struct rd_ws *ws = conn->ws;
    if (!conn->dirty) {
        conn->dirty = true;
        conn->next_dirty = ws->dirty;
        ws->dirty = conn;
        wake(ws);
    }
}

struct rd_ws_out *rd_ws_out_new(struct rd_buf *text)
{
    struct rd_ws_out *out = rd_mem_alloc(sizeof *out);
    char *data = out == NULL ? NULL : rd_buf_steal(text, &out->len);
    if (data == NULL) {
        rd_mem_free(out);
        return NULL;
    }
    out->text = data;
    return out;
}

void rd_ws_out_free(struct rd_ws_out *chain)
{
    while (chain != NULL) {
        struct rd_ws_out *next = chain->next;
        rd_mem_free(chain->text);
        rd_mem_free(chain);
        chain = next;
    }
}

bool rd_ws_has_room(struct rd_ws_conn *conn)
{
    struct rd_ws *ws = conn->ws;
    (void)pthread_mutex_lock(&ws->lock);
    bool room =
        conn->closed || (conn->queued < RD_WS_QUEUE_EVENTS && ws->outgoing < ws->options.held / 2);
    (void)pthread_mutex_unlock(&ws->lock);
    return room;
}

/* With the lock held. */
static bool append(struct rd_ws_conn *conn, struct rd_ws_out *chain, bool missable)
{
    struct rd_ws *ws = conn->ws;
    size_t size = 0;
    struct rd_ws_out **end = &chain->next;
    for (struct rd_ws_out *out = chain; out != NULL; out = out->next) {
        size += out->len + sizeof *out;
        end = &out->next;
    }
    size_t max = missable ? (size_t)RD_WS_QUEUE_EVENTS : RD_LIMIT_WS_QUEUE;
    size_t all = missable ? ws->options.held / 2 : ws->options.held;
    if (conn->queued + size > max || ws->outgoing + size > all) {
        return false;
    }
    *conn->out_end = chain;
    conn->out_end = end;
    conn->queued += size;
    ws->outgoing += size;
    rd_ws_touch(conn);
    return true;
}

/* With the lock held; the chain is taken over. */
static bool put(struct rd_ws_conn *conn, struct rd_ws_out *chain, bool missable,
                struct rd_ws_out **ret_waste)
{
    if (!conn->closed && chain != NULL && append(conn, chain, missable)) {
        return true;
    }
    if (!conn->closed && !missable) {
        conn->overflow = true;
        rd_ws_touch(conn);
    }
    *ret_waste = chain;
    return conn->closed;
}

bool rd_ws_put(struct rd_ws_conn *conn, struct rd_ws_out *chain, bool missable)
{
    struct rd_ws_out *waste = NULL;
    (void)pthread_mutex_lock(&conn->ws->lock);
    bool taken = put(conn, chain, missable, &waste);
    (void)pthread_mutex_unlock(&conn->ws->lock);
    rd_ws_out_free(waste);
    return taken;
}

bool rd_ws_put_event(struct rd_ws_sub *sub, struct rd_ws_out *chain, bool missable)
{
    struct rd_ws_conn *conn = sub->conn;
    struct rd_ws_out *waste = NULL;
    struct rd_ws_out *waste_ack = NULL;
    (void)pthread_mutex_lock(&conn->ws->lock);
    if (sub->ack != NULL) {
        (void)put(conn, sub->ack, false, &waste_ack);
        sub->ack = NULL;
    }
    bool taken = put(conn, chain, missable, &waste);
    (void)pthread_mutex_unlock(&conn->ws->lock);
    rd_ws_out_free(waste_ack);
    rd_ws_out_free(waste);
    return taken;
}

void rd_ws_put_ack(struct rd_ws_sub *sub)
{
    struct rd_ws_out *waste = NULL;
    (void)pthread_mutex_lock(&sub->conn->ws->lock);
    if (sub->ack != NULL) {
        (void)put(sub->conn, sub->ack, false, &waste);
        sub->ack = NULL;
    }
    (void)pthread_mutex_unlock(&sub->conn->ws->lock);
    rd_ws_out_free(waste);
}

unsigned rd_ws_count(struct rd_ws *ws)
{
    (void)pthread_mutex_lock(&ws->lock);
    unsigned count = ws->count;
    (void)pthread_mutex_unlock(&ws->lock);
    return count;
}

/* ---- getting in ---- */

/* With the lock held: the place of this owner; a new one when it has none. */
static struct rd_ws_owner *owner_of(struct rd_ws *ws, uint64_t owner)
{
    for (unsigned i = 0; i < ws->owner_count; i++) {
        if (ws->owners[i].owner == owner) {
            return &ws->owners[i];
        }
    }
    ws->owners[ws->owner_count] = (struct rd_ws_owner){owner, 0};
    return &ws->owners[ws->owner_count++]; /* there are as many places as connections */
}

static rd_err enter(struct rd_ws *ws, uint64_t owner)
{
    if (ws->draining) {
        return RD_ERR_DRAINING;
    }
    if (ws->count >= RD_LIMIT_WS_CONNECTIONS) {
        return RD_ERR_CAPACITY;
    }
    struct rd_ws_owner *place = owner_of(ws, owner);
    if (place->count >= RD_LIMIT_WS_CONNECTIONS_TENANT) {
        return RD_ERR_RATE_LIMITED;
    }
    place->count++;
    ws->count++;
    return RD_OK;
}

static void leave(struct rd_ws *ws, uint64_t owner)
{
    struct rd_ws_owner *place = owner_of(ws, owner);
    if (--place->count == 0) {
        *place = ws->owners[--ws->owner_count];
    }
    ws->count--;
}

rd_err rd_ws_admit(struct rd_ws *ws, uint64_t owner, void *session, struct rd_ws_conn **ret)
{
    struct rd_ws_conn *conn = rd_mem_alloc(sizeof *conn);
    if (conn == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    conn->ws = ws;
    conn->owner = owner;
    conn->session = session;
    rd_err err = rd_ws_conn_init(conn);
    if (err == RD_OK) {
        (void)pthread_mutex_lock(&ws->lock);
        err = enter(ws, owner);
        (void)pthread_mutex_unlock(&ws->lock);
    }
    if (err != RD_OK) {
        rd_ws_conn_done(conn);
        rd_mem_free(conn);
        return err;
    }
    *ret = conn;
    return RD_OK;
}

static void free_conn(struct rd_ws_conn *conn)
{
    struct rd_ws *ws = conn->ws;
    ws->options.host.end(ws->options.host.ctx, conn->session);
    rd_ws_conn_done(conn);
    (void)pthread_mutex_lock(&ws->lock);
    leave(ws, conn->owner);
    (void)pthread_mutex_unlock(&ws->lock);
    rd_mem_free(conn);
}

void rd_ws_abandon(struct rd_ws_conn *conn)
{
    free_conn(conn);
}

void rd_ws_take(struct rd_ws_conn *conn, const struct rd_ws_socket *socket)
{
    struct rd_ws *ws = conn->ws;
    conn->socket = *socket;
    conn->socket.extra =
        socket->extra_len == 0 ? NULL : rd_mem_memdupz(socket->extra, socket->extra_len);
    (void)pthread_mutex_lock(&ws->lock);
    conn->next_arrival = ws->arrivals;
    ws->arrivals = conn;
    (void)pthread_mutex_unlock(&ws->lock);
    wake(ws);
}

void rd_ws_drain(struct rd_ws *ws)
{
    (void)pthread_mutex_lock(&ws->lock);
    ws->draining = true;
    (void)pthread_mutex_unlock(&ws->lock);
    wake(ws);
}

void rd_ws_cut(struct rd_ws *ws)
{
    (void)pthread_mutex_lock(&ws->lock);
    ws->draining = ws->cutting = true;
    (void)pthread_mutex_unlock(&ws->lock);
    wake(ws);
}

/* ---- the thread ---- */

static void serve_arrivals(struct rd_ws *ws, uint64_t now_ns)
{
    (void)pthread_mutex_lock(&ws->lock);
    struct rd_ws_conn *arrived = ws->arrivals;
    ws->arrivals = NULL;
    (void)pthread_mutex_unlock(&ws->lock);
    while (arrived != NULL) {
        struct rd_ws_conn *conn = arrived;
        arrived = conn->next_arrival;
        conn->next = ws->conns;
        ws->conns = conn;
        rd_ws_conn_begin(conn, now_ns);
    }
}

static void serve_dirty(struct rd_ws *ws, uint64_t now_ns)
{
    (void)pthread_mutex_lock(&ws->lock);
    struct rd_ws_conn *dirty = ws->dirty;
    ws->dirty = NULL;
    for (struct rd_ws_conn *conn = dirty; conn != NULL; conn = conn->next_dirty) {
        conn->dirty = false; /* from now on it may be touched again, and then next_dirty changes */
        conn->next_served = conn->next_dirty;
    }
    (void)pthread_mutex_unlock(&ws->lock);
    for (; dirty != NULL; dirty = dirty->next_served) {
        rd_ws_reap_subs(dirty, false);
        rd_ws_conn_step(dirty, 0, now_ns);
    }
}

static bool is_idle(struct rd_ws_conn *conn)
{
    (void)pthread_mutex_lock(&conn->ws->lock);
    bool idle = conn->asks == 0 && !conn->dirty;
    (void)pthread_mutex_unlock(&conn->ws->lock);
    return idle;
}

/* Frees the connections that are dead and owed nothing. */
static void bury(struct rd_ws *ws)
{
    for (struct rd_ws_conn **at = &ws->conns; *at != NULL;) {
        struct rd_ws_conn *conn = *at;
        if (conn->state != RD_WS_DEAD || !is_idle(conn)) {
            at = &conn->next;
            continue;
        }
        /* Giving the watches back ends the events; one that comes meanwhile may touch it once more.
         */
        rd_ws_reap_subs(conn, true);
        if (!is_idle(conn)) {
            at = &conn->next;
            continue;
        }
        *at = conn->next;
        free_conn(conn);
    }
}

/* The flags, and whether the thread may end. */
static bool look(struct rd_ws *ws, bool *ret_draining, bool *ret_cutting)
{
    (void)pthread_mutex_lock(&ws->lock);
    *ret_draining = ws->draining;
    *ret_cutting = ws->cutting;
    bool over = ws->stopping && ws->count == 0;
    (void)pthread_mutex_unlock(&ws->lock);
    return over;
}

static void tick(struct rd_ws *ws, uint64_t now_ns, bool check_keys)
{
    for (struct rd_ws_conn *conn = ws->conns; conn != NULL; conn = conn->next) {
        rd_ws_conn_tick(conn, now_ns, check_keys);
    }
}

static void end_all(struct rd_ws *ws, uint64_t now_ns, bool cut)
{
    for (struct rd_ws_conn *conn = ws->conns; conn != NULL; conn = conn->next) {
        if (cut) {
            rd_ws_conn_kill(conn);
        } else {
            rd_ws_conn_close(conn, RD_WS_GOING_AWAY, "the gateway is shutting down", now_ns);
        }
    }
}

static void serve_sockets(struct rd_ws *ws, const struct epoll_event *events, int count,
                          uint64_t now_ns)
{
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == NULL) {
            uint64_t woken = 0;
            ssize_t got = read(ws->event, &woken, sizeof woken);
            (void)got;
        } else {
            rd_ws_conn_step(events[i].data.ptr, events[i].events, now_ns);
        }
    }
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

static void *run(void *arg)
{
    struct rd_ws *ws = arg;
    const struct rd_ws_options *o = &ws->options;
    struct epoll_event events[EVENTS];
    uint64_t tick_ms =
        min3(TICK_MS, min3(o->ping_ms, o->pong_ms, o->close_ms) / 4 + 1, o->check_ms);
    uint64_t next_tick = 0;
    uint64_t next_check = 0;
    bool draining = false;
    bool cutting = false;
    while (!look(ws, &draining, &cutting)) {
        int count = epoll_wait(ws->epoll, events, EVENTS, (int)tick_ms);
        uint64_t now_ns = rd_clock_mono_ns();
        serve_arrivals(ws, now_ns);
        serve_sockets(ws, events, count, now_ns);
        serve_dirty(ws, now_ns);
        if (draining) {
            end_all(ws, now_ns, cutting);
        }
        bool ticks = now_ns >= next_tick;
        bool checks = now_ns >= next_check;
        if (ticks) {
            tick(ws, now_ns, checks);
            next_tick = now_ns + tick_ms * MS;
            next_check = checks ? now_ns + o->check_ms * MS : next_check;
        }
        bury(ws);
    }
    return NULL;
}

/* ---- start and end ---- */

static unsigned or_else(unsigned given, unsigned none)
{
    return given == 0 ? none : given;
}

static void release(struct rd_ws *ws)
{
    if (ws->epoll >= 0) {
        (void)close(ws->epoll);
    }
    if (ws->event >= 0) {
        (void)close(ws->event);
    }
    (void)pthread_mutex_destroy(&ws->lock);
    rd_mem_free(ws->owners);
    rd_mem_free(ws);
}

static rd_err start_thread(struct rd_ws *ws)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (ws->owners == NULL) {
        return RD_ERR_NO_MEMORY;
    }
    if (ws->epoll < 0 || ws->event < 0 ||
        epoll_ctl(ws->epoll, EPOLL_CTL_ADD, ws->event, &event) != 0) {
        return RD_ERR_IO;
    }
    return pthread_create(&ws->thread, NULL, run, ws) == 0 ? RD_OK : RD_ERR_NO_MEMORY;
}

rd_err rd_ws_start(const struct rd_ws_options *options, struct rd_ws **ret)
{
    struct rd_ws *ws = rd_mem_alloc(sizeof *ws);
    if (ws == NULL || pthread_mutex_init(&ws->lock, NULL) != 0) {
        rd_mem_free(ws);
        return RD_ERR_NO_MEMORY;
    }
    ws->options = *options;
    ws->options.ping_ms = or_else(options->ping_ms, PING_MS);
    ws->options.pong_ms = or_else(options->pong_ms, PONG_MS);
    ws->options.close_ms = or_else(options->close_ms, CLOSE_MS);
    ws->options.check_ms = or_else(options->check_ms, CHECK_MS);
    ws->options.held = options->held == 0 ? RD_LIMIT_WS_HELD : options->held;
    ws->epoll = epoll_create1(EPOLL_CLOEXEC);
    ws->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ws->owners = rd_mem_alloc_array(RD_LIMIT_WS_CONNECTIONS, sizeof *ws->owners);
    rd_err err = start_thread(ws);
    if (err != RD_OK) {
        release(ws);
        return err;
    }
    *ret = ws;
    return RD_OK;
}

void rd_ws_stop(struct rd_ws *ws)
{
    if (ws == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&ws->lock);
    ws->draining = ws->cutting = ws->stopping = true;
    (void)pthread_mutex_unlock(&ws->lock);
    wake(ws);
    (void)pthread_join(ws->thread, NULL);
    release(ws);
}
