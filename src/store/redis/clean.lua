-- Takes names out of a sorted set whose record is gone.
-- KEYS: the sorted set, then a record for each member. ARGV: the members.
for i = 1, #ARGV do
  local found = run('EXISTS', KEYS[i + 1])
  if found == 0 then found = run('ZREM', KEYS[1], ARGV[i]) end
  if fault(found) then return found end
end
return #ARGV
