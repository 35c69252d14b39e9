-- ARGV: 4 how many, 5 lease in ms, 6 attempts, 7 forgiven restarts, 8 and 9 code and start of the
-- text for entries that nobody ever answered for. Answers the deliveries (id, attempt, key,
-- payload) and in how many ms the next entry becomes ready, -1 if none is held back.
local max, lease = tonumber(ARGV[4]), tonumber(ARGV[5])
local attempts_max, forgiven = tonumber(ARGV[6]), tonumber(ARGV[7])
local info = find_group()

local due = {}
for _, set in ipairs({ leases, later }) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, max + 64)) do
    local ms, seq = id:match('^(%d+)-(%d+)$')
    due[#due + 1] = { id = id, ms = tonumber(ms), seq = tonumber(seq) }
  end
end
table.sort(due, function(a, b)
  return a.ms < b.ms or (a.ms == b.ms and a.seq < b.seq)
end)

local deliveries = {}
local function hand_out(id, fields, state)
  local entry = fields_of(fields)
  state.a = state.a + 1
  save(id, state)
  redis.call('ZREM', later, id)
  redis.call('ZADD', leases, now + lease, id)
  deliveries[#deliveries + 1] = { id, state.a, entry.key or id, entry.payload or '' }
end

for _, item in ipairs(due) do
  if #deliveries == max then
    break
  end
  local id = item.id
  local state = load(id) or { a = 0, r = 0 }
  if is_exhausted(state, attempts_max, forgiven) then
    local cause = state.l or { ARGV[8], (ARGV[9]:gsub('{}', whole(state.a))) }
    bury(id, state, cause[1], cause[2])
  else
    local taken = redis.call('XCLAIM', stream, group, consumer, 0, id)
    if taken[1] and taken[1][2] then
      hand_out(id, taken[1][2], state)
    else
      -- Somebody acknowledged or removed it by hand.
      forget(id)
    end
  end
end

if #deliveries < max then
  local count = max - #deliveries
  local read = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', stream, '>')
  for _, item in ipairs(read and read[1][2] or {}) do
    hand_out(item[1], item[2], { a = 0, r = 0 })
  end
  if not read and info.lag ~= 0 then
    -- There is nothing to read and the server counts something, as after a failover. Scalers read
    -- that number as well, so it is put right.
    local added = fields_of(redis.call('XINFO', 'STREAM', stream))['entries-added']
    redis.call('XGROUP', 'SETID', stream, group, info['last-delivered-id'], 'ENTRIESREAD', whole(added))
  end
end

local next_in = -1
for _, set in ipairs({ leases, later }) do
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if first[2] then
    local left = math.max(0, tonumber(first[2]) - now)
    if next_in < 0 or left < next_in then
      next_in = left
    end
  end
end
return { deliveries, next_in }
