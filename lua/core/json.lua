-- JSON as joined text. The rules never decode the values that they pass on (context, mediatypes, fromDetails,
-- transaction): cjson would turn [] into {}, and it costs time.
-- exports: json, quoted
-- include: core/context

json = {}

-- `quoted[text]` is a string as JSON. The same few ids are used often, so each is quoted once, and costs no call of a
-- function afterwards. The quoted strings of a call stay for the next calls, unless they are many.
local MOST, size = 16000, 0 -- bytes

local function quote(known, text)
  local result = cjson.encode(text)
  if #result > #text + 2 then
    result = string.gsub(result, '\\/', '/') -- no need to escape it
  end
  known[text], size = result, size + #result
  return result
end

each_call(function()
  if not quoted or size > MOST then
    quoted, size = setmetatable({}, { __index = quote }), 0
  end
end)

function json.quote(text)
  return quoted[text]
end

-- A string or null.
function json.text(text)
  if text and text ~= '' then
    return quoted[text]
  end
  return 'null'
end

-- JSON that is passed on, or null.
function json.opaque(raw)
  if raw and raw ~= '' then
    return raw
  end
  return 'null'
end

-- A list of strings. (cjson encodes an empty list as {}.)
function json.strings(list)
  local items = {}
  for i = 1, #list do
    items[i] = quoted[list[i]]
  end
  return '[' .. table.concat(items, ',') .. ']'
end

-- The text before the value of a member. A comma first: an object has few, and its quotes would all be looked at.
local openings = { device = ',"device":"', session = ',"session":"' }

-- The string that stands in a flat JSON object under a name, or nil. A worker has encoded the object, without spaces, and
-- the member is not its first. A quote inside a string has a backslash before it, so nothing else looks like the name.
-- (Decoding costs three times as much.)
function json.member(raw, name)
  local _, before = string.find(raw, openings[name], 1, true)
  if not before then
    return nil
  end
  local value = string.sub(raw, before + 1, string.find(raw, '"', before + 1, true) - 1)
  return string.find(value, '\\', 1, true) and cjson.decode(raw)[name] or value
end
