/* SPDX-License-Identifier: Apache-2.0
 *
 * The event loops. libmicrohttpd could run its own threads; it is driven from here because its own
 * loop stalls: it fetches at most 128 events at once, and when it got exactly 128 it fetches again,
 * with the timeout of an idle loop, before it looks at those it has. 128 requests that come in the
 * same instant are then answered when the 129th comes, or after a minute (0.9.75, 1.0.1; seen here
 * with 200 connections about once in 100,000 requests, and tested in server_test.c). Called from
 * outside, by MHD_run, it never waits, so the waiting is done here: on its epoll set, which can be
 * polled like any descriptor, for as long as its own timeouts allow.
 *
 * Each loop has a daemon of its own, so that no lock is shared, and a copy of the listener's
 * descriptor, because a daemon closes the one it was given. A daemon that is driven from outside
 * does not wake its driver when a connection is resumed, so whoever resumes one wakes the loop. */
#include "http/loop.h"

#include <signal.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "http/park.h"

enum { WAIT_MS_MAX = 60000 };

rd_err rd_http_loop_init(struct rd_http_loop *loop, struct rd_http_server *server, int listen_fd)
{
    *loop = (struct rd_http_loop){
        .server = server,
        .listen_fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 0),
        .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
    };
    return loop->listen_fd >= 0 && loop->wake_fd >= 0 ? RD_OK : rd_err_errno(errno);
}

static int wait_ms(struct MHD_Daemon *daemon)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    bool known = MHD_get_timeout(daemon, &ms) == MHD_YES;
    return known && ms < WAIT_MS_MAX ? (int)ms : WAIT_MS_MAX;
}

static void *run(void *arg)
{
    struct rd_http_loop *loop = arg;
    sigset_t pipe; /* a client that leaves while a file is sent is an error of the call */
    (void)sigemptyset(&pipe);
    (void)sigaddset(&pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(loop->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    struct pollfd watched[] = {{.fd = info->epoll_fd, .events = POLLIN},
                               {.fd = loop->wake_fd, .events = POLLIN}};
    while (!atomic_load(&loop->stopping)) {
        int ms = wait_ms(loop->daemon);
        if (ms > 0 && poll(watched, 2, ms) > 0 && watched[1].revents != 0) {
            eventfd_t count;
            (void)eventfd_read(loop->wake_fd, &count); /* before the look, so that none is lost */
        }
        (void)MHD_run(loop->daemon);
        if (atomic_exchange(&loop->has_errands, false)) {
            rd_http_park_errands(loop);
        }
    }
    return NULL;
}

rd_err rd_http_loop_run(struct rd_http_loop *loop)
{
    loop->running = pthread_create(&loop->thread, NULL, run, loop) == 0;
    return loop->running ? RD_OK : RD_ERR_NO_MEMORY;
}

void rd_http_loop_wake(struct rd_http_loop *loop)
{
    (void)eventfd_write(loop->wake_fd, 1);
}

void rd_http_loop_stop_listening(struct rd_http_loop *loop, int idle_fd)
{
    /* Another socket takes the listener's number, and with its last descriptor the listener closes
     * and leaves all epoll sets. Not MHD_quiesce_daemon, which takes it out of the set of a loop
     * that runs, and aborts the process when the loop does the same (0.9.75, 1.0.1). */
    (void)dup3(idle_fd, loop->listen_fd, O_CLOEXEC);
}

void rd_http_loop_stop(struct rd_http_loop *loop)
{
    if (loop->running) {
        atomic_store(&loop->stopping, true);
        rd_http_loop_wake(loop);
        (void)pthread_join(loop->thread, NULL);
    }
    if (loop->daemon != NULL) {
        MHD_stop_daemon(loop->daemon); /* closes listen_fd as well */
    } else {
        rd_fs_close_ptr_(&loop->listen_fd);
    }
}

void rd_http_loop_done(struct rd_http_loop *loop)
{
    rd_fs_close_ptr_(&loop->wake_fd);
}
