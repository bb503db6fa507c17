/* SPDX-License-Identifier: Apache-2.0
 *
 * One run: its processes, one after the other, and the way of their files to the sink. The phases
 * and who may touch what: internal.h.
 *
 * The end of a process. Its pidfd says that it has ended; it is then a zombie that still holds its
 * number. Before it is reaped, its group gets SIGKILL, which so cannot meet anybody else: what a
 * script has started and left behind dies with it. Where the gateway is the one whom orphans are
 * given to (the first process of a container), they are reaped as well, by their group, before
 * done(). A grandchild that made itself a group of its own is beyond this; it keeps nothing of
 * ours, since the pipes are closed by us and not waited for.
 *
 * The rate of lines is bounded by not reading: after RD_PROCESS_LINES_RATE lines in a second the
 * pipe is let fill until the second is over, and the script waits in its write. Nothing is lost. */
#include "engine/process/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/http/reply.h"
#include "engine/process/folder.h"
#include "engine/process/request.h"

enum {
    NS_PER_MS = 1000000,
    NS_PER_S = 1000000000,
    READ_MAX = 4096,    /* of a pipe, at once */
    DRAIN_MAX = 64,     /* reads of what an ended process has left in a pipe */
    PIECE = 128 * 1024, /* of an output */
    FIRST_FD = 3,
};

void rd_process_run_stop(struct rd_engine_run *run, rd_err err, const char *why)
{
    if (run->err == RD_OK) {
        run->err = err;
        (void)rd_why_set(&run->why, err, "%s", why != NULL ? why : rd_err_info(err)->message);
    }
}

/* What the command does is wrong, and would be again. */
static void no_output(struct rd_engine_run *run, const char *why)
{
    run->final = run->final || run->err == RD_OK;
    rd_process_run_stop(run, RD_ERR_BACKEND_FAILED, why);
}

/* ---- launching ---- */

/* The same file at a number above stdio's, which the child lays out anew. */
static int above_stdio(int fd)
{
    if (fd < 0 || fd >= FIRST_FD) {
        return fd;
    }
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
    (void)close(fd);
    return moved;
}

static bool make_pipe(int ret_ends[2])
{
    if (pipe2(ret_ends, O_CLOEXEC) != 0) {
        ret_ends[0] = ret_ends[1] = -1;
        return false;
    }
    ret_ends[0] = above_stdio(ret_ends[0]);
    ret_ends[1] = above_stdio(ret_ends[1]);
    return ret_ends[0] >= 0 && ret_ends[1] >= 0 && fcntl(ret_ends[0], F_SETFL, O_NONBLOCK) == 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

/* Out of the epoll set by name: close(2) alone leaves it in there while some child that another
 * thread is starting still has a copy. */
static void unwatch(struct rd_engine_run *run, enum rd_process_event event)
{
    struct rd_process_watch *at = &run->watches[event];
    if (at->fd >= 0) {
        (void)epoll_ctl(run->engine->epoll_fd, EPOLL_CTL_DEL, at->fd, NULL);
        close_fd(&at->fd);
    }
}

/* Gives a descriptor to epoll; the run owns it from here on. */
static rd_err watch(struct rd_engine_run *run, enum rd_process_event event, int fd)
{
    struct rd_process_watch *at = &run->watches[event];
    *at = (struct rd_process_watch){.run = run, .event = event, .fd = fd};
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = at};
    return epoll_ctl(run->engine->epoll_fd, EPOLL_CTL_ADD, fd, &wanted) == 0
               ? RD_OK
               : rd_why_errno(&run->why, errno, "watch", "a process");
}

static rd_err spawn_with(struct rd_engine_run *run, int in, int out[2], int err_ends[2])
{
    const struct rd_engine_config *config = run->engine->config;
    int pidfd = -1;
    const struct rd_process_child child = {
        .command = config->command,
        .command_count = config->command_count,
        .environment = &run->engine->environment,
        .folder = run->folder,
        .in = in,
        .out = out[1],
        .err = err_ends[1],
        .memory_max = config->memory_max,
        .output_max = run->engine->output_max,
    };
    run->spawned_ns = rd_clock_mono_ns();
    RD_TRY(rd_process_spawn(&child, &run->pid, &pidfd, &run->why));
    run->phase = RD_PROCESS_RUNNING;
    int out_read = out[0];
    int err_read = err_ends[0];
    out[0] = err_ends[0] = -1;
    rd_err first = watch(run, RD_PROCESS_EXIT, pidfd);
    rd_err second = watch(run, RD_PROCESS_STDOUT, out_read);
    rd_err third = watch(run, RD_PROCESS_STDERR, err_read);
    return first != RD_OK ? first : second != RD_OK ? second : third;
}

