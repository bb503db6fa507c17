# SPDX-License-Identifier: Apache-2.0
"""Runs the tests and counts them: what `make test` and continuous integration run.

A run is a list of stages (STAGES below), each a build or a set of tests in one build folder. One line
a stage while it runs; at the end every failure with the tail of its log; the last line is exactly
`N passed, M failed`, with `, K skipped` behind it when there were any. The exit status is 0 only when
nothing failed, and something passed. With CI=true a skipped test counts as failed: a machine that
cannot run a test has not run it.

What is counted is single tests: TAP subtests of the C programs, test functions of pytest, one for each
fuzz target and each rule of scripts/check. A program that dies, or ends without a test, is one failure
under its own name. Every command has a time limit; when that passes, its whole process group is killed
and the failure names what was running. Logs stay in build-test/. What tests write elsewhere goes to one
temporary folder a stage, which is removed with the stage: a gateway preallocates segments, and hundreds
of forgotten data folders fill a disk."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build-test"
VENV = ROOT / ".venv"
JOBS = str(max(2, os.cpu_count() or 2))
BLACKBOX_AT_ONCE = str(int(JOBS) + 1)  # they wait more than they compute
FUZZ_SECONDS_IN_ALL = 60
LOG_TAIL_LINES = 40

# /usr/bin first: the tests use the system's Python, whichever else stands in the caller's PATH.
ENV = {**os.environ, "PATH": "/usr/bin:/bin:" + os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Results:
    """Counts, and what to show at the end."""

    def __init__(self):
        self.passed = self.skipped = 0
        self.failures = []  # (name, text)

    def fail(self, name, text=""):
        """A test that fails and then fails again while it is cleaned up is one failure."""
        for index, (known, known_text) in enumerate(self.failures):
            if known == name:
                self.failures[index] = (name, known_text + "\n" + text)
                return
        self.failures.append((name, text))

    def skip(self, name, why):
        if os.environ.get("CI") == "true":
            self.fail(name, "skipped, which counts as failed in CI: " + why)
        else:
            self.skipped += 1


class StageFailed(Exception):
    """Ends a stage early; what went wrong is already in the results."""


class Stage:
    """What a stage's function gets: its name, its limits, and ways to run commands and count."""

    def __init__(self, name, limit_s, results, options):
        self.name, self.results, self.options = name, results, options
        self.until = time.monotonic() + limit_s
        self.temporary = tempfile.TemporaryDirectory(prefix=f"render-{name}-", ignore_cleanup_errors=True)
        self.log_path = LOGS / f"{name}.log"
        self.log_path.write_bytes(b"")

    def tail(self, lines=LOG_TAIL_LINES):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def run(self, command, env=None, limit_s=None, running=None, must=True):
        """Runs a command with its output in the stage's log; returns its exit status. On a hang the
        process group is killed and `running(log)` may say what hung. `must`: failing ends the stage."""
        left = self.until - time.monotonic()
        limit = left if limit_s is None else min(left, limit_s)
        command = [str(word) for word in command]
        with open(self.log_path, "ab") as log:
            log.write(("$ " + " ".join(command) + "\n").encode())
            log.flush()
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log,
                                       stdin=subprocess.DEVNULL, start_new_session=True,
                                       env={**ENV, "TMPDIR": self.temporary.name, **(env or {})})
            try:
                status = process.wait(max(limit, 1))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                what = running(self.log_path.read_text(errors="replace")) if running else command[0]
                self.results.fail(f"{self.name}: {what}", f"no end within {limit:.0f} s\n{self.tail()}")
                raise StageFailed from None
            finally:
                try:  # what the command left behind
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if must and status != 0:
            self.results.fail(f"{self.name}: {' '.join(command[:4])}", f"exit {status}\n{self.tail()}")
            raise StageFailed
        return status


# ---- C: builds and unit tests ----

def build(stage, folder, *setup, env=None, targets=()):
    if not (ROOT / folder / "build.ninja").exists():
        shutil.rmtree(ROOT / folder, ignore_errors=True)
        stage.run(["meson", "setup", folder, *setup], env=env)
    stage.run(["ninja", "-C", folder, "-j", JOBS, *targets], env=env)


