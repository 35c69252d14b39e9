-- Answers waiting, claimed, dead, and the age of the oldest entry in ms (-1 if there is none).
local info = find_group()
local put_back = redis.call('ZCARD', later)
local oldest
local pending = redis.call('XPENDING', stream, group)
if pending[2] then
  oldest = tonumber(pending[2]:match('^%d+'))
end
local first = redis.call('XRANGE', stream, '(' .. info['last-delivered-id'], '+', 'COUNT', 1)
if first[1] then
  local ms = tonumber(first[1][1]:match('^%d+'))
  oldest = math.min(oldest or ms, ms)
end
return {
  lag_of(info) + put_back,
  math.max(0, info.pending - put_back),
  redis.call('LLEN', graves),
  oldest and math.max(0, now - oldest) or -1,
}