static rd_err spawn(struct rd_engine_run *run)
{
    int in = -1;
    int out[2] = {-1, -1};
    int err_ends[2] = {-1, -1};
    rd_err err = rd_process_request_open(&run->job, run->folder, run->output, &in, &run->why);
    in = above_stdio(in);
    if (err == RD_OK && (in < 0 || !make_pipe(out) || !make_pipe(err_ends))) {
        err = rd_why_errno(&run->why, errno, "make", "a pipe");
    }
    if (err == RD_OK) {
        err = spawn_with(run, in, out, err_ends);
    }
    close_fd(&in);
    close_fd(&out[0]);
    close_fd(&out[1]);
    close_fd(&err_ends[0]);
    close_fd(&err_ends[1]);
    return err;
}

static rd_err make_folder(struct rd_engine_run *run)
{
    if (run->folder[0] != '\0') {
        return RD_OK; /* of the output before */
    }
    RD_TRY(rd_process_folder_make(run->engine->folder, run->engine->folders++, run->folder,
                                  &run->why));
    return rd_process_request_sources(&run->job, run->folder, &run->why);
}

static void launch(struct rd_engine_run *run)
{
    run->lines = run->window_lines = 0;
    run->log_bytes = 0;
    run->words.len = run->line_len = 0;
    run->line_long = run->terminated = run->paused = false;
    run->window_ns = run->kill_ns = run->reap_ns = run->told_ns = 0;
    run->why.text[0] = '\0';
    run->step = 0;
    rd_err err = make_folder(run);
    if (err == RD_OK) {
        err = spawn(run);
    }
    if (err != RD_OK) {
        struct rd_why why = run->why;
        rd_process_run_stop(run, err, why.text[0] != '\0' ? why.text : NULL);
    }
}

/* ---- running ---- */

static void pause_stdout(struct rd_engine_run *run, bool paused)
{
    struct rd_process_watch *at = &run->watches[RD_PROCESS_STDOUT];
    struct epoll_event wanted = {.events = paused ? 0 : (uint32_t)EPOLLIN, .data.ptr = at};
    if (at->fd >= 0 && epoll_ctl(run->engine->epoll_fd, EPOLL_CTL_MOD, at->fd, &wanted) == 0) {
        run->paused = paused;
    }
}

/* One read of the pipe; false when nothing more is to be had. */
static bool read_some(struct rd_engine_run *run, enum rd_process_event event)
{
    char bytes[READ_MAX];
    struct rd_process_watch *at = &run->watches[event];
    ssize_t got = at->fd >= 0 ? read(at->fd, bytes, sizeof bytes) : 0;
    if (got < 0) {
        return errno == EINTR;
    }
    if (got == 0) {
        unwatch(run, event);
        return false;
    }
    if (event == RD_PROCESS_STDOUT) {
        rd_process_stdout_bytes(run, bytes, (size_t)got);
        return true;
    }
    rd_process_words_add(&run->words, bytes, (size_t)got);
    run->log_bytes += (uint64_t)got;
    if (run->log_bytes > RD_PROCESS_LOG_MAX) {
        no_output(run, "the command wrote more than 64 MiB to its stderr");
    }
    return true;
}

static void count_lines(struct rd_engine_run *run)
{
    uint64_t now = rd_clock_mono_ns();
    if (now >= run->window_ns) {
        run->window_ns = now + NS_PER_S;
        run->window_lines = 0;
    } else if (run->window_lines >= RD_PROCESS_LINES_RATE) {
        pause_stdout(run, true);
    }
}

