/* SPDX-License-Identifier: Apache-2.0
 *
 * simulate [--seed N [--trace]] [--first N] [--seeds N] [--jobs N] [--blind]
 *
 * Runs seeds in parallel processes and prints, of the first that fails in each, the seed, the step,
 * the invariant and the last events; `--seed N --trace` shows that one run from its beginning. The
 * same seed gives the same run on every machine. --blind: without the queue's own rd_queue_check,
 * as the mutants are run. Exit status 1: an invariant was broken. */
#include "sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct world world;

void sim_broken(struct world *w, const char *invariant, uint32_t id)
{
    if (w->broken == NULL) {
        w->broken = invariant;
        w->broken_id = id;
    }
}

static const char *const event_names[] = {
    "SUBMIT", "RESTORE", "DURABLE", "LOST",  "LEASED", "UNLEASED", "HEARTBEAT", "DONE",
    "SLOT",   "ADOPT",   "CANCEL",  "ENDED", "TENANT", "BACKEND",  "CLASS",     "TICK"};
static const char *const action_names[] = {"WRITE_LEASE", "RUN",   "STOP", "WRITE_CANCEL",
                                           "WRITE_END",   "RETRY", "FREE"};
static const char *const counted_names[] = {
    "steps",   "complete",  "error",  "cancelled",   "expired", "lost",
    "crashes", "retries",   "stale",  "refused",     "adopted", "noise",
    "more",    "elsewhere", "opened", "quarantined", "fair"};

void sim_print_step(const struct traced *it)
{
    const struct rd_queue_event *event = &it->event;
    printf("%6u %12.6f %-9s", it->step, (double)it->now_ns / 1e9, event_names[event->kind]);
    if (it->id != 0) {
        printf(" id %" PRIu32, it->id);
    }
    switch (event->kind) {
    case RD_EV_SUBMIT:
    case RD_EV_RESTORE:
        printf(" tenant %" PRIu32 " class %" PRIu32 " lane %d units %" PRIu32 " ttl %.3f%s -> %d",
               event->tenant, event->class_, (int)event->lane, event->units,
               (double)event->ttl_ns / 1e9, event->now_only ? " now" : "", (int)it->admit);
        break;
    case RD_EV_TENANT:
        printf(" %" PRIu32 " per_s %" PRIu64 " burst %" PRIu64 " concurrency %" PRIu32
               " depth %" PRIu32 " high %d",
               event->tenant, event->limits.rate.per_s, event->limits.rate.burst,
               event->limits.concurrency, event->limits.depth, event->limits.high);
        break;
    case RD_EV_BACKEND:
        printf(" %" PRIu32 " slots %" PRIu32 " weight %" PRIu32 " ready %d lease %.3f",
               event->backend, event->slots, event->weight, event->ready,
               (double)event->lease_ns / 1e9);
        break;
    case RD_EV_CLASS:
        printf(" %" PRIu32 " backend %" PRIu32 " serves %d", event->class_, event->backend,
               event->serves);
        break;
    case RD_EV_DONE:
        printf(" outcome %d verdict %d device %.3f", (int)event->outcome, (int)event->verdict,
               (double)event->device_ns / 1e9);
        break;
    case RD_EV_SLOT:
        printf(" backend %" PRIu32, event->backend);
        break;
    case RD_EV_DURABLE:
    case RD_EV_LOST:
    case RD_EV_LEASED:
    case RD_EV_UNLEASED:
    case RD_EV_HEARTBEAT:
    case RD_EV_ADOPT:
    case RD_EV_CANCEL:
    case RD_EV_ENDED:
    case RD_EV_TICK:
        break;
    }
    if (event->token != 0) {
        printf(" token %" PRIu64 "%s", event->token, it->stale ? " (stale)" : "");
    }
    for (size_t i = 0; i < it->count && i < 4; i++) {
        const struct rd_queue_action *action = &it->actions[i];
        printf("; %s #%" PRIu32, action_names[action->kind], action->job);
        if (action->token != 0) {
            printf(" token %" PRIu64 " backend %" PRIu32, action->token, action->backend);
        }
        if (action->kind == RD_ACT_WRITE_END || action->kind == RD_ACT_FREE) {
            printf(" end %d", (int)action->end);
        }
    }
    printf(it->count > 4 ? "; and %zu more\n" : "\n", it->count - 4);
}

