-- Writes the record and appends to the ledger, if the epoch is still the caller's.
--
-- In the same step it ends a wake that an owner has heard of, once the service is at rest.
--
-- KEYS: state, ledger, wake, wanted. ARGV: the epoch, the owner's token, the number of this save, the record as
-- JSON, the highest number of a wake that the owner has heard of, whether the service is at rest (1 or 0), the
-- most entries that the ledger keeps, and for how long, in milliseconds; then the new entries as JSON, oldest first.
-- Answers {'saved'}; {'overtaken'} when a later save of the same owner was here first; {'stale', epoch} when the
-- service has another owner or none; {'corrupt'} when the state is not one. Nothing is written but by the first.
--
-- The token guards against epochs that come twice: after the server was wiped, or forgot the last of them in a
-- failover. The number guards against a save that was given up and arrives after the next one.

local kept = redis.call('GET', KEYS[1])
if not kept then return {'stale', '0'} end
local epoch, by, save = string.match(kept, '^{"epoch":(%d+),"by":"(%x*)","save":(%d+),"record":')
if not epoch then return {'corrupt'} end
if epoch ~= ARGV[1] or by ~= ARGV[2] then return {'stale', epoch} end
if ARGV[3] == save then return {'saved'} end
if tonumber(ARGV[3]) < tonumber(save) then return {'overtaken'} end

local last, told = unpack(redis.call('HMGET', KEYS[3], 'last', 'heard'))

-- The ledger first: a key of another type fails up to here, before anything is written.
for number = 9, #ARGV do
  redis.call('XADD', KEYS[2], '*', 'entry', ARGV[number])
end
redis.call('XTRIM', KEYS[2], 'MAXLEN', ARGV[7])
local time = redis.call('TIME')
redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f', math.max(time[1] * 1000 - ARGV[8], 0)))
if #ARGV > 8 then redis.call('PEXPIRE', KEYS[2], ARGV[8]) end
redis.call('SET', KEYS[1],
  '{"epoch":' .. epoch .. ',"by":"' .. by .. '","save":' .. ARGV[3] .. ',"record":' .. ARGV[4] .. '}')
if last then
  local heard = math.max(tonumber(ARGV[5]), tonumber(told) or 0)
  redis.call('HSET', KEYS[3], 'heard', string.format('%.0f', heard))
  if ARGV[6] == '1' and tonumber(last) <= heard then redis.call('DEL', KEYS[4]) end
end
return {'saved'}