/* The process may have ended: if so, takes what it has left and kills what it left behind. */
static void ended(struct rd_engine_run *run)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (run->phase != RD_PROCESS_RUNNING ||
        waitid(P_PID, (id_t)run->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0) {
        return; /* an event of the process before */
    }
    (void)kill(-run->pid, SIGKILL);
    static const enum rd_process_event pipes[] = {RD_PROCESS_STDOUT, RD_PROCESS_STDERR};
    for (size_t i = 0; i < 2; i++) {
        for (unsigned n = 0; n < DRAIN_MAX && read_some(run, pipes[i]); n++) {
        }
    }
    unwatch(run, RD_PROCESS_STDOUT);
    unwatch(run, RD_PROCESS_STDERR);
    unwatch(run, RD_PROCESS_EXIT);
    uint64_t now = rd_clock_mono_ns();
    uint64_t took = now - run->spawned_ns;
    run->measured_ns += took;
    run->device_ns += run->told_ns;
    run->all_told = run->all_told && run->told_ns != 0;
    (void)waitpid(run->pid, &run->status, WNOHANG);
    run->reap_ns = now;
    run->phase = RD_PROCESS_REAPING;
}

void rd_process_run_event(struct rd_engine_run *run, enum rd_process_event event)
{
    if (run->watches[event].fd < 0) {
        return;
    }
    if (event == RD_PROCESS_EXIT) {
        ended(run);
    } else {
        (void)read_some(run, event);
        if (event == RD_PROCESS_STDOUT) {
            count_lines(run);
        }
    }
}

/* Makes a process that is to stop stop. Gives when to look again: soon, since a process whose pidfd
 * could not be watched is one of those that are stopped. */
static uint64_t stopping(struct rd_engine_run *run, uint64_t now)
{
    uint64_t soon = now + (uint64_t)RD_PROCESS_LOOK_MS * NS_PER_MS;
    if (!run->terminated) {
        run->terminated = true;
        run->kill_ns = now + (uint64_t)RD_PROCESS_GRACE_MS * NS_PER_MS;
        (void)kill(-run->pid, SIGTERM);
    } else if (now >= run->kill_ns) {
        run->kill_ns = UINT64_MAX;
        (void)kill(-run->pid, SIGKILL);
    }
    return run->kill_ns < soon ? run->kill_ns : soon;
}

/* ---- ended ---- */

static void judge_exit(struct rd_engine_run *run)
{
    char words[RD_PROCESS_WORDS_SHOWN + 1];
    struct rd_why why;
    if (run->err != RD_OK || (WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0)) {
        return;
    }
    rd_process_words_last(&run->words, words);
    const char *colon = words[0] != '\0' ? ": " : "";
    if (WIFEXITED(run->status)) {
        (void)rd_why_set(&why, RD_OK, "the command ended with status %d%s%s",
                         WEXITSTATUS(run->status), colon, words);
    } else if (WTERMSIG(run->status) == SIGXFSZ) {
        (void)rd_why_set(&why, RD_OK,
                         "the command wrote a file over the limit \"output\", %" PRIu64 " bytes",
                         run->engine->output_max);
        run->final = true;
    } else {
        const char *name = sigabbrev_np(WTERMSIG(run->status));
        (void)rd_why_set(&why, RD_OK, "the command was killed by SIG%s%s%s",
                         name != NULL ? name : "?", colon, words);
    }
    rd_process_run_stop(run, RD_ERR_BACKEND_FAILED, why.text);
}

/* True when nothing of the group is left to us, or patience is at its end. */
static bool reaped(struct rd_engine_run *run, uint64_t now)
{
    for (;;) {
        pid_t got = waitpid(-run->pid, NULL, WNOHANG);
        if (got == 0) { /* orphans that were given to us, and are dying */
            return now - run->reap_ns >= (uint64_t)RD_PROCESS_REAP_MAX_MS * NS_PER_MS;
        }
        if (got < 0 && errno != EINTR) {
            return true;
        }
    }
}

static void open_output(struct rd_engine_run *run)
{
    char path[PATH_MAX];
    struct rd_why why = {""};
    rd_err err = rd_process_request_output(&run->job, run->folder, run->output, path, &why);
    if (err == RD_OK) {
        err = rd_process_output_open(&run->file, path, run->engine->output_max, &why);
    }
    if (err != RD_OK) {
        no_output(run, why.text);
    }
}

/* ---- reading ---- */

static rd_err begin(struct rd_engine_run *run, const uint8_t *bytes, size_t len)
{
    enum rd_media media = run->job.generation->media;
    if (len < RD_HTTP_MAGIC_LEN || !rd_http_magic_is(bytes, media)) {
        struct rd_why why;
        (void)rd_why_set(&why, RD_OK, "the command's output is no %s", rd_media_type(media));
        no_output(run, why.text);
        return RD_ERR_BACKEND_FAILED;
    }
    return run->job.sink.begin(run->job.sink.ctx, run->output, media, run->file.size);
}

