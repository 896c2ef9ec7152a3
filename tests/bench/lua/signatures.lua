-- Signatures for wrk: every body is exactly 300 bytes; nine of ten are of a new person, the tenth of an earlier one.
-- Arguments: petition's slug, tag (its people are new), host.

dofile(os.getenv("BENCH_LUA") .. "/result.lua")

local COUNTRIES = {"FR", "GB", "DE", "BE", "IT", "PT", "KE", "JP"}
local BODY_BYTES = 300
local REPEAT_EVERY = 10

local function body_of(country, place, padding)
  return string.format(
    '{"petition":"%s","given_name":"Ana","family_name":"Diaz","email":"b%s.%d.%s@example.org","country":"%s","locale":"fr",'
      .. '"consent":{"privacy":true,"updates":false,"public_name":false},"comment":"","source":"%s"}',
    petition, tag, id, place, country, padding)
end

function init(args)
  petition, tag = args[1], args[2]
  issued, people = 0, 0
  local padding = string.rep("s", BODY_BYTES - #body_of("FR", "000000000", ""))
  local head = "POST /v1/signatures HTTP/1.1\r\nHost: " .. args[3]
    .. "\r\nContent-Type: application/json\r\nContent-Length: " .. BODY_BYTES .. "\r\n\r\n"
  pattern = {}
  for place, country in ipairs(COUNTRIES) do
    pattern[place] = head .. body_of(country, "%09d", padding)
  end
end

function request()
  local person = people
  if issued % REPEAT_EVERY == REPEAT_EVERY - 1 then
    person = (issued * 7919) % people
  else
    people = people + 1
  end
  issued = issued + 1
  return string.format(pattern[person % #COUNTRIES + 1], person)
end
