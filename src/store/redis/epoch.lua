-- Hands out an epoch: the time in microseconds, or one more than the last, whichever is greater. As text, since it may
-- have more digits than Lua's numbers.
-- KEYS: the last epoch.
if redis.replicate_commands then redis.replicate_commands() end
local now = run('TIME')
if fault(now) then return now end
local floor = string.format('%.0f', now[1] * 1000000 + now[2])
local done = run('INCR', KEYS[1])
if fault(done) then return done end
local last = run('GET', KEYS[1])
if fault(last) then return last end
if #last < #floor or #last == #floor and last < floor then
  done = run('SET', KEYS[1], floor)
  return fault(done) and done or floor
end
return last
