-- KEYS: as for put. ARGV: 1 rows. Takes values whose time is over out of the index; how many.
local values, index, ends = KEYS[1], KEYS[2], KEYS[3]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
local gone = 0
for _, key in ipairs(due) do
  if redis.call('EXISTS', values .. key) == 0 then
    redis.call('ZREM', index, key)
    redis.call('ZREM', ends, key)
    gone = gone + 1
  end
end
return gone