def unit_tests(stage, folder, multiplier=1, wrap=(), without=()):
    """All of meson's tests but those of `without`, or with -k those whose name has it in."""
    command = [*wrap, "meson", "test", "-C", folder, "--no-rebuild", "--num-processes", JOBS,
               "--timeout-multiplier", multiplier]
    listed = subprocess.run(["meson", "test", "-C", folder, "--list", "--no-rebuild"], cwd=ROOT, env=ENV,
                            capture_output=True, text=True, check=True).stdout
    names = [line.split(" / ")[-1] for line in listed.splitlines()]
    for name in without:
        if name not in names:
            stage.results.fail(f"{stage.name}: {name}", "there is no such test to leave out")
    names = [name for name in names if name not in without and (stage.options.name or "") in name]
    if not names:
        return
    command += names
    logs = ROOT / folder / "meson-logs"
    for old in logs.glob("testlog*"):
        old.unlink()
    status = stage.run(command, env=SANITIZER_ENV, must=False, running=hung_unit_test)
    if not (logs / "testlog.junit.xml").exists():
        stage.results.fail(f"{stage.name}: meson test", f"exit {status}\n{stage.tail()}")
        return
    count_unit_tests(stage, logs)


def hung_unit_test(log):
    started = re.findall(r"RUNNING: +(\S+)", log)
    return started[-1] if started else "meson test"


def count_unit_tests(stage, logs):
    outputs = {}
    for line in (logs / "testlog.json").read_text(errors="replace").splitlines():
        test = json.loads(line)
        outputs[test["name"]] = test
    counted = {}
    for suite in ElementTree.parse(logs / "testlog.junit.xml").getroot().iter("testsuite"):
        program = suite.get("name").split(".", 1)[-1]
        program = program if program in outputs else suite.get("name").split(":")[-1]
        for case in suite.iter("testcase"):
            # A test of protocol tap is a suite with a case for each subtest; the rest share one suite.
            owner = program if program in outputs else case.get("name")
            name = f"{stage.name}: {program}: {case.get('name')}"
            bad = counted.setdefault(owner, {"ok": 0, "bad": 0, "skip": 0})
            if case.find("skipped") is not None:
                bad["skip"] += 1
                stage.results.skip(name, "the test says so")
            elif case.find("failure") is not None or case.find("error") is not None:
                bad["bad"] += 1
                stage.results.fail(name, test_output(outputs.get(owner)))
            else:
                bad["ok"] += 1
                stage.results.passed += 1
    for program, test in outputs.items():
        seen = counted.get(program, {"ok": 0, "bad": 0, "skip": 0})
        if test["result"] not in ("OK", "EXPECTEDFAIL", "SKIP") and seen["bad"] == 0:
            stage.results.fail(f"{stage.name}: {program}", f"{test['result']}\n{test_output(test)}")
        elif sum(seen.values()) == 0:
            stage.results.fail(f"{stage.name}: {program}", "it ran no test\n" + test_output(test))


def test_output(test):
    if test is None:
        return ""
    text = (test.get("stdout") or "") + (test.get("stderr") or "")
    return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


# ---- Python: black-box tests ----

def venv(stage):
    """The tests' Python packages; made again when requirements.txt changes."""
    wanted = (ROOT / "tests/blackbox/requirements.txt").read_text()
    mark = VENV / "requirements.txt"
    if mark.exists() and mark.read_text() == wanted:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    stage.run(["/usr/bin/python3", "-m", "venv", VENV])
    stage.run([VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r",
               "tests/blackbox/requirements.txt"], limit_s=300)
    mark.write_text(wanted)


