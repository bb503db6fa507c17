/* SPDX-License-Identifier: Apache-2.0
 *
 * Upgrades: after the 101 the socket belongs to the application. libmicrohttpd would keep its
 * connection, and the memory of it, until the application gives the socket back. So the socket gets
 * a number of ours (dup), and the library is told at once that its own can be closed; close does
 * not end the connection while another descriptor of it is open. Then also rd_http_stop need not
 * wait inside the library for anybody.
 *
 * The library calls on_completed for such an exchange under a lock of its own, which a reply takes
 * as well: therefore done() is called here, and nothing but memory is left for on_completed.
 *
 * The connection keeps its place in the table: it counts, and rd_http_hang_up cuts it. */
#include "http/upgrade.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/exchange.h"
#include "http/inside.h"

static void on_upgrade(void *cls, struct MHD_Connection *connection, void *con_cls,
                       const char *extra, size_t extra_len, MHD_socket sock,
                       struct MHD_UpgradeResponseHandle *library_handle)
{
    struct rd_http_exchange *x = cls;
    struct rd_http_loop *loop = x->loop;
    (void)connection;
    (void)con_cls;
    int fd = fcntl(sock, F_DUPFD_CLOEXEC, 0);
    struct rd_http_conn *conn =
        fd < 0 || x->conn == NULL
            ? NULL
            : rd_http_conn_take_over(x->conn, &(struct rd_http_conn){.fd = fd}, 0);
    if (conn != NULL) {
        int one = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        x->taken(x->taken_ctx, fd, extra, extra_len, conn);
    } else if (fd >= 0) {
        (void)close(fd);
    }
    rd_http_exchange_done(x, conn != NULL);
    (void)MHD_upgrade_action(library_handle, MHD_UPGRADE_ACTION_CLOSE);
    rd_http_loop_wake(loop);
}

struct MHD_Response *rd_http_upgrade_response(struct rd_http_exchange *x)
{
    struct MHD_Response *response = MHD_create_response_for_upgrade(on_upgrade, x);
    if (response != NULL &&
        MHD_add_response_header(response, MHD_HTTP_HEADER_UPGRADE, x->protocol) != MHD_YES) {
        MHD_destroy_response(response);
        return NULL;
    }
    return response;
}

void rd_http_reply_upgrade(struct rd_http_exchange *x, const char *protocol, rd_http_taken *taken,
                           void *ctx)
{
    x->protocol = protocol;
    x->taken = taken;
    x->taken_ctx = ctx;
    rd_http_reply(x, MHD_HTTP_SWITCHING_PROTOCOLS);
}

void rd_http_upgrade_close(void *handle)
{
    struct rd_http_conn *conn = handle;
    int fd = conn->fd;
    rd_http_conn_close(conn); /* first, so that nobody shuts a number that is another's by then */
    (void)close(fd);
}
