-- What every script shares: threads are numbered by the global `id`, and their globals `issued` and `people` are summed
-- into one line that load.py reads, with the CPU that wrk used. wrk has one Lua state for each of its threads, and one of
-- its own for this. Scripts that keep to a schedule also say how late their requests went out, and how many are owed.

local threads = {}

function setup(thread)
  thread:set("id", #threads)
  table.insert(threads, thread)
end

function done(summary, latency, requests)
  local issued_all, people_all, late_ms, owed = 0, 0, 0, 0
  for _, thread in ipairs(threads) do
    issued_all = issued_all + thread:get("issued")
    people_all = people_all + thread:get("people")
    late_ms = math.max(late_ms, thread:get("late_p99_ms") or 0)
    owed = owed + (thread:get("owed") or 0)
  end
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%.6f,"refused":%d,"broken":%d,"timeouts":%d,'
      .. '"p50_ms":%.3f,"p99_ms":%.3f,"p999_ms":%.3f,"issued":%d,"people":%d,"late_p99_ms":%.3f,"owed":%d,'
      .. '"cpu_s":%.3f,"bytes":%d}\n',
    summary.requests, summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write,
    errors.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3,
    issued_all, people_all, late_ms, owed, os.clock(), summary.bytes))
end
