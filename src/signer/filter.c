/* SPDX-License-Identifier: Apache-2.0
 *
 * The system-call filter of render-signer: three calls, two of them on one descriptor only. All
 * that the signer needs besides (the key, its buffers, its limits) was got before, so there is
 * nothing to open, map or allocate. Whoever takes over the process after this can ask for
 * signatures, as the gateway can, and has no way to carry the key out: no file, no socket, no
 * second process, no other descriptor.
 *
 * Default: KILL_PROCESS. Not an errno, with which code goes on in a state that nobody thought of.
 *
 * A sanitizer's runtime maps memory, takes locks and opens /proc behind the program's back, so
 * under one the list is turned round: everything but what reaches the network or starts a program.
 * That is a choice of the build, never of the run: a release build cannot be talked into it, and
 * main.c logs it at each start. */
#include "signer/filter.h"

#include <string.h>

#include <seccomp.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define RD_SIGNERD_RELAXED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RD_SIGNERD_RELAXED 1
#endif

#ifndef RD_SIGNERD_RELAXED

const bool rd_signerd_filter_strict = true;

static const uint32_t default_action = SCMP_ACT_KILL_PROCESS;
static const uint32_t rule_action = SCMP_ACT_ALLOW;
static const struct {
    int call;
    bool on_channel; /* only with the channel as the first argument */
} rules[] = {
    {SCMP_SYS(read), true},
    {SCMP_SYS(write), true},
    {SCMP_SYS(exit_group), false},
};

#else /* RD_SIGNERD_RELAXED: sanitizer builds only */

const bool rd_signerd_filter_strict = false;

static const uint32_t default_action = SCMP_ACT_ALLOW;
static const uint32_t rule_action = SCMP_ACT_KILL_PROCESS;
static const struct {
    int call;
    bool on_channel;
} rules[] = {
    {SCMP_SYS(socket), false},  {SCMP_SYS(socketpair), false}, {SCMP_SYS(connect), false},
    {SCMP_SYS(bind), false},    {SCMP_SYS(listen), false},     {SCMP_SYS(accept), false},
    {SCMP_SYS(accept4), false}, {SCMP_SYS(execve), false},     {SCMP_SYS(execveat), false},
    {SCMP_SYS(ptrace), false},
};

#endif

static int add_rules(scmp_filter_ctx filter, int channel)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        /* All 64 bits: a register with rubbish above the descriptor is nothing that this program's
         * compiler makes. Spelled out, because the header's macros leave members unset, which clang
         * warns of. */
        struct scmp_arg_cmp first = {
            .arg = 0, .op = SCMP_CMP_EQ, .datum_a = (uint32_t)channel, .datum_b = 0};
        int failed = seccomp_rule_add_array(filter, rule_action, rules[i].call,
                                            rules[i].on_channel ? 1 : 0, &first);
        if (failed != 0) {
            return failed;
        }
    }
    return 0;
}

rd_err rd_signerd_filter_install(int channel, struct rd_why *why)
{
    scmp_filter_ctx filter = seccomp_init(default_action);
    if (filter == NULL) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "cannot build the system-call filter");
    }
    /* The library sets NO_NEW_PRIVS itself, and a call of a foreign architecture kills too. */
    int failed = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (failed == 0) {
        failed = add_rules(filter, channel);
    }
    if (failed == 0) {
        failed = seccomp_load(filter);
    }
    seccomp_release(filter);
    if (failed != 0) {
        return rd_why_errno(why, -failed, "install", "the system-call filter");
    }
    return RD_OK;
}
