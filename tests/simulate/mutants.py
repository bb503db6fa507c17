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
SOURCES = ["admission.c", "breaker.c", "bucket.c", "lanes.c", "queue.c", "queue_admit.c", "queue_backend.c",
           "queue_check.c", "queue_fair.c", "queue_look.c", "queue_timer.c"]
SEEDS = 4000

MUTANTS = {
    # leases and tokens
    "any token will do": ("queue.c", "it->token == event->token && ", ""),
    "a cancelled lease still runs": (
        "queue.c",
        "    queue->jobs[job].token = 0;\n    rd_queue_release(queue, job, RD_VERDICT_SAYS_NOTHING);\n",
        "    rd_queue_release(queue, job, RD_VERDICT_SAYS_NOTHING);\n"),
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
        "    rd_queue_on_slot(queue, queue->jobs[job].backend);\n",
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
        "        again(queue, job, RD_END_ERROR, event->verdict, ret); /*",
        "        rd_queue_finish(queue, job, RD_END_ERROR, ret); /*"),
    "final failures are repeated": (
        "queue.c",
        "event->outcome == RD_OUTCOME_FAILED) {\n        rd_queue_finish(queue, job, RD_END_ERROR, ret);",
        "event->outcome == RD_OUTCOME_FAILED) {\n        again(queue, job, RD_END_ERROR, event->verdict, ret);"),
    "the device time is forgotten": (
        "queue.c",
        "    ret->actions[0].device_ns = event->device_ns;",
        ""),
    "a number is free before its end is written": (
        "queue.c",
        "    if (!it->durable) {\n        rd_queue_job_free(queue, job);",
        "    {\n        rd_queue_job_free(queue, job);"),
    "a number is never free again": (
        "queue.c",
        "queue->jobs[job].state == RD_JOB_ENDING) {\n        rd_queue_job_free(queue, job);",
        "queue->jobs[job].state == RD_JOB_ENDING) {\n"),
    "no time for another try, but tried": ("queue.c", "waits_until(it) <= queue->now_ns || it->attempt", "it->attempt"),
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
        "    rd_queue_timer_set(queue, job, waits_until(&queue->jobs[job]));\n    rd_queue_wait_push",
        "    rd_queue_timer_set(queue, job, queue->jobs[job].deadline_ns);\n    rd_queue_wait_push"),
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
        "queue_backend.c",
        "    backend->ready = event->ready && event->slots != 0;",
        "    backend->ready = event->slots != 0;"),
    "a retired backend still serves": (
        "queue_backend.c",
        "i < RD_QUEUE_CLASS_WORDS && event->slots == 0; i++",
        "false; i++"),
    "one slot too many": (
        "queue_backend.c",
        "        slots[i].taken = backend->taken;",
        "        slots[i].taken = backend->taken - (backend->taken > 2);"),
    "free slots wait for the next event": (
        "queue.c",
        "    give_slots(queue, ret);\n    ret->more",
        "    if (event->kind != RD_EV_SLOT) {\n        give_slots(queue, ret);\n    }\n    ret->more"),
    "there is always no more": ("queue.c", "    ret->more = !has_room(ret);", "    ret->more = false;"),
    "weights do not matter": ("queue_backend.c", "        slots[i].weight = backend->weight;", "        slots[i].weight = 0;"),
    "loads do not matter": ("admission.c", "return left < right ? -1 : left > right;", "return 0 * (left < right);"),
    "a reload forgets weights": ("queue_backend.c", "    backend->weight = event->weight;\n", ""),
    # breakers
    "breakers are not asked": (
        "queue_backend.c",
        "           rd_breaker_ready(&backend->breaker, queue->now_ns);",
        "           true;"),
    "results are not told to breakers": (
        "queue_backend.c",
        "        rd_breaker_record(&it->breaker, queue->now_ns, permit, verdict == RD_VERDICT_GOOD);",
        "        (void)permit;"),
    "results are told twice": (
        "queue_backend.c",
        "        rd_breaker_record(&it->breaker, queue->now_ns, permit, verdict == RD_VERDICT_GOOD);",
        "        rd_breaker_record(&it->breaker, queue->now_ns, permit, verdict == RD_VERDICT_GOOD);\n"
        "        rd_breaker_record(&it->breaker, queue->now_ns, permit, verdict == RD_VERDICT_GOOD);"),
    "permits are not given back": ("queue_backend.c", "        rd_breaker_cancel(&it->breaker, permit);\n", ""),
    "permits are given back twice": (
        "queue_backend.c",
        "        rd_breaker_cancel(&it->breaker, permit);\n",
        "        rd_breaker_cancel(&it->breaker, permit);\n        rd_breaker_cancel(&it->breaker, permit);\n"),
    "bad is good": ("queue_backend.c", "permit, verdict == RD_VERDICT_GOOD);", "permit, true);"),
    "what says nothing is bad": (
        "queue_backend.c",
        "    if (verdict == RD_VERDICT_SAYS_NOTHING) {",
        "    if (false) {"),
    "a lost lease says nothing": (
        "queue.c",
        "stop_running(queue, job, ran_ns, RD_VERDICT_BAD);",
        "stop_running(queue, job, ran_ns, RD_VERDICT_SAYS_NOTHING);"),
    "a lease that was not written is bad": (
        "queue.c",
        "    rd_queue_release(queue, job, RD_VERDICT_SAYS_NOTHING);",
        "    rd_queue_release(queue, job, RD_VERDICT_BAD);"),
    "a cancelled run is bad": (
        "queue.c",
        "        stop_running(queue, job, ran_ns, RD_VERDICT_SAYS_NOTHING);",
        "        stop_running(queue, job, ran_ns, RD_VERDICT_BAD);"),
    "late results are told to breakers": (
        "queue.c",
        "    ret->stale = !holds(queue, event, RD_JOB_RUNNING, RD_JOB_STOPPING);\n    if (ret->stale) {\n        return;",
        "    ret->stale = !holds(queue, event, RD_JOB_RUNNING, RD_JOB_STOPPING);\n    if (ret->stale) {\n"
        "        struct backend *b = &queue->backends[1];\n"
        "        if (b->known && event->device_ns != 0) {\n"
        "            rd_breaker_record(&b->breaker, queue->now_ns, b->breaker.period, true);\n        }\n        return;"),
    "nobody comes back to an open breaker": (
        "queue.c",
        "    if (queue->breakers_next_ns < ret->next_ns) {",
        "    if (false) {"),
    "half open for ever": (
        "queue_backend.c",
        "            (void)rd_breaker_allow(breaker, queue->now_ns); /* no permit: it opens */\n",
        ""),
    "a breaker that opened is not planned for": (
        "queue_backend.c",
        "        rd_breaker_record(&it->breaker, queue->now_ns, permit, verdict == RD_VERDICT_GOOD);\n    }\n"
        "    if (it->breaker.period != period) {",
        "        rd_breaker_record(&it->breaker, queue->now_ns, permit, verdict == RD_VERDICT_GOOD);\n    }\n"
        "    if (false && period != 0) {"),
    "a reload forgets the breaker": ("queue_backend.c", "    if (!backend->known) {", "    if (true) {"),
    # elsewhere
    "backends where it failed are as good as others": (
        "queue_backend.c",
        "        slots[i].failed = job != 0 && has_failed(queue, job, i + 1);",
        "        slots[i].failed = false;"),
    "only the last failure is remembered": (
        "queue_backend.c",
        "        it->failed[i] = it->failed[i - 1];",
        "        it->failed[i] = 0;"),
    "failures are not remembered": ("queue_backend.c", "    it->failed[0] = it->backend;\n", ""),
    "where it failed is elsewhere": (
        "queue_backend.c",
        " != RD_ADMISSION_TAKE ||\n        has_failed(queue, job, backend)) {",
        " != RD_ADMISSION_TAKE) {"),
    "a pause though another could take it": (
        "queue.c",
        "        rd_queue_elsewhere(queue, job, &backend)) {",
        "        it->attempt > 1 && rd_queue_elsewhere(queue, job, &backend)) {"),
    "elsewhere though nobody is to blame": (
        "queue.c",
        "    if (verdict == RD_VERDICT_BAD && rd_queue_may_start(",
        "    if (rd_queue_may_start("),
    "sync runs fail though another could take them": (
        "queue.c",
        "        (it->lost && !it->durable)) {",
        "        !it->durable) {"),
    "lost sync runs are repeated": ("queue.c", "        (it->lost && !it->durable)) {", "        false) {"),
    "elsewhere beyond the tenant's limit": (
        "queue.c",
        "verdict == RD_VERDICT_BAD && rd_queue_may_start(&queue->tenants[it->tenant]) &&",
        "verdict == RD_VERDICT_BAD &&"),
    "elsewhere without a ttl": (
        "queue.c",
        "        rd_queue_timer_set(queue, job, waits_until(&queue->jobs[job]));\n    }\n    rd_queue_start",
        "        rd_queue_timer_set(queue, job, RD_QUEUE_NEVER);\n    }\n    rd_queue_start"),
    # deadlines
    "each attempt has a deadline of its own": (
        "queue.c",
        "    if (it->deadline_ns == RD_QUEUE_NEVER && queue->config.deadline_ns != 0) {",
        "    if (queue->config.deadline_ns != 0) {"),
    "pauses beyond the deadline": (
        "queue.c",
        "    if (!it->durable || rd_queue_add(queue->now_ns, wait_ns) >= it->deadline_ns) {",
        "    if (!it->durable) {"),
    "no deadline without an engine": (
        "queue.c",
        "    return it->expires_ns < it->deadline_ns ? it->expires_ns : it->deadline_ns;",
        "    return it->expires_ns;"),
    "runs are not told the deadline": (
        "queue.c",
        "    action->deadline_ns = it->deadline_ns != RD_QUEUE_NEVER ? it->deadline_ns : 0;",
        "    action->deadline_ns = 0;"),
    "who is late has expired": ("queue.c", "it->expires_ns <= queue->now_ns ? RD_END_EXPIRED :", "true ? RD_END_EXPIRED :"),
    "a lost attempt is forgotten": ("queue.c", "    it->lost = end == RD_END_LOST;\n", ""),
    # quarantine
    "no quarantine": ("queue.c", "        rd_queue_quarantine(queue, job);\n", ""),
    "quarantine ends by a word": (
        "queue_backend.c",
        "    if (backend->ready && backend->taken == backend->leases) {",
        "    if (backend->ready) {"),
    "quarantine ends with the slot": (
        "queue_backend.c",
        "        queue->backends[backend].taken--;\n",
        "        queue->backends[backend].taken--;\n"
        "        queue->backends[backend].quarantined &= queue->backends[backend].taken != queue->backends[backend].leases;\n"),
    "quarantine ends unready": (
        "queue_backend.c",
        "    if (backend->ready && backend->taken == backend->leases) {",
        "    if (backend->taken == backend->leases) {"),
    "quarantine never ends": (
        "queue_backend.c",
        "        backend->quarantined = false;\n",
        ""),
    "quarantine is not looked at": ("queue_backend.c", "backend->ready && !backend->quarantined &&", "backend->ready &&"),
    "a lost lease is quarantined": (
        "queue.c",
        "        stop_running(queue, job, ran_ns, RD_VERDICT_BAD);",
        "        stop_running(queue, job, ran_ns, RD_VERDICT_BAD);\n        rd_queue_quarantine(queue, job);"),
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