void sim_print(const struct world *w)
{
    const unsigned count = w->traced < TRACE ? w->traced : TRACE;
    for (unsigned i = 0; i < count && !w->tracing; i++) {
        sim_print_step(&w->trace[(w->traced - count + i) % TRACE]);
    }
    printf("seed %" PRIu64 " step %u: does not hold: %s", w->seed, w->step, w->broken);
    if (w->broken_id != 0) {
        printf(" (id %" PRIu32 ")", w->broken_id);
    }
    printf("\n");
}

struct options {
    uint64_t seed, first, seeds;
    unsigned jobs;
    bool one, trace, blind;
};

static bool parse(int argc, char **argv, struct options *ret)
{
    *ret = (struct options){.first = 1, .seeds = 1000, .jobs = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0) {
            ret->trace = true;
            continue;
        }
        if (strcmp(argv[i], "--blind") == 0) {
            ret->blind = true;
            continue;
        }
        char *end = NULL;
        errno = 0;
        const unsigned long long value = i + 1 < argc ? strtoull(argv[i + 1], &end, 10) : 0;
        if (end == NULL || *end != '\0' || end == argv[i + 1] || errno != 0) {
            return false;
        }
        if (strcmp(argv[i], "--seed") == 0) {
            ret->one = true;
            ret->seed = value;
        } else if (strcmp(argv[i], "--first") == 0) {
            ret->first = value;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            ret->seeds = value;
        } else if (strcmp(argv[i], "--jobs") == 0 && value >= 1 && value <= 64) {
            ret->jobs = (unsigned)value;
        } else {
            return false;
        }
        i++;
    }
    return true;
}

/* Every jobs-th seed, until one fails. */
static int work(const struct options *options, unsigned worker, uint64_t *counted)
{
    for (uint64_t i = worker; i < options->seeds; i += options->jobs) {
        const bool held = sim_run(&world, options->first + i, false, options->blind);
        for (unsigned k = 0; k < COUNTED; k++) {
            counted[k] += world.counted[k];
        }
        if (!held) {
            sim_print(&world);
            return 1;
        }
    }
    return 0;
}

static int run_all(const struct options *options)
{
    const size_t size = options->jobs * COUNTED * sizeof(uint64_t);
    uint64_t *counted = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counted == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    for (unsigned worker = 0; worker < options->jobs; worker++) {
        const pid_t pid = fork();
        if (pid < 0) {
            perror("fork");
            return 2;
        }
        if (pid == 0) {
            const int status = work(options, worker, &counted[(size_t)worker * COUNTED]);
            fflush(stdout);
            _exit(status);
        }
    }
    int result = 0;
    for (unsigned worker = 0; worker < options->jobs; worker++) {
        int status = 0;
        const bool fine = wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
        result = fine ? result : 1;
    }
    printf("%" PRIu64 " seeds:", options->seeds);
    for (unsigned k = 0; k < COUNTED; k++) {
        uint64_t sum = 0;
        for (unsigned worker = 0; worker < options->jobs; worker++) {
            sum += counted[(size_t)worker * COUNTED + k];
        }
        printf(" %" PRIu64 " %s%s", sum, counted_names[k], k + 1 < COUNTED ? "," : "\n");
    }
    return result;
}

int main(int argc, char **argv)
{
    struct options options;
    if (!parse(argc, argv, &options)) {
        fprintf(stderr, "usage: simulate [--seed N [--trace]] [--first N] [--seeds N] [--jobs N] "
                        "[--blind]\n");
        return 2;
    }
    if (!options.one) {
        return run_all(&options);
    }
    const bool held = sim_run(&world, options.seed, options.trace, options.blind);
    if (held) {
        printf("seed %" PRIu64 ": everything held in %u steps\n", options.seed, world.step);
    } else {
        sim_print(&world);
    }
    return held ? 0 : 1;
}
