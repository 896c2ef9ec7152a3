-- Boards that stay open: each connection asks once for the live stream and reads what comes. Argument: host.

dofile(os.getenv("BENCH_LUA") .. "/result.lua")

function init(args)
  issued, people = 0, 0
  wrk.headers["Host"] = args[1]
  wrk.headers["Accept"] = "text/event-stream"
  ask = wrk.format("GET")
end

function request()
  issued = issued + 1
  return ask
end
