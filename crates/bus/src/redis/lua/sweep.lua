-- ARGV: 4 lease in ms, 5 rows, 6 idle time in ms after which a consumer is forgotten. Trims what is
-- acknowledged, adopts what was handed out without a lease, forgets consumers without work.
-- Answers how many entries were trimmed and adopted.
local lease, rows, idle_max = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local info = find_group()

-- Everything below the oldest unacknowledged entry is done. Never by length: that would cut what
-- is unprocessed.
local pending = redis.call('XPENDING', stream, group)
local floor = pending[2]
if not floor then
  local ms, seq = info['last-delivered-id']:match('^(%d+)-(%d+)$')
  floor = ms .. '-' .. whole(tonumber(seq) + 1)
end
local trimmed = redis.call('XTRIM', stream, 'MINID', '=', floor)

-- Whoever read from the group without us, or before our own records were lost, left entries that
-- no lease would ever bring back.
local adopted = 0
if pending[1] > redis.call('ZCARD', leases) + redis.call('ZCARD', later) then
  local from = '-'
  while adopted < rows do
    local page = redis.call('XPENDING', stream, group, 'IDLE', lease, from, '+', 256)
    for _, row in ipairs(page) do
      local id = row[1]
      if not redis.call('ZSCORE', leases, id) and not redis.call('ZSCORE', later, id) then
        if not load(id) then
          save(id, { a = 1, r = 0 })
        end
        redis.call('ZADD', leases, now, id)
        adopted = adopted + 1
      end
      from = '(' .. id
    end
    if #page < 256 then
      break
    end
  end
end

-- Removing a consumer drops what it still holds, so only those that hold nothing.
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local who = fields_of(flat)
  if who.name ~= consumer and who.pending == 0 and who.idle > idle_max then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, who.name)
  end
end
return { trimmed, adopted }
