-- Takes one from the limit over all services, or gives it back. For a cluster, where this limit is on another node
-- than the service.
--
-- KEYS: the limit. ARGV: 'take', 'give' or 'ask'; now in milliseconds; the interval in milliseconds; the count.
-- Answers {'taken'}, {'given'}, {'free'}, or {'refused', milliseconds}.

local now, interval = tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('GET', KEYS[1])
if ARGV[1] == 'give' then
  local tat = (tonumber(kept) or 0) - interval
  if tat > now then keep(KEYS[1], tat, now) else redis.call('DEL', KEYS[1]) end
  return {'given'}
end
local tat, wait = gcra(kept, interval, tonumber(ARGV[4]), now)
if not tat then return {'refused', whole(wait)} end
if ARGV[1] == 'ask' then return {'free'} end
keep(KEYS[1], tat, now)
return {'taken'}
