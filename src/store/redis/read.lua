-- Reads a log: its state, and its newest blocks, the newest first.
-- KEYS: the log, its state. ARGV: the most bytes of events, of all blocks but the newest.
-- Returns fence, owner, milliseconds of its lease that are left, end, what the owner needs; then blocks. Nothing: there
-- is no such log.
local had = redis.call('HMGET', KEYS[2], 'f', 'o', 'u', 'x', 'm')
if not had[1] then return false end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local left = string.format('%.0f', math.max(0, tonumber(had[3] or '0') - now))
local found = { had[1], had[2] or '', left, had[4] or '', had[5] or '' }
local from, room, COUNT = '+', tonumber(ARGV[1]), 16
while true do
  local entries = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', COUNT)
  for _, entry in ipairs(entries) do
    local name, data = entry[2][1], entry[2][2]
    if name == 'd' and #data >= 22 then
      local bytes = #data - 22 - 4 * struct.unpack('<I4', data, 19)
      if bytes > room and #found > 5 then return found end
      room = room - bytes
      found[#found + 1] = data
    end
  end
  if #entries < COUNT then return found end
  local fence, number = string.match(entries[COUNT][1], '^(%d+)-(%d+)$')
  from = fence .. '-' .. string.format('%.0f', number - 1)
end