def blackbox(stage, folder, sanitized="", select=(), wrap=()):
    venv(stage)
    report = LOGS / f"{stage.name}.xml"
    report.unlink(missing_ok=True)
    command = [*wrap, VENV / "bin/python", "-m", "pytest", "tests/blackbox", "-v", "--color=no", "-p",
               "no:cacheprovider", "-n", BLACKBOX_AT_ONCE, "--dist", "loadgroup", "-o", "faulthandler_timeout=240",
               f"--junitxml={report}", *select]
    if stage.options.name:
        command += ["-k", stage.options.name]
    env = {**SANITIZER_ENV, "BUILD_DIR": str(ROOT / folder), "SANITIZED": sanitized,
           "PYTHONDONTWRITEBYTECODE": "1"}
    status = stage.run(command, env=env, must=False, running=hung_blackbox_test)
    if not report.exists():
        stage.results.fail(f"{stage.name}: pytest", f"exit {status}\n{stage.tail()}")
        return
    failed = False
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{stage.name}: {case.get('classname')}::{case.get('name')}"
        bad = [node for kind in ("failure", "error") for node in case.iter(kind)]
        skipped = case.find("skipped")
        if bad:
            failed = True
            text = "\n".join(node.text or node.get("message") or "" for node in bad)
            stage.results.fail(name, "\n".join(text.splitlines()[-LOG_TAIL_LINES:]))
        elif skipped is not None:
            stage.results.skip(name, skipped.get("message") or "")
        else:
            stage.results.passed += 1
    nothing_selected = 5
    if status not in (0, nothing_selected if stage.options.name else 0) and not failed:
        stage.results.fail(f"{stage.name}: pytest", f"exit {status}\n{stage.tail()}")


def hung_blackbox_test(log):
    started = re.findall(r"^(?:tests/blackbox/)?(test_\S+::\S+)", log, re.MULTILINE)
    ended = set(re.findall(r"^\[gw\d+\].* (?:tests/blackbox/)?(test_\S+::\S+)", log, re.MULTILINE))
    return ", ".join(name for name in started if name not in ended) or "pytest"


# ---- fuzzing ----

def fuzz_targets():
    return sorted(path.stem.removeprefix("fuzz_") for path in (ROOT / "tests/fuzz").glob("fuzz_*.c"))


