-- What wrk sends to a registry: `-- MODE PATH FILE [FIRST]`.
--   same PATH FILE        POSTs the file's bytes to the path, always
--   new  PATH SUBJECTS FIRST   POSTs schemas that are new, from the given one on; each of so many
--                         subjects in turn, its record with one field more at each round
local mode, path, subjects, number, body
local headers = { ["Content-Type"] = "application/vnd.schemaregistry.v1+json" }

function init(arguments)
  mode, path = arguments[1], arguments[2]
  if mode == "same" then
    local file = assert(io.open(arguments[3], "rb"))
    body = file:read("*a")
    file:close()
  else
    subjects, number = tonumber(arguments[3]), tonumber(arguments[4])
  end
end

local function field(name)
  return string.format([[{\"name\":\"%s\",\"type\":[\"null\",\"string\"],\"default\":null}]], name)
end

local function schema(subject, round)
  local fields = {}
  for each = 1, 10 + round do fields[each] = field("field" .. each) end
  return string.format(
    [[{"schema":"{\"type\":\"record\",\"name\":\"R%d\",\"namespace\":\"bench\",\"fields\":[%s]}"}]],
    subject, table.concat(fields, ","))
end

function request()
  if mode == "same" then return wrk.format("POST", path, headers, body) end
  local subject, round = number % subjects, math.floor(number / subjects)
  number = number + 1
  local to = string.format("%s/subjects/bench%d-value/versions", path, subject)
  return wrk.format("POST", to, headers, schema(subject, round))
end
