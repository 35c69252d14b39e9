-- Ends the leases of this consumer: whoever held them died with the process that had its name
-- before. Answers how many there were.
find_group()
local freed, from = 0, '-'
while true do
  local page = redis.call('XPENDING', stream, group, from, '+', 256, consumer)
  for _, row in ipairs(page) do
    local id = row[1]
    local ends = redis.call('ZSCORE', leases, id)
    if ends and tonumber(ends) > now then
      local state = load(id) or { a = 0, r = 0 }
      state.r = state.r + 1
      save(id, state)
      redis.call('ZADD', leases, now, id)
      freed = freed + 1
    end
    from = '(' .. id
  end
  if #page < 256 then
    return freed
  end
end
