-- Fields of the flat lists that XINFO answers with: name, value, name, value, …

local function field(flat, name)
  for i = 1, #flat, 2 do
    if flat[i] == name then
      return flat[i + 1]
    end
  end
end
