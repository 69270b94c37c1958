-- Rules on a client that would wake a service, and charges what it costs. Bans and lists are the caller's.
--
-- KEYS: wake, wanted, triggerers, day, then one for each limit. ARGV: 'admit', or 'ask' to charge nothing; now in
-- milliseconds; the trigger as JSON; who it is, for the list of triggerers; the budget of the day or nothing; the
-- name of this call; then for each limit its name, its interval in milliseconds and its count.
-- Answers {'wake', number}, {'joined', number} or {'refused', name, milliseconds}; to 'ask', {'free'} for a wake.
--
-- A call that arrives twice, because a cluster's client sent it again, is the wake that it was at first.

local DAY = 86400000
local WANTED_KEPT = DAY
local TRIGGERERS_KEPT = DAY
local TRIGGERERS_MAX = 1000

local now = tonumber(ARGV[2])
local last, by = unpack(redis.call('HMGET', KEYS[1], 'last', 'by'))
last = tonumber(last) or 0
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {by == ARGV[6] and 'wake' or 'joined', whole(last)}
end

local marks, refused, longest = {}, nil, 0
local function refuse(name, wait)
  -- Of two that last as long, the first is told.
  if wait > longest then refused, longest = name, wait end
end
for number = 5, #KEYS do
  local at = 7 + (number - 5) * 3
  local kept = redis.call('GET', KEYS[number])
  local tat, wait = gcra(kept, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), now)
  if tat then marks[KEYS[number]] = tat else refuse(ARGV[at], wait) end
end
local today, budget, spent = math.floor(now / DAY), tonumber(ARGV[5]), 0
if budget then
  local day, count = string.match(redis.call('GET', KEYS[4]) or '', '^(%d+):(%d+)$')
  if tonumber(day) == today then spent = tonumber(count) end
  if spent >= budget then refuse('per_day', (today + 1) * DAY - now) end
end
if refused then return {'refused', refused, whole(longest)} end
if ARGV[1] == 'ask' then return {'free'} end

-- The list first: a key of another type fails up to here, before anything is written.
redis.call('ZADD', KEYS[3], whole(now), ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', whole(now - TRIGGERERS_KEPT))
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - TRIGGERERS_MAX)
redis.call('PEXPIRE', KEYS[3], TRIGGERERS_KEPT)
for key, tat in pairs(marks) do keep(key, tat, now) end
if budget then
  local left = (today + 1) * DAY - now + CLOCKS_DIFFER
  redis.call('SET', KEYS[4], whole(today) .. ':' .. whole(spent + 1), 'PX', whole(left))
end
redis.call('HSET', KEYS[1], 'last', whole(last + 1), 'by', ARGV[6])
redis.call('SET', KEYS[2], ARGV[3], 'PX', WANTED_KEPT)
-- Whoever leads the service hears of it at once; it reads it with its next beat as well.
redis.call('PUBLISH', string.gsub(KEYS[1], 'wake$', 'news'), 'wanted ' .. whole(last + 1) .. ' ' .. ARGV[3])
return {'wake', whole(last + 1)}
