-- ARGV: 4 redrive or discard, 5 id, 6 capacity. Takes a dead letter out. Answers 1, or 0 if there is
-- no such letter, or -1 and what the full stream holds.
local verb, id, capacity = ARGV[4], ARGV[5], tonumber(ARGV[6])
local grave = redis.call('HGET', graves_by_id, id)
if not grave then
  return { 0, 0 }
end
if verb == 'redrive' then
  local info = find_group()
  local held = info.pending + lag_of(info)
  if held >= capacity then
    return { -1, held }
  end
  local found = redis.call('XRANGE', dead, grave, grave)
  if found[1] then
    local letter = fields_of(found[1][2])
    -- First the entry: if memory is short, the script ends here and the letter stays.
    redis.call('XADD', stream, '*', 'key', letter.key, 'payload', letter.payload)
  end
end
redis.call('XDEL', dead, grave)
redis.call('LREM', graves, 1, grave)
redis.call('HDEL', graves_by_id, id)
return { 1, 0 }
