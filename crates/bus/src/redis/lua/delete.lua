-- KEYS: as for put. ARGV: 1 key, 2 expected version (or any, absent). Answers 'ok' and whether there
-- was something, or 'conflict' and what was found.
local values, index, ends = KEYS[1], KEYS[2], KEYS[3]
local key, expect = ARGV[1], ARGV[2]
local found = tonumber(redis.call('HGET', values .. key, 'v') or '0')
local met = expect == 'any' or (expect == 'absent' and found == 0) or tonumber(expect) == found
if not met or expect == '0' then
  return { 'conflict', found }
end
redis.call('DEL', values .. key)
redis.call('ZREM', index, key)
redis.call('ZREM', ends, key)
return { 'ok', found > 0 and 1 or 0 }
