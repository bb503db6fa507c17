/* SPDX-License-Identifier: Apache-2.0
 *
 * See child.h. Between vfork and exec.
 *
 * posix_spawn(3) cannot set limits, no_new_privs or the parent-death signal, so the child's few
 * steps are written out here. vfork, because fork would copy the page tables of a gateway that may
 * have mapped a lot, and make every other thread fault its pages anew; with vfork only the engine's
 * thread stands still, for the millisecond until exec. The child shares our memory meanwhile, so:
 * all signals are blocked, lest a handler of ours ran in it; it calls only what is
 * async-signal-safe and writes only what is on its own stack; and everything it needs was laid out
 * before. It says what failed on its stderr, which is a pipe to us, and leaves with 127, as shells
 * do.
 *
 * Its death signal hangs on the thread that started it, the engine's, which lives as long as the
 * engine: when the gateway dies, however it dies, the command is killed. */
#include "engine/process/child.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

enum { STATUS_FAILED = 127, CHILD_MASK = 077 };

/* The variables that pass, with what stands for one that is not set. */
static const struct {
    const char *name, *otherwise;
} passing[] = {
    {"PATH", "/usr/local/bin:/usr/bin:/bin"},
    {"LANG", "C.UTF-8"},
    {"PYTHONUNBUFFERED", "1"}, /* else its progress lines would come when it ends */
    {"TZ", NULL},
    {"LD_LIBRARY_PATH", NULL},
    {"CUDA_VISIBLE_DEVICES", NULL},
    {"CUDA_DEVICE_ORDER", NULL},
    {"NVIDIA_VISIBLE_DEVICES", NULL},
    {"HIP_VISIBLE_DEVICES", NULL},
    {"OMP_NUM_THREADS", NULL},
    {"HF_HOME", NULL},
    {"TORCH_HOME", NULL},
};
_Static_assert(sizeof passing / sizeof passing[0] <= RD_PROCESS_ENVIRONMENT_MAX, "they fit");

rd_err rd_process_environment_take(struct rd_process_environment *environment)
{
    environment->count = 0;
    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++) {
        const char *value = getenv(passing[i].name);
        value = value != NULL ? value : passing[i].otherwise;
        size_t room = strlen(passing[i].name) + 1 + (value != NULL ? strlen(value) : 0) + 1;
        if (value == NULL || room > RD_PROCESS_VARIABLE_MAX) {
            continue;
        }
        char *variable = rd_mem_alloc(room);
        if (variable == NULL) {
            rd_process_environment_done(environment);
            return RD_ERR_NO_MEMORY;
        }
        (void)snprintf(variable, room, "%s=%s", passing[i].name, value);
        environment->variables[environment->count++] = variable;
    }
    return RD_OK;
}

void rd_process_environment_done(struct rd_process_environment *environment)
{
    for (size_t i = 0; i < environment->count; i++) {
        rd_mem_free(environment->variables[i]);
    }
    environment->count = 0;
}

/* ---- inside the child ---- */

struct plan {
    const struct rd_process_child *child;
    char **argv, **envp;
    pid_t parent;
    sigset_t signals; /* that it begins with blocked: none */
};

/* Says what failed; does not return. */
static _Noreturn void give_up(const char *what)
{
    const char *reason = strerrordesc_np(errno);
    static const char colon[] = ": ";
    const struct {
        const char *text;
    } parts[] = {{what}, {colon}, {reason != NULL ? reason : "unknown error"}, {"\n"}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (write(STDERR_FILENO, parts[i].text, strlen(parts[i].text)) < 0) {
            break;
        }
    }
    _exit(STATUS_FAILED);
}

static void default_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; number++) {
        (void)sigaction(number, &action, NULL); /* refused for SIGKILL, SIGSTOP and libc's own */
    }
}

/* Of this and the one that the gateway itself was given the lower one: nobody may raise that. */
static bool limit(__rlimit_resource_t resource, uint64_t bytes)
{
    struct rlimit both;
    if (getrlimit(resource, &both) != 0) {
        return false;
    }
    both.rlim_max = bytes < both.rlim_max ? (rlim_t)bytes : both.rlim_max;
    both.rlim_cur = both.rlim_max;
    return setrlimit(resource, &both) == 0;
}

static _Noreturn void become(const struct plan *plan)
{
    const struct rd_process_child *child = plan->child;
    if (dup2(child->in, STDIN_FILENO) < 0 || dup2(child->out, STDOUT_FILENO) < 0 ||
        dup2(child->err, STDERR_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0U, 0) != 0) {
        give_up("cannot lay out the descriptors");
    }
    if (setsid() < 0) {
        give_up("cannot begin a session");
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != plan->parent) {
        give_up("the gateway is gone");
    }
    default_signals();
    (void)umask(CHILD_MASK);
    if (chdir(child->folder) != 0) {
        give_up("cannot enter the run's folder");
    }
    if (!limit(RLIMIT_CORE, 0) || !limit(RLIMIT_FSIZE, child->output_max) ||
        (child->memory_max != 0 && !limit(RLIMIT_AS, child->memory_max))) {
        give_up("cannot set the limits");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        give_up("cannot give up privileges");
    }
    (void)sigprocmask(SIG_SETMASK, &plan->signals, NULL);
    (void)execve(plan->argv[0], plan->argv, plan->envp);
    give_up("cannot execute the command");
}

/* ---- before ---- */

rd_err rd_process_spawn(const struct rd_process_child *child, pid_t *ret_pid, int *ret_pidfd,
                        struct rd_why *why)
{
    char home[PATH_MAX + 8];
    char temporary[PATH_MAX + 8];
    char *argv[RD_PROCESS_COMMAND_MAX + 1];
    char *envp[RD_PROCESS_ENVIRONMENT_MAX + 3];
    size_t count = 0;
    for (; count < child->command_count; count++) {
        argv[count] = (char *)(uintptr_t)child->command[count]; /* exec(3) takes no const */
    }
    argv[count] = NULL;
    (void)snprintf(home, sizeof home, "HOME=%s", child->folder);
    (void)snprintf(temporary, sizeof temporary, "TMPDIR=%s", child->folder);
    memcpy(envp, child->environment->variables, child->environment->count * sizeof *envp);
    envp[child->environment->count] = home;
    envp[child->environment->count + 1] = temporary;
    envp[child->environment->count + 2] = NULL;

    struct plan plan = {.child = child, .argv = argv, .envp = envp, .parent = getpid()};
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)sigemptyset(&plan.signals);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = vfork();
    if (pid == 0) {
        become(&plan);
    }
    int failed = errno;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        return rd_why_errno(why, failed, "start", "a process");
    }
    int pidfd = pidfd_open(pid, 0); /* close-on-exec by itself; only we reap it */
    if (pidfd < 0) {
        failed = errno;
        (void)kill(-pid, SIGKILL);
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        return rd_why_errno(why, failed, "watch", "a process");
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return RD_OK;
}
