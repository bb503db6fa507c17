/* SPDX-License-Identifier: Apache-2.0
 *
 * The system-call filter, from inside: a child puts itself under it and tries what must not be.
 * Each forbidden call must end the child by SIGSYS; what the signer lives on must go on working. In
 * a sanitizer build the filter is relaxed (filter.c), and only the calls that stay forbidden are
 * tried. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "signer/filter.h"

static int channel[2]; /* [1] is the child's */
static int other;      /* a descriptor that is not the channel */

static int set_up(void **state)
{
    (void)state;
    other = open("/dev/null", O_RDWR | O_CLOEXEC);
    return other >= 0 ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) : -1;
}

/* Runs one system call in a filtered child; how the child ended. */
static int try_call(long number, long first, long second, long third)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        if (rd_signerd_filter_install(channel[1], NULL) != RD_OK) {
            _exit(99);
        }
        (void)syscall(number, first, second, third, 0L, 0L, 0L);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_killed(long number, long first, long second, long third)
{
    int status = try_call(number, first, second, third);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS) {
        fail_msg("system call %ld did not kill (status %x)", number, (unsigned)status);
    }
}

static void the_network_is_out_of_reach(void **state)
{
    (void)state;
    assert_killed(SYS_socket, AF_INET, SOCK_STREAM, 0);
    assert_killed(SYS_socket, AF_INET6, SOCK_DGRAM, 0);
    assert_killed(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    assert_killed(SYS_connect, channel[1], 0, 0);
    assert_killed(SYS_bind, channel[1], 0, 0);
    assert_killed(SYS_listen, channel[1], 1, 0);
    assert_killed(SYS_accept4, channel[1], 0, 0);
}

static void no_program_can_be_started_or_traced(void **state)
{
    (void)state;
    static char path[] = "/bin/true";
    char *argv[] = {path, NULL};
    assert_killed(SYS_execve, (long)path, (long)argv, 0);
    assert_killed(SYS_ptrace, 0, 0, 0);
}

static void everything_else_kills_too(void **state)
{
    (void)state;
    if (!rd_signerd_filter_strict) {
        print_message("# not tried: a sanitizer build's filter is relaxed\n");
        return;
    }
    static const long calls[] = {SYS_openat,         SYS_getpid,    SYS_mmap,
                                 SYS_mprotect,       SYS_brk,       SYS_clone,
                                 SYS_kill,           SYS_dup,       SYS_fcntl,
                                 SYS_ioctl,          SYS_prctl,     SYS_seccomp,
                                 SYS_sendto,         SYS_sendmsg,   SYS_close,
                                 SYS_unlinkat,       SYS_getrandom, SYS_futex,
                                 SYS_io_uring_setup, SYS_bpf,       SYS_process_vm_readv,
                                 SYS_memfd_create,   SYS_exit};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        assert_killed(calls[i], 0, 0, 0);
    }
    /* Every number that there is and many that there are not, but the three; and but 335 and 336,
     * which are the kernel's own trampolines for uprobes on x86-64: it lets them pass every filter,
     * and they do nothing when called from anywhere else. */
    for (long number = 0; number < 600; number++) {
        bool uprobe = number == 335 || number == 336;
        if (!uprobe && number != SYS_read && number != SYS_write && number != SYS_exit_group) {
            assert_killed(number, 0, 0, 0);
        }
    }
}

static void other_descriptors_are_out_of_reach(void **state)
{
    (void)state;
    static char byte[1];
    if (!rd_signerd_filter_strict) {
        print_message("# not tried: a sanitizer build's filter is relaxed\n");
        return;
    }
    assert_killed(SYS_read, other, (long)byte, 1);
    assert_killed(SYS_write, other, (long)byte, 1);
    assert_killed(SYS_write, STDERR_FILENO, (long)byte, 1);
    assert_killed(SYS_read, -1, (long)byte, 1);
    /* The kernel reads the low half of the register only; the filter wants the whole of it right.
     */
    assert_killed(SYS_write, (long)((uint64_t)channel[1] << 32) + other, (long)byte, 1);
    assert_killed(SYS_write, channel[1] + (1L << 32), (long)byte, 1);
    int status = try_call(SYS_write, channel[1], (long)byte, 1);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void the_channel_still_works(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char byte = 0;
        if (rd_signerd_filter_install(channel[1], NULL) != RD_OK) {
            _exit(99);
        }
        ssize_t got = read(channel[1], &byte, 1);
        byte++;
        ssize_t put = write(channel[1], &byte, 1);
        _exit(got == 1 && put == 1 ? 7 : 8);
    }
    char byte;
    while (recv(channel[0], &byte, 1, MSG_DONTWAIT) == 1) { /* what the test before left */
    }
    assert_int_equal(write(channel[0], "a", 1), 1);
    assert_int_equal(read(channel[0], &byte, 1), 1);
    assert_int_equal(byte, 'b');
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_network_is_out_of_reach),
        cmocka_unit_test(no_program_can_be_started_or_traced),
        cmocka_unit_test(everything_else_kills_too),
        cmocka_unit_test(other_descriptors_are_out_of_reach),
        cmocka_unit_test(the_channel_still_works),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
