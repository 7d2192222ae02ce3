-- Takes names out of a sorted set whose record is gone.
-- KEYS: the sorted set, then a record for each member. ARGV: the members.
for i = 1, #ARGV do
  if redis.call('EXISTS', KEYS[i + 1]) == 0 then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return #ARGV