def fuzz_one(stage, target, seconds):
    """One target from its kept seeds. New inputs go to build-fuzz/found, reproducers of crashes to
    build-fuzz/crashes; neither is ever written into the tree."""
    seeds = ROOT / "tests/fuzz/corpus" / target
    found = ROOT / "build-fuzz/found" / target
    crashes = ROOT / "build-fuzz/crashes"
    for folder in (found, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    command = [ROOT / "build-fuzz/tests/fuzz" / f"fuzz_{target}", f"-max_total_time={seconds}", "-timeout=10",
               "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1",
               f"-artifact_prefix={crashes}/{target}-", found, seeds]
    dictionary = ROOT / "tests/fuzz" / f"{target}.dict"
    if dictionary.exists():
        command.insert(1, f"-dict={dictionary}")
    log_path = LOGS / f"fuzz-{target}.log"
    with open(log_path, "wb") as log:
        process = subprocess.Popen([str(word) for word in command], cwd=ROOT, env={**ENV, **SANITIZER_ENV},
                                   stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            status = process.wait(seconds * 2 + 60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"no end within {seconds * 2 + 60} s; log: {log_path}"
    text = log_path.read_text(errors="replace")
    if status == 0:
        return None
    reproducer = re.findall(r"Test unit written to (\S+)", text)
    where = f"reproduce: {command[0]} {reproducer[-1]}\n" if reproducer else ""
    return f"exit {status}\n{where}" + "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


def fuzz(stage):
    build(stage, "build-fuzz", "-Dfuzz=true", "-Db_sanitize=address,undefined", "-Db_lundef=false",
          "--buildtype=debugoptimized", env={"CC": "clang"}, targets=["fuzzers"])
    targets = [name for name in fuzz_targets() if not stage.options.name or stage.options.name in name]
    seconds = stage.options.fuzz_seconds_each or max(2, FUZZ_SECONDS_IN_ALL // max(1, len(targets)))
    with concurrent.futures.ThreadPoolExecutor(max_workers=int(JOBS)) as pool:
        for target, problem in zip(targets, pool.map(lambda name: fuzz_one(stage, name, seconds), targets)):
            if problem is None:
                stage.results.passed += 1
            else:
                stage.results.fail(f"fuzz: {target}", problem)


# ---- rules ----

def check(stage):
    """scripts/check prints one `ok NAME` or `FAIL NAME` line a rule."""
    report(stage, ["scripts/check", "--build", "build"], "check")


def proofs(stage):
    """scripts/prove prints the same for each file's goals, for its smoke tests, and for each mutant."""
    if shutil.which("frama-c", path=ENV["PATH"]) is None:
        stage.results.skip("proofs", "this system packages no Frama-C")
        return
    report(stage, ["scripts/prove"], "proofs")


def report(stage, command, what):
    """`ok NAME` and `FAIL NAME` lines, each a test; what stands before a FAIL says why."""
    status = stage.run(command, must=False)
    lines = stage.log_path.read_text(errors="replace").splitlines()
    details = []
    bad = 0
    for line in lines:
        if line.startswith("ok "):
            stage.results.passed += 1
            details = []
        elif line.startswith("FAIL "):
            bad += 1
            stage.results.fail(f"{what}: {line.removeprefix('FAIL ')}", "\n".join(details[-LOG_TAIL_LINES:]))
            details = []
        elif not line.startswith("$ "):
            details.append(line)
    if status != 0 and bad == 0:
        stage.results.fail(f"{what}: {command[0]}", f"exit {status}\n{stage.tail()}")


# ---- the simulator of the queue ----

SIMULATED_SEEDS, SIMULATED_AT_ONCE = 10000, 1000


def simulate(stage):
    """Seeds in blocks, each one test; the same seed twice; and every planted bug must be noticed."""
    stage.run(["make", "--no-print-directory", "build"])
    program = ROOT / "build/tests/simulate/simulate"
    for first in range(1, SIMULATED_SEEDS, SIMULATED_AT_ONCE):
        name = f"simulate: seeds {first} to {first + SIMULATED_AT_ONCE - 1}"
        if stage.options.name and stage.options.name not in name:
            continue
        count_run(stage, name, [program, "--first", first, "--seeds", SIMULATED_AT_ONCE, "--jobs", JOBS])
    name = "simulate: the same seed is the same run"
    if not stage.options.name or stage.options.name in name:
        traces = [subprocess.run([program, "--seed", "7", "--trace"], env=ENV, capture_output=True, timeout=60,
                                 check=False).stdout for _ in range(2)]
        if traces[0] == traces[1] and traces[0].count(b"\n") > 100:
            stage.results.passed += 1
        else:
            stage.results.fail(name, traces[0].decode()[-2000:])
    command = ["/usr/bin/python3", "tests/simulate/mutants.py", *(["-k", stage.options.name] if stage.options.name else [])]
    status = stage.run(command, must=False)
    count_lines(stage, "mutant", status)


def count_run(stage, name, command):
    if stage.run(command, must=False) == 0:
        stage.results.passed += 1
    else:
        stage.results.fail(name, stage.tail())


def count_lines(stage, what, status):
    """`ok NAME` and `FAIL NAME` lines of the stage's log, one test each."""
    bad = 0
    for line in stage.log_path.read_text(errors="replace").splitlines():
        if line.startswith("ok "):
            stage.results.passed += 1
        elif line.startswith("FAIL "):
            bad += 1
            stage.results.fail(f"{stage.name}: {what}: {line.removeprefix('FAIL ')}")
    if status != 0 and bad == 0:
        stage.results.fail(f"{stage.name}: {what}", f"exit {status}\n{stage.tail()}")


# ---- the stages ----

def unrandomized():
    """ThreadSanitizer of older compilers does not start where the kernel spreads addresses widely."""
    works = subprocess.run(["setarch", "-R", "true"], env=ENV, capture_output=True, check=False).returncode == 0
    return ["setarch", "-R"] if works else []


def stage_gcc(stage):
    stage.run(["make", "--no-print-directory", "build"])
    unit_tests(stage, "build")


def stage_blackbox(stage):
    blackbox(stage, "build")


def stage_clang(stage):
    build(stage, "build-clang", "--buildtype=debugoptimized", env={"CC": "clang"})
    unit_tests(stage, "build-clang")


# Tests that preload a library, which a sanitizer's allocator cannot have over it. They run without.
PRELOADED = ["--ignore=tests/blackbox/test_faults.py",
             "--deselect=test_crash.py::test_each_sync_and_write_of_a_job_fails_once",
             "--deselect=test_crash.py::test_nothing_is_promised_after_a_failed_sync"]


def stage_asan(stage):
    build(stage, "build-asan", "-Db_sanitize=address,undefined", "-Db_lundef=false", "--buildtype=debugoptimized")
    unit_tests(stage, "build-asan", multiplier=4)
    blackbox(stage, "build-asan", "address", PRELOADED)


# What has threads meeting: the rest is the same code on one thread.
TSAN_TESTS = ("not test_cli and not memory and (storm or reload or drain or revoked or kill or left or leaves or slots or "
              "concurrent or parallel or at_once or bounded or signer or disconnect or (test_events and not browser) or "
              "(test_jobs and (cancel or identical or wait or stopped or retr)) or "
              "(test_ws and (many or slow or cancel)) or (test_webhooks and (host or replay)) or "
              "(test_triton and (a_cancel or under_load or silent)))")


# The longest of those that have one thread: nothing in them can race.
TSAN_WITHOUT = ("simulate", "store/faults", "store/job_faults", "engine/builtin_paint", "core/queue_fair", "catalogue/catalogue")


def stage_tsan(stage):
    wrap = unrandomized()
    build(stage, "build-tsan", "-Db_sanitize=thread", "-Db_lundef=false", "--buildtype=debugoptimized")
    unit_tests(stage, "build-tsan", multiplier=6, wrap=wrap, without=TSAN_WITHOUT)
    select = PRELOADED
    blackbox(stage, "build-tsan", "thread", select if stage.options.name else [*select, "-k", TSAN_TESTS], wrap)


STAGES = {  # name: (function, limit in seconds, what it is)
    "gcc": (stage_gcc, 900, "gcc, as shipped: build, unit tests"),
    "check": (check, 400, "rules of the tree, layers, documents"),
    "simulate": (simulate, 600, "the queue in virtual time with faults: seeds, and planted bugs"),
    "proofs": (proofs, 1200, "Frama-C proves src/core/{bucket,breaker,lanes}.c; mutants of them must fail"),
    "blackbox": (stage_blackbox, 900, "black-box tests of what gcc built"),
    "clang": (stage_clang, 900, "clang: build, unit tests"),
    "asan": (stage_asan, 1800, "address and undefined-behaviour sanitizers: unit and black-box tests"),
    "tsan": (stage_tsan, 1800, "thread sanitizer: unit tests and black-box tests with threads meeting"),
    "fuzz": (fuzz, 900, f"every fuzz target from its kept seeds, {FUZZ_SECONDS_IN_ALL} s in all"),
}


def run_stage(name, results, options):
    function, limit_s, what = STAGES[name]
    started = time.monotonic()
    before = results.passed, len(results.failures), results.skipped
    print(f"{name:9} {what} ...", flush=True)
    if options.fuzz_seconds_each:
        limit_s += options.fuzz_seconds_each * (len(fuzz_targets()) + 1)
    stage = Stage(name, limit_s, results, options)
    try:
        function(stage)
    except StageFailed:
        pass
    finally:
        stage.temporary.cleanup()
    after = results.passed, len(results.failures), results.skipped
    passed, failed, skipped = (b - a for a, b in zip(before, after))
    print(f"{name:9} {passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "") +
          f" in {time.monotonic() - started:.0f} s", flush=True)


def make_venv(results, options):
    try:
        venv(Stage("venv", 600, results, options))
    except StageFailed:
        print(results.failures[-1][1])
        return 1
    return 0


def main():
    parser = argparse.ArgumentParser(prog="scripts/test", description="runs the tests, by default all")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument("-k", dest="name", help="only tests with NAME in their name")
    parser.add_argument("--list", action="store_true", help="list the stages")
    parser.add_argument("--venv", action="store_true", help="only make .venv, the tests' Python packages")
    parser.add_argument("--fuzz-seconds-each", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.list:
        for name, (_, limit_s, what) in STAGES.items():
            print(f"{name:9} {what} (at most {limit_s} s)")
        return 0
    unknown = [name for name in options.stages if name not in STAGES]
    if unknown:
        parser.error(f"no stage {unknown[0]}; there are {', '.join(STAGES)}")
    LOGS.mkdir(exist_ok=True)
    results = Results()
    if options.venv:
        return make_venv(results, options)
    for name in options.stages or STAGES:
        run_stage(name, results, options)
    for name, text in results.failures:
        print(f"\nFAILED {name}")
        for line in text.splitlines():
            print("    " + line)
    if not results.passed and not results.failures:
        results.fail("no test ran")
        print("\nFAILED no test ran")
    if results.failures:
        print(f"\nLogs: {LOGS.relative_to(ROOT)}/. Again: scripts/test STAGE -k NAME")
    print(f"{results.passed} passed, {len(results.failures)} failed" +
          (f", {results.skipped} skipped" if results.skipped else ""), flush=True)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
