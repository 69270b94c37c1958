-- Charges a wake that was let in while the limits could not be asked, whether or not there is room for it, and lists who
-- it was.
--
-- KEYS: late, triggerers, addresses, day, then one for each limit. ARGV: who let it in, and which of its wakes that is;
-- when, and now, in milliseconds; 1 when the day has a budget, or nothing; the entry for the list as JSON, or nothing;
-- its id; the address or nothing; how long addresses are kept from now, then all else, in milliseconds; then for each
-- limit its interval in milliseconds and its count.
-- Answers {'charged'}, also when it was charged before.
--
-- The first key remembers the highest number of each who let some in, so a call that comes twice charges once.

local DAY = 86400000
local TRIGGERERS_MAX = 1000
local ADDRESSES_MAX = 2000

local at, now = tonumber(ARGV[3]), tonumber(ARGV[4])
local last = tonumber(redis.call('HGET', KEYS[1], ARGV[1])) or 0
if tonumber(ARGV[2]) <= last then return {'charged'} end

-- What may be a key of another type comes first: it fails before anything is written.
local marks = {}
for number = 5, #KEYS do
  local place = 11 + (number - 5) * 2
  local interval, count = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
  local most = now + 2 * interval * count
  local from = tonumber(redis.call('GET', KEYS[number])) or at
  if from <= now then from = at else from = math.max(from, at) end
  if from > most then from = now + interval * (count - 1) end
  local tat = math.min(from + interval, most)
  if tat > now then marks[KEYS[number]] = tat end
end
local today, spent = math.floor(at / DAY), nil
if ARGV[5] == '1' then
  local day, count = string.match(redis.call('GET', KEYS[4]) or '', '^(%d+):(%d+)$')
  day = tonumber(day) or 0
  if day < today then spent = 1 elseif day == today then spent = tonumber(count) + 1 end
end

if ARGV[6] ~= '' and at > now - ARGV[10] then
  local addresses, left = redis.call('HLEN', KEYS[3]), tonumber(ARGV[9])
  redis.call('ZADD', KEYS[2], whole(at), string.sub(ARGV[6], 1, -2) .. ',"outcome":"woke","wake":0}')
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now - ARGV[10]))
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - TRIGGERERS_MAX)
  redis.call('PEXPIRE', KEYS[2], ARGV[10])
  if ARGV[8] ~= '' and left > 0 and addresses < ADDRESSES_MAX then
    redis.call('HSET', KEYS[3], ARGV[7], ARGV[8])
    redis.call('PEXPIRE', KEYS[3], ARGV[9])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], DAY)
for key, tat in pairs(marks) do keep(key, tat, now) end
local left = (today + 1) * DAY - now + CLOCKS_DIFFER
if spent and left > 0 then
  redis.call('SET', KEYS[4], whole(today) .. ':' .. whole(spent), 'PX', whole(left))
end
return {'charged'}
