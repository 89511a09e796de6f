-- A ref names an invite: from|inviteId|to. Ids hold no "|".

local function inviter_of(ref)
  return string.match(ref, '^[^|]+')
end

-- The user, group or number that an invite is for.
local function callee_of(ref)
  return string.match(ref, '[^|]+$')
end

-- The ref of the same call with another callee: from the group's invite to a member's leg, and back.
local function with_callee(ref, callee)
  return string.match(ref, '^.+|') .. callee
end

local function is_for(ref, invite_id, callee)
  local ending = '|' .. invite_id .. '|' .. callee
  return string.sub(ref, -#ending) == ending
end

-- A pattern that matches the text alone.
local function glob(text)
  return (string.gsub(text, '[%*%?%[%]\\]', '\\%0'))
end
