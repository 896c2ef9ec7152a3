-- Batches of signatures for wrk, as a partner sends them: items of 300 bytes, nine of ten of a new person.
-- Arguments: petition's slug, tag, host, API key, items a batch, when the partner confirmed the addresses.
-- `issued` and `people` count items.

dofile(os.getenv("BENCH_LUA") .. "/result.lua")

local COUNTRIES = {"FR", "GB", "DE", "BE", "IT", "PT", "KE", "JP"}
local ITEM_BYTES = 300
local REPEAT_EVERY = 10

local function item_of(country, place, padding)
  return string.format(
    '{"petition":"%s","given_name":"Ana","family_name":"Diaz","email":"b%s.%d.%s@example.org","country":"%s","locale":"fr",'
      .. '"consent":{"privacy":true,"updates":false,"public_name":false},"confirmed_at":"%s","source":"%s"}',
    petition, tag, id, place, country, confirmed_at, padding)
end

function init(args)
  petition, tag, confirmed_at = args[1], args[2], args[6]
  size = tonumber(args[5])
  issued, people = 0, 0
  local padding = string.rep("s", ITEM_BYTES - #item_of("FR", "000000000", ""))
  local length = #'{"items":[' + size * (ITEM_BYTES + 1) - 1 + #']}'
  head = "POST /v1/signatures/batch HTTP/1.1\r\nHost: " .. args[3] .. "\r\nAuthorization: Bearer " .. args[4]
    .. "\r\nContent-Type: application/json\r\nContent-Length: " .. length .. "\r\n\r\n"
  pattern = {}
  for place, country in ipairs(COUNTRIES) do
    pattern[place] = item_of(country, "%09d", padding)
  end
  items = {}
end

function request()
  for place = 1, size do
    local person = people
    if issued % REPEAT_EVERY == REPEAT_EVERY - 1 then
      person = (issued * 7919) % people
    else
      people = people + 1
    end
    issued = issued + 1
    items[place] = string.format(pattern[person % #COUNTRIES + 1], person)
  end
  return head .. '{"items":[' .. table.concat(items, ",") .. "]}"
end
