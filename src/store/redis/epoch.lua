-- Hands out an epoch: the time in microseconds, or one more than the last, whichever is greater. As text, since it may
-- have more digits than Lua's numbers.
-- KEYS: the last epoch.
if redis.replicate_commands then redis.replicate_commands() end
local now = redis.call('TIME')
local floor = string.format('%.0f', now[1] * 1000000 + now[2])
redis.call('INCR', KEYS[1])
local last = redis.call('GET', KEYS[1])
if #last < #floor or #last == #floor and last < floor then
  redis.call('SET', KEYS[1], floor)
  return floor
end
return last
