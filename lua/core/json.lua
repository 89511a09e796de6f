-- JSON as joined text. The rules never decode the values that they pass on (context, mediatypes, fromDetails,
-- transaction): cjson would turn [] into {}, and it costs time.
-- exports: json
-- include: core/context

json = {}

-- A call uses the same few ids often, so each is quoted once.
local quoted

each_call(function()
  quoted = {}
end)

-- An id, or another string without control characters. Few need escapes.
function json.quote(text)
  local known = quoted[text]
  if not known then
    local special = string.find(text, '"', 1, true) or string.find(text, '\\', 1, true)
    known = special and cjson.encode(text) or '"' .. text .. '"'
    quoted[text] = known
  end
  return known
end

-- Any string.
function json.any(text)
  return quoted[text] or (string.find(text, '%c') and cjson.encode(text)) or json.quote(text)
end

-- A string or null.
function json.text(text)
  if text and text ~= '' then
    return json.quote(text)
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
  if #list == 1 then
    return '[' .. json.quote(list[1]) .. ']'
  end
  local items = {}
  for i = 1, #list do
    items[i] = json.quote(list[i])
  end
  return '[' .. table.concat(items, ',') .. ']'
end
