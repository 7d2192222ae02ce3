-- Notes that logs are followed, and tells how they stand.
-- KEYS: the state of each log. ARGV: for how many milliseconds they count as followed.
-- Returns for each: fence, milliseconds of the lease that are left, the number behind the last event, whether it has
-- ended. Nothing: there is no such log.
if redis.replicate_commands then redis.replicate_commands() end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local till, found = string.format('%.0f', now + ARGV[1]), {}
for i, state in ipairs(KEYS) do
  local had = redis.call('HMGET', state, 'f', 'o', 'u', 'n', 'x')
  if had[1] then
    redis.call('HSET', state, 'w', till)
    local left = 0
    if had[2] and had[2] ~= '' then left = math.max(0, tonumber(had[3] or '0') - now) end
    found[i] = { had[1], string.format('%.0f', left), had[4] or '0', had[5] and 1 or 0 }
  else
    found[i] = 0
  end
end
return found
