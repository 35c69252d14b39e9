-- KEYS: 1 start of the names of values, 2 index of keys, 3 values that end by time, 4 fencing tokens.
-- ARGV: six for each put: key, value, expected version (or any, absent), life in ms (or 0), name and
-- token of the fence (or empty). Answers 'ok' and the versions, or 'conflict' or 'stale', which put,
-- and what was found.
local values, index, ends, fences = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answer, versions = { 'ok' }, {}
for at = 1, #ARGV, 6 do
  local key, expect, name, token = ARGV[at], ARGV[at + 2], ARGV[at + 4], ARGV[at + 5]
  local which = (at - 1) / 6
  if name ~= '' then
    local newest = redis.call('HGET', fences, name) or '0'
    if newest ~= token then
      return { 'stale', which, tonumber(newest) }
    end
  end
  local found = versions[key] or tonumber(redis.call('HGET', values .. key, 'v') or '0')
  local met = expect == 'any' or (expect == 'absent' and found == 0) or tonumber(expect) == found
  if not met or expect == '0' then
    return { 'conflict', which, found }
  end
  versions[key] = found + 1
  answer[#answer + 1] = found + 1
end
for at = 1, #ARGV, 6 do
  local key, life = ARGV[at], tonumber(ARGV[at + 3])
  local version = string.format('%.0f', answer[(at - 1) / 6 + 2])
  redis.call('HSET', values .. key, 'v', version, 'd', ARGV[at + 1])
  redis.call('ZADD', index, 0, key)
  if life > 0 then
    redis.call('PEXPIRE', values .. key, life)
    redis.call('ZADD', ends, now + life, key)
  else
    redis.call('PERSIST', values .. key)
    redis.call('ZREM', ends, key)
  end
end
return answer
