-- Rules on a client that would wake a service, and charges what it costs. Bans and lists are the caller's.
--
-- KEYS: wake, wanted, triggerers, refusals, addresses, day, then one for each limit. ARGV: 'admit', 'ask' to charge
-- nothing, or 'list' to list somebody who did not wake it and on whom nothing here ruled; now in milliseconds; the trigger as JSON; the
-- entry for the list as JSON; the budget of the day or nothing; the name of this call; the address or nothing; how
-- long addresses are kept from now, then all else, in milliseconds; what came of whom it is to list, as JSON, or nothing; then
-- for each limit its name, its interval in milliseconds and its count.
-- Answers {'wake', number}, {'joined', number} or {'refused', name, milliseconds}; to 'ask', {'free'} for a wake, and
-- whoever is refused is not listed; to 'list', {'listed'}.
--
-- A call that arrives twice, because a cluster's client sent it again, is the wake that it was at first.

local DAY = 86400000
local WANTED_KEPT = DAY
local TRIGGERERS_MAX = 1000
local JOINS_MAX = 16
-- In one hash. Refusals leave room for those who wake.
local ADDRESSES_MAX = 2000
local ADDRESSES_OF_REFUSED_MAX = 1000

local now = tonumber(ARGV[2])

-- Stands before every other write: a key of another type fails before anything is written.
local function list(key, addresses_max, outcome)
  local addresses = redis.call('HLEN', KEYS[5])
  redis.call('ZADD', key, whole(now), string.sub(ARGV[4], 1, -2) .. ',' .. string.sub(outcome, 2))
  redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(now - ARGV[9]))
  redis.call('ZREMRANGEBYRANK', key, 0, -1 - TRIGGERERS_MAX)
  redis.call('PEXPIRE', key, ARGV[9])
  if ARGV[7] ~= '' and addresses < addresses_max then
    redis.call('HSET', KEYS[5], ARGV[6], ARGV[7])
    redis.call('PEXPIRE', KEYS[5], ARGV[8])
  end
end
local function list_refusal(outcome)
  list(KEYS[4], ADDRESSES_OF_REFUSED_MAX, outcome)
end

if ARGV[1] == 'list' then
  list_refusal(ARGV[10])
  return {'listed'}
end

local last, by, joined = unpack(redis.call('HMGET', KEYS[1], 'last', 'by', 'joined'))
last, joined = tonumber(last) or 0, tonumber(joined) or 0
if redis.call('EXISTS', KEYS[2]) == 1 then
  if by == ARGV[6] then return {'wake', whole(last)} end
  if joined < JOINS_MAX then
    list(KEYS[3], ADDRESSES_MAX, '{"outcome":"joined","wake":' .. whole(last) .. '}')
    redis.call('HSET', KEYS[1], 'joined', whole(joined + 1))
  end
  return {'joined', whole(last)}
end

local marks, refused, longest = {}, nil, 0
local function refuse(name, wait)
  -- Of two that last as long, the first is told.
  if wait > longest then refused, longest = name, wait end
end
for number = 7, #KEYS do
  local at = 11 + (number - 7) * 3
  local kept = redis.call('GET', KEYS[number])
  local tat, wait = gcra(kept, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), now)
  if tat then marks[KEYS[number]] = tat else refuse(ARGV[at], wait) end
end
local today, budget, spent = math.floor(now / DAY), tonumber(ARGV[5]), 0
if budget then
  local day, count = string.match(redis.call('GET', KEYS[6]) or '', '^(%d+):(%d+)$')
  if tonumber(day) == today then spent = tonumber(count) end
  if spent >= budget then refuse('per_day', (today + 1) * DAY - now) end
end
if refused then
  -- One nonce can be sent again as often as anybody likes: that is not worth a write.
  if ARGV[1] == 'admit' and refused ~= 'spent' then
    list_refusal('{"outcome":"refused","rule":"' .. refused .. '"}')
  end
  return {'refused', refused, whole(longest)}
end
if ARGV[1] == 'ask' then return {'free'} end

list(KEYS[3], ADDRESSES_MAX, '{"outcome":"woke","wake":' .. whole(last + 1) .. '}')
for key, tat in pairs(marks) do keep(key, tat, now) end
if budget then
  local left = (today + 1) * DAY - now + CLOCKS_DIFFER
  redis.call('SET', KEYS[6], whole(today) .. ':' .. whole(spent + 1), 'PX', whole(left))
end
redis.call('HSET', KEYS[1], 'last', whole(last + 1), 'by', ARGV[6], 'joined', '0')
redis.call('SET', KEYS[2], ARGV[3], 'PX', WANTED_KEPT)
-- Whoever leads the service hears of it at once; it reads it with its next beat as well.
redis.call('PUBLISH', string.gsub(KEYS[1], 'wake$', 'news'), 'wanted ' .. whole(last + 1) .. ' ' .. ARGV[3])
return {'wake', whole(last + 1)}
