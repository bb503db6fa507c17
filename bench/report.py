# SPDX-License-Identifier: Apache-2.0
"""Rows, and their Markdown."""
import statistics
from dataclasses import dataclass


@dataclass
class Row:
    what: str
    goal: str
    figure: str
    ratio: str
    met: object        # True, False; None: for information, or not measured
    how: str


class Report:
    def __init__(self):
        self.rows = []
        self.details = []    # (contest, contender, its medians ...), see contest()
        self.failed = []     # (row, why)

    def add(self, what, goal, figure, ratio, met, how):
        self.rows.append(Row(what, goal, figure, ratio, met, how))

    def not_measured(self, what, why):
        self.failed.append((what, why))
        self.add(what, "", "not measured", "", None, " ".join(str(why).split())[:200])

    def contest(self, title, contest):
        for name in contest.results:
            cells = [contest.median(name, field)
                     for field in ("rate", "cpu_us", "p50_ms", "p99_ms", "disk_kb", "helpers")]
            self.details.append((title, name, contest.rounds, *cells))

    def table(self):
        """The rows; how each was measured stands below, numbered, each text once."""
        head = ("what", "goal", "figure", "ratio", "met", "how")
        met = {True: "yes", False: "**no**", None: "-"}
        hows = list(dict.fromkeys(row.how for row in self.rows))
        table = markdown(head, [(r.what, r.goal or "-", r.figure, r.ratio or "-", met[r.met],
                                 str(hows.index(r.how) + 1)) for r in self.rows])
        return table + "\n\n" + "\n".join(f"{i}. {how}" for i, how in enumerate(hows, 1))

    def detail_table(self):
        head = ("load", "server", "rounds", "requests/s", "CPU us a request", "p50 ms", "p99 ms",
                "KiB to files a request", "busiest of wrk and engine, cores")
        formats = ("{:,.0f}", "{:,.0f}", "{:.1f}", "{:.1f}", "{:,.1f}", "{:.2f}")
        rows = [(d[0], d[1], str(d[2]),
                 *("?" if v is None else f.format(v) for f, v in zip(formats, d[3:])))
                for d in self.details]
        return markdown(head, rows)


def plural(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def spread(values):
    """'0.81 (0.78 to 0.85)': the median, and the ends."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def markdown(head, rows):
    cells = [tuple(cell.replace("|", "\\|") for cell in row) for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)
