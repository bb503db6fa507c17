/* SPDX-License-Identifier: Apache-2.0
 *
 * Idle connections. libmicrohttpd zeroes a connection's whole pool after each request, so a kept
 * connection holds 48 KiB while it waits for the next one, which may never come. Therefore one that
 * has been idle for PARK_AFTER_MS is parked: its socket is taken away from the library, as
 * stream.c does it, and waits in the watcher's set. When anything comes, bytes or the end, the
 * socket is given back to the same loop as a new connection, and nobody notices.
 *
 * Nothing may be lost: a connection is parked only when every byte that has ever arrived on its
 * socket belongs to a request that is done. The kernel counts what arrived; conn->consumed counts
 * what was read as headers and bodies, from what the library had not yet read when it got the
 * socket. The second is never too great (it leaves out framing and empty lines), so when both are
 * equal the library's buffer is empty. A client for which they never are keeps its connection as it
 * is.
 *
 * The watcher asks for both, by rd_http_conn.errand; all is done on the loop's thread, between two
 * calls of MHD_run, where the library does nothing with the connection. */
#include "http/park.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/exchange.h"
#include "http/inside.h"

enum { ERRANDS_AT_ONCE = 64 };

#define UNKNOWN UINT64_MAX
#define HEADER_TIME_NS (RD_LIMIT_HEADER_TIME_MS * (uint64_t)1000000) /* none is begun: server.c */

/* How many bytes have ever arrived. */
static uint64_t arrived(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    size_t least = offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received;
    bool ok = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && len >= least;
    return ok ? info.tcpi_bytes_received : UNKNOWN;
}

uint64_t rd_http_park_consumed(int fd)
{
    uint64_t all = arrived(fd); /* first: what comes in between makes the result too small */
    int unread = 0;
    bool ok = all != UNKNOWN && ioctl(fd, FIONREAD, &unread) == 0;
    return ok && all >= (uint64_t)unread ? all - (uint64_t)unread : 0;
}

static void park(struct rd_http_loop *loop, struct rd_http_conn *conn)
{
    if (arrived(conn->fd) != conn->consumed) {
        return;
    }
    int fd = fcntl(conn->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    int old = conn->fd;
    struct MHD_Connection *connection = conn->library;
    MHD_suspend_connection(connection); /* so it leaves the library's epoll set */
    const struct rd_http_conn parked = {
        .fd = fd, .loop = loop, .parked = true, .deadline_ns = conn->deadline_ns - HEADER_TIME_NS};
    if (rd_http_conn_take_over(conn, &parked, EPOLLIN) == NULL) {
        (void)close(fd); /* and the library keeps it */
    } else if (dup3(loop->server->idle_fd, old, O_CLOEXEC) < 0) {
        (void)shutdown(fd, SHUT_RDWR);
    }
    MHD_resume_connection(connection); /* it finds the unconnected socket, and closes that */
}

static void give_back(struct rd_http_loop *loop, struct rd_http_conn *conn)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof peer;
    int fd = conn->fd;
    rd_http_conn_close(conn);
    (void)getpeername(fd, (struct sockaddr *)&peer, &len);
    (void)MHD_add_connection(loop->daemon, fd, (struct sockaddr *)&peer, len); /* or closes it */
}

void rd_http_park_errands(struct rd_http_loop *loop)
{
    for (unsigned i = 0; i < ERRANDS_AT_ONCE; i++) {
        struct rd_http_conn *conn = rd_http_watch_errand(&loop->server->watch, loop);
        if (conn == NULL) {
            return;
        }
        if (conn->parked) {
            give_back(loop, conn);
        } else {
            park(loop, conn);
        }
        rd_http_loop_wake(loop); /* the library's next run does the rest */
    }
    atomic_store(&loop->has_errands, true); /* perhaps; those who talk come between */
}
