-- ARGV: 4 capacity, 5 window in ms, then each caller's batch: how many entries, and key and payload
-- of each. KEYS: 7 start of the names under which keys are remembered. Answers for each batch a list
-- with 1 (stored) or 0 (duplicate) for each entry; or, where it does not fit, what the stream holds.
local remembered = KEYS[7]
local capacity, window = tonumber(ARGV[4]), ARGV[5]
local info = find_group()
local held = info.pending + lag_of(info)

-- How many of the entries from `first` to `last` are new.
local function count_fresh(first, last)
  local seen, count = {}, 0
  for at = first, last, 2 do
    local key = ARGV[at]
    if not seen[key] and redis.call('EXISTS', remembered .. key) == 0 then
      seen[key] = true
      count = count + 1
    end
  end
  return count
end

local answers = {}
local at, all = 6, #ARGV
while at <= all do
  local count = tonumber(ARGV[at])
  local first, last = at + 1, at + 2 * count
  at = last + 1
  if held + count > capacity then
    count = count_fresh(first, last)
  end
  if count > 0 and held + count > capacity then
    answers[#answers + 1] = held
  else
    local answer = {}
    for entry = first, last, 2 do
      local name = remembered .. ARGV[entry]
      if redis.call('SET', name, '1', 'NX', 'PX', window) then
        local added = redis.pcall('XADD', stream, '*', 'key', ARGV[entry], 'payload', ARGV[entry + 1])
        if type(added) == 'table' and added.err then
          -- What is not stored must not be remembered.
          redis.call('DEL', name)
          return added
        end
        held = held + 1
        answer[#answer + 1] = 1
      else
        answer[#answer + 1] = 0
      end
    end
    answers[#answers + 1] = answer
  end
end
return answers
