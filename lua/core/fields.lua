-- The fields of a flat list as XINFO returns it: name, value, name, value, …

local function field(flat, name)
  for i = 1, #flat, 2 do
    if flat[i] == name then
      return flat[i + 1]
    end
  end
end
