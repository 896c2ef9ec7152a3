-- The signatures of signatures.lua at a rate of its own, whether or not answers come: each request has a time at which it
-- is due, and goes out then or, where every connection still waits for an answer, late. Arguments: those of
-- signatures.lua, requests a second, requests owed from before.
-- `late_p99_ms` is how late all but one in a hundred went out, `owed` how many were due and had not gone out at the end.

dofile(os.getenv("BENCH_LUA") .. "/signatures.lua")

local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } bench_time; int clock_gettime(int clock, bench_time *now);")
local MONOTONIC = 1
local FINEST_MS = 0.1
local time = ffi.new("bench_time")
local plain_init, plain_request = init, request
local late, sent = {}, 0

local function seconds()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.s) + tonumber(time.ns) / 1e9
end

function init(args)
  plain_init(args)
  rate, before = tonumber(args[4]), tonumber(args[5])
  given = 0
  late_p99_ms, owed = 0, 0
end

-- When the request that goes out as the `number`-th is due; those owed from before were due at the same rate.
local function due(number)
  return begun + (number - before) / rate
end

function delay()
  begun = begun or seconds()
  local wait = due(given) - seconds()
  given = given + 1
  return math.max(0, math.floor(wait * 1000 + 0.5))
end

local function note(now)
  local bucket = math.max(0, math.floor((now - due(sent)) * 1000 / FINEST_MS))
  late[bucket] = (late[bucket] or 0) + 1
  sent = sent + 1
  owed = math.max(0, math.floor((now - begun) * rate) + before - sent)
end

-- Told anew a few times a second: wrk reads globals alone, and only when it has ended.
local function tell()
  local buckets = {}
  for bucket in pairs(late) do
    table.insert(buckets, bucket)
  end
  table.sort(buckets)
  local left = sent * 0.99
  for _, bucket in ipairs(buckets) do
    left = left - late[bucket]
    late_p99_ms = (bucket + 1) * FINEST_MS
    if left <= 0 then
      return
    end
  end
end

-- wrk asks for one request before the first is due, to look at it.
function request()
  if not begun then
    return plain_request()
  end
  local now = seconds()
  note(now)
  if now > (told or 0) + 0.2 then
    told = now
    tell()
  end
  return plain_request()
end
