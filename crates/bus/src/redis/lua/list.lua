-- KEYS: as for put. ARGV: 1 prefix, 2 '1' if only keys greater than 3 are wanted, 4 how many.
-- Answers key, version and value of each.
local values, index = KEYS[1], KEYS[2]
local prefix, limit = ARGV[1], tonumber(ARGV[4])
local from = '[' .. prefix
if ARGV[2] == '1' and ARGV[3] >= prefix then
  from = '(' .. ARGV[3]
end
-- No key holds this byte, because keys are UTF-8.
local to = prefix == '' and '+' or '[' .. prefix .. '\255'
local found = {}
while #found < limit do
  local page = redis.call('ZRANGEBYLEX', index, from, to, 'LIMIT', 0, limit - #found)
  for _, key in ipairs(page) do
    local row = redis.call('HMGET', values .. key, 'v', 'd')
    if row[1] then
      found[#found + 1] = { key, tonumber(row[1]), row[2] }
    end
    from = '(' .. key
  end
  if #page == 0 then
    break
  end
end
return found
