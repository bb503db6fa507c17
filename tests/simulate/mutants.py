# SPDX-License-Identifier: Apache-2.0
"""Shows that the simulator can fail: builds the queue with one planted bug at a time (MUTANTS below: a file, a piece
of its text that occurs once, what stands there instead) and expects the simulator to notice, without the queue's own
rd_queue_check. One line a mutant: `ok NAME: seed N: the invariant`, or `FAIL NAME: ...`. The text is the source's own,
so a change there that touches it must be made here too: a mutant that no longer applies is a failure."""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CORE = ROOT / "src/core"
SOURCES = ["admission.c", "bucket.c", "lanes.c", "queue.c", "queue_admit.c", "queue_check.c", "queue_fair.c",
           "queue_look.c", "queue_timer.c"]
SEEDS = 4000

MUTANTS = {
    # leases and tokens
    "any token will do": ("queue.c", "it->token == event->token && ", ""),
    "a cancelled lease still runs": (
        "queue.c",
        "    queue->jobs[job].token = 0;\n    queue->backends",
        "    queue->backends"),
    "heartbeats are not heard": (
        "queue.c",
        "    ret->stale = !holds(queue, event, RD_JOB_RUNNING, RD_JOB_STOPPING);\n    if (ret->stale ||",
        "    ret->stale = !holds(queue, event, RD_JOB_RUNNING, RD_JOB_STOPPING);\n    if (true ||"),
    "a heartbeat renews patience": (
        "queue.c",
        "if (ret->stale || queue->jobs[event->job].state == RD_JOB_STOPPING)",
        "if (ret->stale)"),
    "timers before the event": (
        "queue.c",
        "    handle(queue, event, ret);\n    fire_due(queue, ret);\n",
        "    fire_due(queue, ret);\n    handle(queue, event, ret);\n"),
    "a lost lease frees its slot": (
        "queue.c",
        "        stop(queue, job, ret);\n        stop_running",
        "        stop(queue, job, ret);\n        queue->backends[it->backend].taken--;\n        stop_running"),
    "a lost lease does not stop its run": (
        "queue.c",
        "        stop(queue, job, ret);\n        stop_running",
        "        stop_running"),
    "a lease that was not written keeps its slot": (
        "queue.c",
        "    queue->backends[queue->jobs[job].backend].taken--;\n",
        ""),
    "a lease that was not written counts": ("queue.c", "    queue->jobs[event->job].attempt--;\n", ""),
    "one attempt too many": (
        "queue.c",
        "it->attempt >= queue->config.attempts_max",
        "it->attempt > queue->config.attempts_max"),
    "running before the lease is written": (
        "queue.c",
        "    if (!it->durable) {\n        run(queue, job, ret);\n        return;",
        "    if (!it->durable || queue->token % 64 == 0) {\n        run(queue, job, ret);\n        return;"),
    # ends
    "a late result of a cancelled run counts": (
        "queue.c",
        "    if (stopping) {",
        "    if (stopping && event->outcome != RD_OUTCOME_OK) {"),
    "failures are final": (
        "queue.c",
        "        again(queue, job, RD_END_ERROR, ret); /*",
        "        rd_queue_finish(queue, job, RD_END_ERROR, ret); /*"),
    "final failures are repeated": (
        "queue.c",
        "event->outcome == RD_OUTCOME_FAILED) {\n        rd_queue_finish(",
        "event->outcome == RD_OUTCOME_FAILED) {\n        again("),
    "the device time is forgotten": (
        "queue.c",
        "    ret->actions[ret->count - 1].device_ns = event->device_ns;\n",
        ""),
    "a number is free before its end is written": (
        "queue.c",
        "    if (!it->durable) {\n        rd_queue_job_free(queue, job);",
        "    {\n        rd_queue_job_free(queue, job);"),
    "a number is never free again": (
        "queue.c",
        "queue->jobs[job].state == RD_JOB_ENDING) {\n        rd_queue_job_free(queue, job);",
        "queue->jobs[job].state == RD_JOB_ENDING) {\n"),
    "no time for another try, but tried": ("queue.c", "!it->durable || too_late ||", "!it->durable ||"),
    # cancel, ttl, patience
    "an early cancel is forgotten": ("queue.c", "        it->cancel = true;\n", ""),
    "a cancel is not written": (
        "queue.c",
        "        if (it->durable) {\n            write_cancel(job, ret);",
        "        if (false) {\n            write_cancel(job, ret);"),
    "a cancel comes again": (
        "queue.c",
        "    case RD_JOB_STOPPING:\n        ret->cancel = RD_CANCEL_STOPPING;\n",
        "    case RD_JOB_STOPPING:\n        stop(queue, job, ret);\n        ret->cancel = RD_CANCEL_STOPPING;\n"),
    "patience never ends": (
        "queue.c",
        "rd_queue_add(queue->now_ns, queue->config.stop_patience_ns)",
        "RD_QUEUE_NEVER"),
    "no ttl in the queue": (
        "queue.c",
        "    rd_queue_timer_set(queue, job, queue->jobs[job].expires_ns);\n",
        "    rd_queue_timer_set(queue, job, RD_QUEUE_NEVER);\n"),
    "no ttl in a pause": ("queue.c", "due_ns < it->expires_ns ? due_ns : it->expires_ns", "due_ns"),
    "the clock may go back": ("queue.c", "queue->now_ns < now_ns ? now_ns : queue->now_ns", "now_ns"),
    "the next tick is too late": (
        "queue.c",
        "queue->timers[1].due_ns : RD_QUEUE_NEVER",
        "queue->timers[1].due_ns + 1 : RD_QUEUE_NEVER"),
    "pauses do not grow": ("queue.c", "i < attempt && wait < max", "false && wait < max"),
    "jitter goes beyond the longest pause": ("queue.c", "jitter < max - wait ? wait + jitter : max", "wait + jitter"),
    # order
    "what could not be leased goes last": (
        "queue.c",
        "    rd_queue_enter(queue, event->job);\n    make_queued(queue, event->job, true);",
        "    rd_queue_enter(queue, event->job);\n    make_queued(queue, event->job, false);"),
    "what is repeated goes last": (
        "queue.c",
        "            make_queued(queue, job, true);\n            break;",
        "            make_queued(queue, job, false);\n            break;"),
    "what is new goes first": (
        "queue.c",
        "        make_queued(queue, job, false);\n    }\n}",
        "        make_queued(queue, job, true);\n    }\n}"),
    "the low lane first": (
        "queue_fair.c",
        "        const uint32_t class_ = longest_ago(queue, open, queue->waiting[lane]);",
        "        lane = RD_LANE_COUNT_ - 1 - lane;\n"
        "        const uint32_t class_ = longest_ago(queue, open, queue->waiting[lane]);"),
    "always the same class": ("queue_fair.c", "queue->classes[class_].served < queue->classes[best].served", "false"),
    "virtual time does not matter": (
        "queue_fair.c",
        "    if (left->vtime_us != right->vtime_us) {",
        "    if (false) {"),
    "lower numbers first": (
        "queue_fair.c",
        "    if (left->vtime_us != right->vtime_us) {",
        "    if (a != b) {\n        return a < b;"),
    "runs cost their estimate": (
        "queue_fair.c",
        "    replace_charge(queue, job, took_us > least_us ? took_us : least_us);",
        "    (void)took_us;\n    (void)least_us;"),
    "shares of jobs, not of time": (
        "queue_fair.c",
        "    replace_charge(queue, job, took_us > least_us ? took_us : least_us);",
        "    replace_charge(queue, job, 1000000 + 0 * (took_us + least_us));"),
    "idleness is saved up": ("queue_fair.c", "    if (queue->flows[flow].vtime_us < begin_us) {", "    if (false) {"),
    "a flow's place is not kept": (
        "queue_fair.c",
        "    if (queue->flows[flow].place != 0) {\n        settle(queue, flow);",
        "    if (false) {\n        settle(queue, flow);"),
    "timers are no heap": (
        "queue_timer.c",
        "    while (below != 0 && before(queue->timers[below], timer)) {",
        "    while (false) {"),
    "one of four timers is not looked at": ("queue_timer.c", "i < first + WIDTH &&", "i < first + WIDTH - 1 &&"),
    # counts and limits
    "depth is not given back": ("queue.c", "    queue->tenants[queue->jobs[job].tenant].queued--;\n", ""),
    "depth is one more": (
        "queue_admit.c",
        "tenant->queued >= tenant->limits.depth",
        "tenant->queued > tenant->limits.depth"),
    "a refusal takes a token": (
        "queue_admit.c",
        "    uint32_t backend = 0;\n    ret->admit = decide(",
        "    uint32_t backend = 0;\n    struct tenant *payer = &queue->tenants[event->tenant];\n"
        "    const bool deep = payer->limits.depth != 0 && payer->queued >= payer->limits.depth;\n"
        "    if (deep) {\n"
        "        (void)rd_bucket_take(&payer->bucket, &payer->limits.rate, queue->now_ns, 1);\n    }\n"
        "    ret->admit = decide("),
    "a lost row keeps its token": (
        "queue_admit.c",
        "    rd_bucket_give_back(&tenant->bucket, &tenant->limits.rate, 1);\n",
        "    (void)tenant;\n"),
    "old time at the new rate": (
        "queue_admit.c",
        "        (void)rd_bucket_take(&tenant->bucket, &tenant->limits.rate, queue->now_ns, 0);\n",
        ""),
    "sync runs ignore concurrency": (
        "queue_admit.c",
        "return rd_queue_may_start(tenant) ? backend_for_now(",
        "return true ? backend_for_now("),
    "anybody may use the high lane": (
        "queue_admit.c",
        "event->lane == RD_LANE_HIGH && !tenant->limits.high",
        "false"),
    "concurrency is not looked at": (
        "queue_fair.c",
        "    const bool should = rd_lanes_len(&queue->lanes, flow) != 0 &&\n"
        "                        rd_queue_may_start(&queue->tenants[queue->flows[flow].tenant]);",
        "    const bool should = rd_lanes_len(&queue->lanes, flow) != 0;"),
    "a tenant below its cap stays out": (
        "queue_fair.c",
        "    if (could != rd_queue_may_start(it)) {",
        "    if (could && !rd_queue_may_start(it)) {"),
    "new limits reach only new jobs": ("queue_admit.c", "    rd_queue_tenant_sync(queue, event->tenant);\n", ""),
    # backends
    "backends that are not ready get work": (
        "queue.c",
        "    backend->ready = event->ready && event->slots != 0;",
        "    backend->ready = event->slots != 0;"),
    "a retired backend still serves": ("queue.c", "i < RD_QUEUE_CLASS_WORDS && event->slots == 0; i++", "false; i++"),
    "one slot too many": (
        "queue_fair.c",
        "        slots[i].taken = backend->taken;",
        "        slots[i].taken = backend->taken - (backend->taken > 2);"),
    "free slots wait for the next event": (
        "queue.c",
        "    give_slots(queue, ret);\n    ret->more",
        "    if (event->kind != RD_EV_SLOT) {\n        give_slots(queue, ret);\n    }\n    ret->more"),
    "there is always no more": ("queue.c", "    ret->more = !has_room(ret);", "    ret->more = false;"),
    # events that do not fit
    "durable twice": (
        "queue.c",
        "    if (!rd_queue_is_job(queue, job) || queue->jobs[job].state != RD_JOB_ACCEPTED) {\n        return;\n    }\n"
        "    if (queue->jobs[job].cancel)",
        "    if (!rd_queue_is_job(queue, job) || queue->jobs[job].state == RD_JOB_FREE) {\n        return;\n    }\n"
        "    if (queue->jobs[job].cancel)"),
    "lost when it is known": (
        "queue_admit.c",
        "queue->jobs[job].state != RD_JOB_ACCEPTED) {\n        return;",
        "queue->jobs[job].state == RD_JOB_FREE) {\n        return;"),
    "ended while it runs": (
        "queue.c",
        "queue->jobs[job].state == RD_JOB_ENDING) {",
        "queue->jobs[job].state >= RD_JOB_RUNNING) {"),
    "adopted after its end": (
        "queue.c",
        "    if (state != RD_JOB_RUNNING && state != RD_JOB_STOPPING) {\n        return;",
        "    if (state == RD_JOB_ACCEPTED) {\n        return;"),
    # restart and adoption
    "tokens begin anew": ("queue.c", "    queue->token = config->token_last;\n", ""),
    "a restart forgets cancels": (
        "queue_admit.c",
        "    if (event->cancel || it->attempt >=",
        "    if (it->attempt >="),
    "a restart forgets attempts": ("queue_admit.c", "    it->attempt = event->attempt;\n", ""),
    "a restart forgets the ttl": (
        "queue_admit.c",
        "    rd_queue_timer_set(queue, job, it->expires_ns);\n    rd_queue_wait_push",
        "    rd_queue_wait_push"),
    "an adopted run has no row": (
        "queue.c",
        "    queue->jobs[job].durable = true;\n    ret->job = job;",
        "    ret->job = job;"),
    "an adopted run forgets its cancel": (
        "queue.c",
        "    if (state == RD_JOB_STOPPING) {\n        write_cancel(job, ret);",
        "    if (false) {\n        write_cancel(job, ret);"),
}


