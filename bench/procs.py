# SPDX-License-Identifier: Apache-2.0
"""Child processes: started in a session of their own, read through /proc, and stopped whatever happens.

Every server of the benchmark is a Child. A session of its own makes its family findable (nginx and its
workers, the gateway and its signer) without knowing names: CPU and memory are sums over the session.
stop_all() runs at exit and on SIGTERM, SIGINT and SIGHUP: SIGTERM to the leader, which takes its family
along, and SIGKILL to the whole session when it has not gone in time. Nothing is ever stopped by name."""
import atexit
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

STOP_S = 15
TICKS = os.sysconf("SC_CLK_TCK")
children = []


class BenchError(Exception):
    """A row could not be measured, and why."""


def tail(path, lines=5):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "\n".join(file.read().splitlines()[-lines:])
    except OSError:
        return ""


class Child:
    def __init__(self, argv, log, env=None):
        self.name, self.log = os.path.basename(argv[0]), log
        with open(log, "ab") as err:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=err, env=env, start_new_session=True)
        self.pid = self.popen.pid
        children.append(self)

    def line(self, begins):
        """What follows `begins` in the first line that it prints: how it says that it is ready."""
        text = self.popen.stdout.readline().decode().rstrip("\n")
        if not text.startswith(begins):
            raise BenchError(f"{self.name} did not start: {tail(self.log) or text or 'no message'}")
        return text[len(begins):]

    def alive(self):
        return self.popen.poll() is None

    def family(self):
        """The process ids of its session."""
        found = []
        for name in os.listdir("/proc"):
            fields = stat_fields(name) if name.isdigit() else None
            if fields and int(fields[3]) == self.pid and fields[0] != "Z":
                found.append(int(name))
        return found

    def cpu_s(self):
        total = 0
        for pid in self.family():
            fields = stat_fields(pid)
            total += int(fields[11]) + int(fields[12]) if fields else 0
        return total / TICKS

    def disk_bytes(self):
        """Bytes that it made dirty in files so far, or None where the kernel does not tell."""
        try:
            return sum(proc_field(pid, "io", "write_bytes:") for pid in self.family())
        except OSError:
            return None

    def stop(self):
        if self in children:
            children.remove(self)
        if self.alive():
            self.popen.terminate()
            try:
                self.popen.wait(STOP_S)
            except subprocess.TimeoutExpired:
                pass
        for pid in self.family():  # nobody, but after a leader that crashed or hung
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self.popen.wait()
        self.popen.stdout.close()
        return self.popen.returncode


def stat_fields(pid):
    """/proc/PID/stat from the state on: [0] state, [3] session, [11] utime, [12] stime; or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None


def proc_field(pid, file, label):
    with open(f"/proc/{pid}/{file}", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(label):
                return int(line.split()[1])
    raise OSError(f"no {label} in /proc/{pid}/{file}")


@dataclass
class Memory:
    """Sums over a family, in KiB. RSS counts a page of a shared library in each process; PSS divides it
    by how many have it; anonymous pages are what the programs allocated themselves."""
    rss: int
    pss: int
    anonymous: int


def memory(child):
    pids = child.family()
    return Memory(rss=sum(proc_field(pid, "status", "VmRSS:") for pid in pids),
                  pss=sum(proc_field(pid, "smaps_rollup", "Pss:") for pid in pids),
                  anonymous=sum(proc_field(pid, "status", "RssAnon:") for pid in pids))


def rss_by_name(child):
    """(name, KiB) of each process of the family."""
    found = []
    for pid in child.family():
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            found.append((file.read().strip(), proc_field(pid, "status", "VmRSS:")))
    return found


def wait_until(ready, seconds, what):
    """Polls `ready` until it holds."""
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise BenchError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.01)


def dead():
    """What to add to an error: a server that is gone explains it."""
    return "".join(f"; {c.name} has ended with {c.popen.returncode}: {tail(c.log, 2)}"
                   for c in children if not c.alive())


def stop_all():
    while children:
        children[-1].stop()


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def on_signal(number, _frame):
    for each in SIGNALS:  # a second one must not interrupt the stopping
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)  # raises SystemExit, so that atexit runs


def guard():
    atexit.register(stop_all)
    for number in SIGNALS:
        signal.signal(number, on_signal)
