-- ARGV: 4 capacity, 5 window in ms, then key and payload of each entry. KEYS: 7 start of the names
-- under which keys are remembered. Answers 'ok' and 1 (stored) or 0 (duplicate) for each entry, or
-- 'full' and what the stream holds.
local remembered = KEYS[7]
local capacity, window = tonumber(ARGV[4]), ARGV[5]
local info = find_group()
local fresh, count = {}, 0
for at = 6, #ARGV, 2 do
  local key = ARGV[at]
  if not fresh[key] and redis.call('EXISTS', remembered .. key) == 0 then
    fresh[key] = true
    count = count + 1
  end
end
if count > 0 then
  local held = info.pending + lag_of(info)
  if held + count > capacity then
    return { 'full', held }
  end
end
local answer = { 'ok' }
for at = 6, #ARGV, 2 do
  local key = ARGV[at]
  if fresh[key] then
    fresh[key] = nil
    -- First the entry: if memory is short, the script ends here and remembers nothing.
    redis.call('XADD', stream, '*', 'key', key, 'payload', ARGV[at + 1])
    redis.call('SET', remembered .. key, '1', 'PX', window)
    answer[#answer + 1] = 1
  else
    answer[#answer + 1] = 0
  end
end
return answer
