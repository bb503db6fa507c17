# SPDX-License-Identifier: Apache-2.0
"""What scripts/prove must not accept: one change in a copy of the sources for each, (name, file, function whose goals are
proved, text, instead). Of each file a wrong comparison, a missing update and a contract that promises less than its
callers need. A mutant that is proved, or whose text is not found, fails the gate."""
MUTANTS = [
    ("bucket", "compares", "src/core/bucket.c", "rd_bucket_take",
     "bool enough = tokens <= level / RD_BUCKET_NANO;", "bool enough = tokens <= level / RD_BUCKET_NANO + 1;"),
    ("bucket", "forgets", "src/core/bucket.c", "rd_bucket_take",
     "    bucket->updated_ns = now_ns > bucket->updated_ns ? now_ns : bucket->updated_ns;\n", ""),
    ("bucket", "promises-less", "src/core/bucket.h", "theorem_refused_gives_back",
     "      ensures bucket->level == \\old(bucket_at(bucket, rate, now_ns));\n", ""),
    ("breaker", "compares", "src/core/breaker.c", "probe",
     "breaker->probes >= RD_BREAKER_PROBES", "breaker->probes > RD_BREAKER_PROBES"),
    ("breaker", "forgets", "src/core/breaker.c", "enter",
     "    breaker->since_ns = breaker->now_ns;\n", ""),
    ("breaker", "promises-less", "src/core/breaker.h", "happens",
     "      ensures breaker->probes == \\old(breaker->probes) + 1;\n", ""),
    ("lanes", "compares", "src/core/lanes.c", "rd_lanes_push",
     "lanes->nodes[tail].seq == UINT64_MAX", "lanes->nodes[tail].seq == 0"),
    ("lanes", "forgets", "src/core/lanes.c", "leave",
     "    set_prev(lanes, list, next, prev);\n    lanes->lists[list].len--;", "    lanes->lists[list].len--;"),
    ("lanes", "promises-less", "src/core/lanes.c", "rd_lanes_remove",
     "    ensures lanes_gone{Pre, Post}(lanes, list, node);\n", ""),
]