def compiled(cc, source, output):
    command = [*cc, "-std=c11", "-D_GNU_SOURCE", "-O1", "-w", f"-I{ROOT / 'src'}", "-c", str(source), "-o", str(output)]
    subprocess.run(command, check=True)
    return output


def run_mutant(cc, folder, objects, name):
    file, old, new = MUTANTS[name]
    text = (CORE / file).read_text()
    if text.count(old) != 1:
        return False, f"its text occurs {text.count(old)} times in {file}"
    stem = re.sub(r"\W+", "-", name)
    source = folder / f"{stem}.c"
    source.write_text(text.replace(old, new))
    program = folder / stem
    others = [path for original, path in objects.items() if original != file]
    subprocess.run([*cc, str(compiled(cc, source, folder / f"{stem}.o")), *map(str, others), "-o", str(program)], check=True)
    done = subprocess.run([program, "--blind", "--seeds", str(SEEDS)], capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"^seed (\d+) step \d+: does not hold: (.*)$", done.stdout, re.MULTILINE)
    program.unlink()
    if done.returncode == 1 and found:
        return True, f"seed {found[1]}: {found[2]}"
    return False, f"not noticed in {SEEDS} seeds (exit {done.returncode})"


def main():
    parser = argparse.ArgumentParser(description="expects the simulator to notice each planted bug")
    parser.add_argument("-k", dest="name", default="", help="only mutants with NAME in their name")
    options = parser.parse_args()
    cc = os.environ.get("CC", "cc").split()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="render-mutants-") as name, \
            concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        folder = pathlib.Path(name)
        sources = [CORE / source for source in SOURCES] + sorted((ROOT / "tests/simulate").glob("*.c"))
        built = pool.map(lambda source: compiled(cc, source, folder / f"{source.parent.name}-{source.stem}.o"), sources)
        objects = dict(zip([source.name if source.parent == CORE else str(source) for source in sources], built))
        names = [mutant for mutant in MUTANTS if options.name in mutant]
        for mutant, (noticed, how) in zip(names, pool.map(lambda mutant: run_mutant(cc, folder, objects, mutant), names)):
            bad += not noticed
            print(f"{'ok' if noticed else 'FAIL'} {mutant}: {how}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