/* One piece; RD_OK with `ret_end` set when the output is complete. */
static rd_err give_piece(struct rd_engine_run *run, bool *ret_end)
{
    uint8_t *bytes = run->engine->buffer;
    const struct rd_engine_sink *sink = &run->job.sink;
    size_t len = 0;
    bool first = run->file.offset == 0;
    struct rd_why why = {""};
    rd_err err = rd_process_output_read(&run->file, bytes, PIECE, &len, &why);
    if (err != RD_OK) {
        rd_process_run_stop(run, err, why.text);
        return err;
    }
    if (first) {
        RD_TRY(begin(run, bytes, len));
    }
    RD_TRY(sink->data(sink->ctx, run->output, bytes, len));
    *ret_end = run->file.offset == run->file.size;
    return *ret_end ? sink->end(sink->ctx, run->output) : RD_OK;
}

/* A share of the output. False: the run is over. */
static bool reading(struct rd_engine_run *run)
{
    bool end = false;
    for (size_t given = 0; given < RD_PROCESS_TURN_BYTES && !end; given += PIECE) {
        rd_err err = atomic_load(&run->cancelled) ? RD_ERR_CANCELLED : give_piece(run, &end);
        if (err != RD_OK) {
            rd_process_run_stop(run, err, NULL);
            return false;
        }
    }
    if (end) {
        rd_process_output_close(&run->file);
        run->output++;
        run->phase = RD_PROCESS_LAUNCH;
    }
    return run->output < run->job.generation->count;
}

/* ---- turns ---- */

static void look_for_reasons(struct rd_engine_run *run, uint64_t now)
{
    if (run->err != RD_OK) {
        return;
    }
    if (atomic_load(&run->cancelled) || atomic_load(&run->engine->closing)) {
        rd_process_run_stop(run, RD_ERR_CANCELLED, NULL);
    } else if (now >= run->deadline_ns) {
        rd_process_run_stop(run, RD_ERR_BACKEND_TIMEOUT,
                            run->phase == RD_PROCESS_LAUNCH
                                ? "the deadline has passed"
                                : "the command did not end in time, and was stopped");
    }
}

static uint64_t running(struct rd_engine_run *run, uint64_t now)
{
    if (run->err != RD_OK) {
        return stopping(run, now);
    }
    if (run->paused && now >= run->window_ns) {
        pause_stdout(run, false);
    }
    return run->paused && run->window_ns < run->deadline_ns ? run->window_ns : run->deadline_ns;
}

bool rd_process_run_turn(struct rd_engine_run *run, uint64_t *ret_next_ns)
{
    uint64_t now = rd_clock_mono_ns();
    look_for_reasons(run, now);
    if (run->phase == RD_PROCESS_LAUNCH && run->err == RD_OK) {
        launch(run);
    }
    if (run->terminated) {
        ended(run);
    }
    if (run->phase == RD_PROCESS_RUNNING) {
        *ret_next_ns = running(run, now);
        return true;
    }
    if (run->phase == RD_PROCESS_REAPING) {
        if (!reaped(run, now)) {
            *ret_next_ns = now + (uint64_t)RD_PROCESS_REAP_MS * NS_PER_MS;
            return true;
        }
        judge_exit(run);
        if (run->err == RD_OK) {
            open_output(run);
        }
        run->phase = RD_PROCESS_READING;
    }
    *ret_next_ns = now;
    return run->err == RD_OK && (run->phase == RD_PROCESS_LAUNCH || reading(run));
}

void rd_process_run_report(struct rd_engine_run *run)
{
    struct rd_engine_report report = {.source = RD_DEVICE_TIME_UNKNOWN};
    rd_process_output_close(&run->file);
    if (run->folder[0] != '\0') {
        rd_process_folder_remove(run->folder);
    }
    if (run->measured_ns != 0) {
        report.device_ns = run->all_told ? run->device_ns : run->measured_ns;
        report.source = run->all_told ? RD_DEVICE_TIME_ENGINE : RD_DEVICE_TIME_MEASURED;
    }
    memcpy(report.device, run->device, sizeof report.device);
    report.final = run->err != RD_OK && run->final;
    report.faultless = run->err != RD_OK && run->faultless;
    run->job.sink.done(run->job.sink.ctx, run->err, run->err == RD_OK ? NULL : &run->why, &report);
}
