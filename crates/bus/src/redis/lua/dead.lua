-- ARGV: 4 how many. Answers the dead letters of this stream, oldest first, as flat lists.
local letters = {}
for _, grave in ipairs(redis.call('LRANGE', graves, 0, tonumber(ARGV[4]) - 1)) do
  local found = redis.call('XRANGE', dead, grave, grave)
  if found[1] then
    letters[#letters + 1] = found[1][2]
  end
end
return letters
