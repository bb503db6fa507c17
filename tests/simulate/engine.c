/* SPDX-License-Identifier: Apache-2.0
 *
 * Engines: each RUN becomes a run with a fate. It may succeed, fail, hang without a sign of life
 * and answer when nobody waits any more, answer twice, or not listen to STOP. Whatever it does, it
 * lets go of its slot once, after its answer. */
#include "sim.h"

static uint64_t run_ns(struct world *w, const struct job *job)
{
    const uint64_t mean_ns = w->unit_ns[job->class_] * job->units;
    if (!w->plan.uneven) {
        return sim_between(w, mean_ns / 2, mean_ns * 2);
    }
    return job->tenant % 2 != 0 ? sim_between(w, mean_ns / 2, mean_ns * 3 / 4)
                                : sim_between(w, mean_ns * 3 / 2, mean_ns * 2);
}

static enum rd_outcome fate(struct world *w)
{
    if (w->settling) {
        return RD_OUTCOME_OK;
    }
    if (sim_chance(w, w->plan.fails)) {
        return RD_OUTCOME_FAILED;
    }
    if (sim_chance(w, w->plan.fails_again)) {
        return RD_OUTCOME_FAILED_AGAIN;
    }
    return sim_chance(w, w->plan.gives_up) ? RD_OUTCOME_CANCELLED : RD_OUTCOME_OK;
}

static enum rd_verdict verdict(struct world *w, enum rd_outcome outcome)
{
    if (outcome == RD_OUTCOME_OK) {
        return RD_VERDICT_GOOD;
    }
    const unsigned bad = outcome == RD_OUTCOME_FAILED_AGAIN ? 800 : 400;
    return sim_chance(w, bad) ? RD_VERDICT_BAD : RD_VERDICT_SAYS_NOTHING;
}

static uint64_t heartbeat_ns(const struct world *w, const struct run *run)
{
    return w->backends[run->backend].lease_ns / 3;
}

void sim_engine_run(struct world *w, uint32_t id, const struct rd_queue_action *action)
{
    if (w->runs_used + 1 == RUNS) {
        sim_broken(w, "the simulator's list of runs is large enough", id);
        return;
    }
    const uint32_t number = ++w->runs_used;
    struct run *run = &w->runs[number];
    *run = (struct run){
        .id = id,
        .number = action->job,
        .backend = action->backend,
        .token = action->token,
        .started_ns = w->now_ns,
        .hangs = !w->settling && sim_chance(w, w->plan.hangs),
        .twice = !w->settling && sim_chance(w, w->plan.twice),
    };
    const bool sick = w->wanted[run->backend].sick;
    run->outcome = sick ? RD_OUTCOME_FAILED_AGAIN : fate(w);
    run->verdict = sick ? RD_VERDICT_BAD : verdict(w, run->outcome);
    uint64_t ns = sick ? sim_between(w, 0, 20 * MS) : run_ns(w, &w->jobs[id]);
    run->device_ns = w->plan.fair || sim_chance(w, 700) ? ns : 0;
    if (run->hangs) {
        ns += sim_between(w, 0, 4 * w->backends[run->backend].lease_ns);
    }
    sim_happen(w, ns, HAPPEN_DONE, number);
    sim_happen(w, heartbeat_ns(w, run), HAPPEN_HEARTBEAT, number);
}

void sim_engine_stop(struct world *w, uint64_t token)
{
    for (uint32_t i = w->runs_used; i != 0; i--) {
        struct run *run = &w->runs[i];
        if (run->token != token) {
            continue;
        }
        if (!run->done && !run->hangs && !run->stopped) {
            run->stopped = true;
            sim_happen(w, sim_between(w, 0, 200 * MS), HAPPEN_DONE, i);
        }
        return;
    }
}

static void done(struct world *w, uint32_t number)
{
    struct run *run = &w->runs[number];
    if (run->done) {
        return; /* stopped, and at its end at nearly the same time */
    }
    run->done = true;
    const uint64_t ran_ns = w->now_ns - run->started_ns;
    if (run->stopped) { /* or it was just ready */
        run->outcome = sim_chance(w, 800) ? RD_OUTCOME_CANCELLED : RD_OUTCOME_OK;
        run->verdict = run->outcome == RD_OUTCOME_OK ? RD_VERDICT_GOOD : RD_VERDICT_SAYS_NOTHING;
        run->device_ns = run->device_ns != 0 && ran_ns != 0 ? ran_ns : 0;
    }
    const struct rd_queue_event event = {.kind = RD_EV_DONE,
                                         .job = run->number,
                                         .token = run->token,
                                         .outcome = run->outcome,
                                         .verdict = run->verdict,
                                         .device_ns = run->device_ns};
    sim_happen(w, sim_chance(w, 500) ? 0 : sim_between(w, 0, 50 * MS), HAPPEN_SLOT, number);
    if (run->twice) {
        sim_happen(w, sim_between(w, 0, 2 * SECOND), HAPPEN_AGAIN, number);
    }
    sim_step(w, &event, run->id);
}

/* The answer to a run that an earlier life of the process started: of no use to anybody. */
void sim_engine_ghost(struct world *w, uint32_t number)
{
    const struct run *run = &w->runs[number];
    const struct rd_queue_event event = {.kind = RD_EV_DONE,
                                         .job = run->number,
                                         .token = run->token,
                                         .outcome = RD_OUTCOME_OK,
                                         .verdict = RD_VERDICT_GOOD,
                                         .device_ns = SECOND};
    sim_step(w, &event, run->id);
}

void sim_engine_happens(struct world *w, enum happening what, uint32_t number)
{
    const struct run *run = &w->runs[number];
    struct rd_queue_event event = {.job = run->number, .token = run->token};
    if (what == HAPPEN_DONE) {
        done(w, number);
    } else if (what == HAPPEN_AGAIN) { /* another answer than before, for good measure */
        event.kind = RD_EV_DONE;
        event.outcome = sim_chance(w, 500) ? RD_OUTCOME_OK : RD_OUTCOME_FAILED;
        event.verdict = RD_VERDICT_BAD;
        sim_step(w, &event, run->id);
    } else if (what == HAPPEN_SLOT) {
        w->backends[run->backend].taken--;
        event = (struct rd_queue_event){.kind = RD_EV_SLOT, .backend = run->backend};
        sim_step(w, &event, 0);
    } else if (!run->done && !run->hangs) {
        sim_happen(w, heartbeat_ns(w, run), HAPPEN_HEARTBEAT, number);
        if (w->settling || !sim_chance(w, w->plan.heartbeat_lost)) {
            event.kind = RD_EV_HEARTBEAT;
            sim_step(w, &event, run->id);
        }
    }
}
