-- What the holder of a lease says. ARGV: 4 extend, ack, retry, bury or release (nobody got it: the
-- delivery does not count), 5 id, 6 token, 7 length of the lease or of the delay in ms, 8 attempts,
-- 9 forgiven restarts, 10 and 11 the cause. Answers 1, or 0 if the lease is lost.
local verb, id, token = ARGV[4], ARGV[5], tonumber(ARGV[6])
local span, attempts_max, forgiven = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local code, text = ARGV[10], ARGV[11]

local state = load(id)
if not state or state.a ~= token or not redis.call('ZSCORE', leases, id) then
  return 0
end
find_group()
local pending = redis.call('XPENDING', stream, group, id, id, 1)
if not pending[1] then
  -- Somebody acknowledged it by hand.
  forget(id)
  return 0
end

if verb == 'extend' then
  -- For the owner it has, without counting a delivery: only the time since the last one starts over.
  redis.call('XCLAIM', stream, group, pending[1][2], 0, id, 'JUSTID')
  redis.call('ZADD', leases, now + span, id)
elseif verb == 'ack' then
  redis.call('XACK', stream, group, id)
  forget(id)
elseif verb == 'release' then
  state.a = state.a - 1
  save(id, state)
  redis.call('ZADD', leases, now, id)
elseif verb == 'bury' then
  bury(id, state, code, text)
else
  state.f = state.f or { code, text }
  state.l = { code, text }
  if is_exhausted(state, attempts_max, forgiven) then
    bury(id, state, code, text)
  else
    save(id, state)
    redis.call('ZREM', leases, id)
    redis.call('ZADD', later, now + span, id)
  end
end
return 1
