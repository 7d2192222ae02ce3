-- Writes a batch of items, each compared with the record that is there.
-- KEYS: the record of each item, then the sorted sets of names that they are in.
-- ARGV: after how many milliseconds records expire (0: never); then each item: two letters and a value.
-- The first letter is what to do:
--   c: a cursor; the value is a record.        a: activity; the value is a time.
--   r: a removal; the value is an epoch and a sequence.        x: an expiry; the value is a time.
-- The second is how the record expires:
--   t: after that time.        k: never.        b: after that time, which it may be given later, by the caller.
-- Returns for each item 1 (written), 0 (nothing was changed) or the text of an error.
--
-- The server counts each command of a script. So the records of all items are read at once, and what becomes of them is
-- reckoned here, item by item; then those that may lack their expiry are written at once, which no command can do with
-- one. One or two cursors alone are exchanged for what was there, and put back where they were not newer: nobody sees
-- anything in between, and nothing need be read first.
-- Numbers are compared in two halves of 32 bits, since Lua's numbers have 53.
local FEW = 2
local expiry, count = ARGV[1], #ARGV - 1

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

-- A damaged record is as good as none.
local function sound(bytes) return bytes and #bytes >= 25 and string.byte(bytes, 1) == 1 and bytes end

local function parts(item) return string.sub(item, 1, 1), string.sub(item, 2, 2), string.sub(item, 3) end

local function set(key, bytes, mode, ...)
  if mode == 'k' or expiry == '0' then return run('SET', key, bytes, ...) end
  return run('SET', key, bytes, 'PX', expiry, ...)
end

-- The sorted set that a record's name is in, and its name there.
local function place(key)
  local tag, member = string.match(key, '^([^{]*{%x%x}:)(.*)$')
  return tag .. 'names', member
end

-- What is left of a record and an item: a result, and the record then. False: it goes. Nothing: it stays as it is.
local function reckon(old, what, value)
  if what == 'c' then
    if not old then return 1, value end
    if order(value, 2, old, 2) <= 0 then return 0 end
    if compare(old, 18, value, 18) <= 0 then return 1, value end
    return 1, string.sub(value, 1, 17) .. string.sub(old, 18, 25) .. string.sub(value, 26)
  elseif what == 'a' then
    if not old or compare(value, 1, old, 18) <= 0 then return 0 end
    return 1, string.sub(old, 1, 17) .. value .. string.sub(old, 26)
  elseif what == 'r' then
    if old and order(old, 2, value, 1) > 0 then return 0 end
    return 1, false
  elseif what == 'x' then
    if not old or compare(old, 18, value, 1) >= 0 then return 0 end
    return 1, false
  end
  return 'ERR no such item'
end

-- Exchanges a cursor for what is there. Nothing: this server is too old for that.
local function exchange(key, mode, value)
  local found = set(key, value, mode, 'GET')
  local why = fault(found)
  if why then
    if string.find(why, 'syntax error', 1, true) then return nil end
    return why
  end
  local old = sound(found)
  if not old then
    local index, member = place(key)
    why = fault(run('ZADD', index, 0, member))
    if why then run('DEL', key) end
    return why or 1
  end
  local result, new = reckon(old, 'c', value)
  if new ~= value then set(key, new or old, mode) end
  return result
end

local function exchange_all()
  local results = {}
  for i = 1, count do
    local what, mode, value = parts(ARGV[i + 1])
    if what ~= 'c' then return nil end
    results[i] = { mode, value }
  end
  for i = 1, count do
    results[i] = exchange(KEYS[i], results[i][1], results[i][2])
    if not results[i] then return nil end
  end
  return results
end

local results = count <= FEW and exchange_all()
if results then return results end
results = {}

-- What was there, what shall be there, and how it expires, by key; the keys that change, in order.
local records, found, now, modes, changed = {}, {}, {}, {}, {}
for i = 1, count do records[i] = KEYS[i] end
local stored = run('MGET', unpack(records))
if fault(stored) then return stored end
for i, key in ipairs(records) do
  local what, mode, value = parts(ARGV[i + 1])
  if found[key] == nil then found[key], now[key] = stored[i], sound(stored[i]) or false end
  local result, new = reckon(now[key], what, value)
  if new ~= nil then
    if not modes[key] then changed[#changed + 1] = key end
    now[key], modes[key] = new, mode
  end
  results[i] = result
end

-- Errors by key. Commands that take several names, by their sorted set.
local failed = {}
local function gather(lists, key)
  local index, member = place(key)
  local list = lists[index] or { keys = {}, members = {} }
  lists[index] = list
  list.keys[#list.keys + 1], list.members[#list.members + 1] = key, member
end

local added, removed, apart, pairs_of, together, gone = {}, {}, {}, {}, {}, {}
for _, key in ipairs(changed) do
  local bytes = now[key]
  if not bytes then
    if found[key] then
      gone[#gone + 1] = key
    else
      -- What is no string is not seen by MGET, and is none of ours.
      local kind = run('TYPE', key)
      if kind.err or kind.ok ~= 'none' then failed[key] = kind.err or 'WRONGTYPE the key holds something else than a record' end
    end
    if not failed[key] then gather(removed, key) end
  elseif not sound(found[key]) then
    gather(added, key)
    apart[#apart + 1] = key
  elseif modes[key] == 't' and expiry ~= '0' then
    apart[#apart + 1] = key
  else
    together[#together + 1] = key
    pairs_of[#pairs_of + 1], pairs_of[#pairs_of + 2] = key, bytes
  end
end

local function fail(keys, why)
  for _, key in ipairs(keys) do failed[key] = why end
end

if #gone > 0 then
  local why = fault(run('DEL', unpack(gone)))
  if why then fail(gone, why) end
end
for index, list in pairs(removed) do
  local why = fault(run('ZREM', index, unpack(list.members)))
  if why then fail(list.keys, why) end
end
for index, list in pairs(added) do
  local scored = {}
  for _, member in ipairs(list.members) do
    scored[#scored + 1], scored[#scored + 2] = 0, member
  end
  local why = fault(run('ZADD', index, unpack(scored)))
  if why then fail(list.keys, why) end
end
if #together > 0 then
  local why = fault(run('MSET', unpack(pairs_of)))
  if why then fail(together, why) end
end
for _, key in ipairs(apart) do
  if not failed[key] then
    local is_new = not found[key]
    local done
    if is_new then done = set(key, now[key], modes[key], 'NX') else done = set(key, now[key], modes[key]) end
    failed[key] = fault(done)
    if not done then
      failed[key] = 'WRONGTYPE the key holds something else than a record'
      local index, member = place(key)
      run('ZREM', index, member)
    end
  end
end
for i, key in ipairs(records) do
  if results[i] == 1 then results[i] = failed[key] or 1 end
end
return results
