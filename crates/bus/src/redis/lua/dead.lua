-- ARGV: 4 how many, 5 id of the letter after which to begin. Answers the dead letters of this
-- stream, oldest first, as flat lists.
local from = 0
local after = redis.call('HGET', graves_by_id, ARGV[5])
if after then
  from = redis.call('LPOS', graves, after) + 1
end
local letters = {}
for _, grave in ipairs(redis.call('LRANGE', graves, from, from + tonumber(ARGV[4]) - 1)) do
  local found = redis.call('XRANGE', dead, grave, grave)
  if found[1] then
    letters[#letters + 1] = found[1][2]
  end
end
return letters
