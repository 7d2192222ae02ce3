-- Writes a batch of items to logs, each compared with who owns the log.
-- KEYS, two for each item: the log, a stream of blocks; and its state, a hash:
--   f: the fence    o: the owner, or nothing    u: when its lease is over    n: the number behind the last event
--   e, b: events and their bytes    t: when the oldest block was made    x: how the log has ended    m: what the owner
--   needs to go on    k: after how many milliseconds all of it expires    w: until when somebody follows
-- ARGV, 14 for each item: what to do, owner (nothing: no claim), fence seen (nothing: the owner's already), lease, first
-- number (of an end: the one behind the last event), events, bytes, when it was made; the most events, bytes and age; expiry; what the owner needs, or the end; the
-- block.
--   a: append    h: hold    e: end    r: remove
-- An entry of the stream has the fence and twice its first number as its id; the end has twice the next number less one.
-- Returns for each item 0 (fenced), 1 (written), 2 (written, and somebody follows) or the text of an error.
local WIDTH = 14
if redis.replicate_commands then redis.replicate_commands() end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function text(number) return string.format('%.0f', number) end

-- The first number, events, bytes and time of an entry's block. Nothing: it is the end.
local function block(entry)
  local fields = entry[2]
  if fields[1] ~= 'd' or #fields[2] < 22 then return nil end
  local first, above, at, later, events = struct.unpack('<I4I4I4I4I4', fields[2], 3)
  local bytes = #fields[2] - 22 - 4 * events
  return { first = above * 4294967296 + first, at = later * 4294967296 + at, events = events, bytes = bytes }
end

local function drop(log, entry, totals)
  redis.call('XDEL', log, entry[1])
  local gone = block(entry)
  if gone then
    totals.events, totals.bytes = totals.events - gone.events, totals.bytes - gone.bytes
  end
end

-- Takes away the end, and whatever reaches up to this number.
local function cut(log, first, totals)
  while true do
    local entry = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
    local last = entry and block(entry)
    if not entry or last and last.first + last.events <= first then return end
    drop(log, entry, totals)
  end
end

-- Removes the oldest blocks until the log is within its bounds, and returns when the oldest that stays was made.
local function trim(log, id, at, oldest, totals)
  local events, bytes, age = tonumber(ARGV[at + 9]), tonumber(ARGV[at + 10]), tonumber(ARGV[at + 11])
  local made = tonumber(ARGV[at + 8])
  local function exceeds(when) return totals.events > events or totals.bytes > bytes or made - when > age end
  if not exceeds(oldest) then return oldest end
  while true do
    local entry = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    if not entry or entry[1] == id then return made end
    local first = block(entry)
    if first and not exceeds(first.at) then return first.at end
    drop(log, entry, totals)
  end
end

local function write(i)
  local at, log, state = (i - 1) * WIDTH, KEYS[2 * i - 1], KEYS[2 * i]
  local what, owner, seen, lease = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4])
  local had = redis.pcall('HMGET', state, 'f', 'o', 'u', 'n', 'e', 'b', 't', 'x', 'w', 'k')
  if had.err then return had.err end
  local fence, holder, ended, keep = had[1], had[2] or '', had[8], had[10]
  if not fence and what ~= 'a' then return 1 end
  local is_leased = holder ~= '' and tonumber(had[3] or '0') > now
  local claims, is_repeated = false, false
  if not fence then
    -- Blocks whose state is gone have no owner, and greater ids than those of a new one.
    redis.call('DEL', log)
    claims = owner ~= ''
  elseif owner == '' then
    if is_leased then return 0 end
  elseif what == 'a' and seen == fence then
    claims = true
  elseif holder == owner then
    is_repeated = true
  elseif what ~= 'r' or is_leased then
    return 0
  end
  local done = tonumber(had[9] or '0') > now and 2 or 1
  if what == 'r' then
    redis.call('DEL', log, state)
    return done
  end
  local till, next = text(now + lease), tonumber(had[4] or '0')
  if what == 'h' then
    if ended then return done end
    redis.call('HSET', state, 'o', lease > 0 and owner or '', 'u', till)
  elseif what == 'e' then
    local last = tonumber(ARGV[at + 5]) == next and ARGV[at + 13] or 'c'
    if not ended then
      local added = redis.pcall('XADD', log, fence .. '-' .. text(next * 2 - 1), 'x', last)
      if type(added) == 'table' and added.err then return added.err end
    end
    redis.call('HSET', state, 'x', last, 'u', '0')
  else
    local first, events = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
    if is_repeated and first < next then return done end
    local totals = { events = tonumber(had[5] or '0'), bytes = tonumber(had[6] or '0') }
    if claims then
      fence = text(math.max(tonumber(fence or '0'), tonumber(seen ~= '' and seen or '0')) + 1)
      cut(log, first, totals)
    elseif ended then
      cut(log, next, totals)
    end
    local id = (fence or '0') .. '-' .. text(first * 2)
    local added = redis.pcall('XADD', log, id, 'd', ARGV[at + 14])
    if type(added) == 'table' and added.err then return added.err end
    totals.events, totals.bytes = totals.events + events, totals.bytes + tonumber(ARGV[at + 7])
    local oldest = trim(log, id, at, tonumber(had[7] or ARGV[at + 8]), totals)
    if ended then redis.call('HDEL', state, 'x') end
    keep = ARGV[at + 12]
    redis.call('HSET', state, 'f', fence or '0', 'o', lease > 0 and owner or '', 'u', till, 'n', text(first + events),
      'e', text(totals.events), 'b', text(totals.bytes), 't', text(oldest), 'm', ARGV[at + 13], 'k', keep)
  end
  if keep then
    redis.call('PEXPIRE', log, keep)
    redis.call('PEXPIRE', state, keep)
  end
  return done
end

local results = {}
for i = 1, #ARGV / WIDTH do results[i] = write(i) end
return results
