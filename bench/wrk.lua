-- SPDX-License-Identifier: Apache-2.0
-- For wrk: POSTs BENCH_BODY, or GETs when there is none, with BENCH_KEY when there is one; one line of JSON at the end.
local body, key = os.getenv("BENCH_BODY"), os.getenv("BENCH_KEY")
if body then
    wrk.method = "POST"
    wrk.body = body
    wrk.headers["Content-Type"] = "application/json"
end
if key then
    wrk.headers["Authorization"] = "Bearer " .. key
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        'RESULT {"requests": %d, "seconds": %.6f, "bytes": %d, "p50_us": %d, "p99_us": %d, ' ..
        '"status": %d, "socket": %d}\n',
        summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50),
        latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout))
end
