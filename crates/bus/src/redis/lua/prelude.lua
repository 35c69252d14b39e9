-- In front of every script of a stream. One script is one step: nobody sees half of it, and the
-- append-only file holds all of it or nothing.
--
-- The consumer group holds what is unprocessed; scalers read it. What the group cannot hold is
-- kept beside it: until when an entry is leased or put back, how often it was really delivered
-- (the group's own count also grows when a list is only read) and why it was put back.
local stream, states, leases, later = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
-- dead holds the letters of all streams; graves lists this stream's in the order of burial, and
-- graves_by_id finds them by the entry's id.
local dead, graves, graves_by_id = KEYS[5], KEYS[6], KEYS[8]
local group, consumer, name = ARGV[1], ARGV[2], ARGV[3]

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function whole(number)
  return string.format('%.0f', number)
end

-- A flat list of names and values as a table.
local function fields_of(flat)
  local fields = {}
  for at = 1, #flat, 2 do
    fields[flat[at]] = flat[at + 1]
  end
  return fields
end

-- What the server knows of the group. Makes stream and group if somebody removed them; the group
-- starts at 0, because from the middle the server could not say how much there is.
local function find_group()
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if not groups.err then
    for _, flat in ipairs(groups) do
      local info = fields_of(flat)
      if info.name == group then
        return info
      end
    end
  end
  redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
  return { name = group, pending = 0, ['last-delivered-id'] = '0-0' }
end

-- Entries that were never handed out. The server does not always know; then they are counted. And
-- a replica of Redis 7.0 does not hear how much its master's groups have read: as master it says too
-- much, so what it says is held against what is there.
local function lag_of(info)
  local next_one = redis.call('XRANGE', stream, '(' .. info['last-delivered-id'], '+', 'COUNT', 1)
  if #next_one == 0 then
    return 0
  end
  if info.lag then
    return math.max(1, math.min(info.lag, redis.call('XLEN', stream) - info.pending))
  end
  local count, from = 0, '(' .. info['last-delivered-id']
  while true do
    local page = redis.call('XRANGE', stream, from, '+', 'COUNT', 256)
    if #page == 0 then
      return count
    end
    count = count + #page
    from = '(' .. page[#page][1]
  end
end

-- a: deliveries, r: those that a restart cut short, f and l: first and last cause.
local function load(id)
  local raw = redis.call('HGET', states, id)
  return raw and cjson.decode(raw)
end

local function save(id, state)
  redis.call('HSET', states, id, cjson.encode(state))
end

local function forget(id)
  redis.call('HDEL', states, id)
  redis.call('ZREM', leases, id)
  redis.call('ZREM', later, id)
end

local function is_exhausted(state, attempts_max, forgiven)
  return state.a - math.min(state.r, forgiven) >= attempts_max
end

-- Moves an entry to the dead letters.
local function bury(id, state, code, text)
  local found = redis.call('XRANGE', stream, id, id)
  local entry = found[1] and fields_of(found[1][2]) or {}
  local letter = {
    'stream', name, 'id', id, 'key', entry.key or id, 'payload', entry.payload or '',
    'attempts', whole(state.a), 'buried_at', whole(now), 'last_code', code, 'last_text', text,
  }
  if state.f then
    letter[#letter + 1] = 'first_code'
    letter[#letter + 1] = state.f[1]
    letter[#letter + 1] = 'first_text'
    letter[#letter + 1] = state.f[2]
  end
  local grave = redis.call('XADD', dead, '*', unpack(letter))
  redis.call('RPUSH', graves, grave)
  redis.call('HSET', graves_by_id, id, grave)
  redis.call('XACK', stream, group, id)
  forget(id)
end
