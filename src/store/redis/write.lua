-- Writes a batch of items, each compared with the record that is there.
-- KEYS: the record of each item, then the sorted sets of names.
-- ARGV, five for each item: what to do, the place of its sorted set in KEYS, its member there, the value, and after how
-- many milliseconds the record expires (0: never).
--   c: a cursor; the value is a record.        a: activity; the value is a time.
--   r: a removal; the value is an epoch and a sequence.        x: an expiry; the value is a time.
-- Returns for each item 1 (written), 0 (nothing was changed) or the text of an error.
-- Numbers are compared in two halves of 32 bits, since Lua's numbers have 53.
local count = #ARGV / 5
local results, now = {}, {}

local function number(bytes, at)
  local low, high = struct.unpack('<I4I4', bytes, at)
  return high, low
end

local function compare(a, at, b, bt)
  local ah, al = number(a, at)
  local bh, bl = number(b, bt)
  if ah ~= bh then return ah < bh and -1 or 1 end
  if al ~= bl then return al < bl and -1 or 1 end
  return 0
end

-- Epoch, then sequence.
local function order(a, at, b, bt)
  local epochs = compare(a, at, b, bt)
  if epochs ~= 0 then return epochs end
  return compare(a, at + 8, b, bt + 8)
end

local function put(i, key, bytes, expiry)
  local done
  if expiry == '0' then
    done = redis.pcall('SET', key, bytes)
  else
    done = redis.pcall('SET', key, bytes, 'PX', expiry)
  end
  if type(done) == 'table' and done.err then return done.err end
  now[key] = bytes
  return 1
end

local function take(i, key, index, member)
  local done = redis.pcall('DEL', key)
  if type(done) == 'table' and done.err then return done.err end
  done = redis.pcall('ZREM', index, member)
  if type(done) == 'table' and done.err then return done.err end
  now[key] = false
  return 1
end

local function write(i, old)
  local at = (i - 1) * 5
  local what, index, member, value, expiry = ARGV[at + 1], KEYS[tonumber(ARGV[at + 2])], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local key = KEYS[i]
  if now[key] ~= nil then old = now[key] end
  if not old then
    -- What is no string is not seen by MGET, and is none of ours.
    local found = redis.pcall('TYPE', key)
    if found.err then return found.err end
    if found.ok ~= 'none' and found.ok ~= 'string' then return 'WRONGTYPE the key holds something else than a record' end
  elseif #old < 25 or string.byte(old, 1) ~= 1 then
    -- A damaged record is as good as none.
    old = nil
  end
  if what == 'c' then
    if not old then
      local done = redis.pcall('ZADD', index, 0, member)
      if type(done) == 'table' and done.err then return done.err end
      return put(i, key, value, expiry)
    end
    if order(value, 2, old, 2) <= 0 then return 0 end
    if compare(old, 18, value, 18) > 0 then
      value = string.sub(value, 1, 17) .. string.sub(old, 18, 25) .. string.sub(value, 26)
    end
    return put(i, key, value, expiry)
  elseif what == 'a' then
    if not old or compare(value, 1, old, 18) <= 0 then return 0 end
    return put(i, key, string.sub(old, 1, 17) .. value .. string.sub(old, 26), expiry)
  elseif what == 'r' then
    if old and order(old, 2, value, 1) > 0 then return 0 end
    return take(i, key, index, member)
  elseif what == 'x' then
    if not old or compare(old, 18, value, 1) >= 0 then return 0 end
    return take(i, key, index, member)
  end
  return 'ERR no such item'
end

local records = {}
for i = 1, count do records[i] = KEYS[i] end
local olds = redis.call('MGET', unpack(records))
for i = 1, count do results[i] = write(i, olds[i]) end
return results
