-- JSON of known shape joined as text. Objects that only pass through (context, mediatypes, fromDetails, transaction)
-- stay opaque: decoding and encoding them would turn [] into {}, and cost time.
-- include: core/context

local json = {}

-- An event names the same few ids again and again: each is quoted once in a call.
local quoted

each_call(function()
  quoted = {}
end)

-- An id, or another string without control characters, as JSON. Few need escapes.
function json.quote(text)
  local known = quoted[text]
  if not known then
    local special = string.find(text, '"', 1, true) or string.find(text, '\\', 1, true)
    known = special and cjson.encode(text) or '"' .. text .. '"'
    quoted[text] = known
  end
  return known
end

-- Any string as JSON.
function json.any(text)
  return string.find(text, '%c') and cjson.encode(text) or json.quote(text)
end

-- A string or null.
function json.text(text)
  if text and text ~= '' then
    return json.quote(text)
  end
  return 'null'
end

-- Opaque JSON, or null when there is none.
function json.opaque(raw)
  if raw and raw ~= '' then
    return raw
  end
  return 'null'
end

-- A list of strings. (cjson would print an empty one as {}.)
function json.strings(list)
  if #list == 1 then
    return '[' .. json.quote(list[1]) .. ']'
  end
  local items = {}
  for i = 1, #list do
    items[i] = json.quote(list[i])
  end
  return '[' .. table.concat(items, ',') .. ']'
end
