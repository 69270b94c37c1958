-- Takes ownership of a service: raises its epoch by one, takes the lease, and gives the record.
--
-- KEYS: state, lease. ARGV: the new owner's token, its name as JSON, the lease in milliseconds, 'free' to leave the
-- lease of another room alone, or one that is kept for another.
-- Answers {'claimed', epoch, record as JSON}; {'led'} when it was left alone; or {'corrupt'} when the state is not
-- one, and nothing is written.
--
-- The record is carried over as text: it holds numbers that Lua's would round.

local kept = redis.call('GET', KEYS[1])
local epoch, by, record = '0', '', 'null'
if kept then
  epoch, by, record = string.match(kept, '^{"epoch":(%d+),"by":"(%x*)","save":%d+,"record":(.*)}$')
  if not epoch then return {'corrupt'} end
end
local lease = redis.call('GET', KEYS[2])
if lease and ARGV[4] == 'free' then
  local successor = string.match(lease, '^{"for":"(%x*)"}$')
  if (successor or by) ~= ARGV[1] then return {'led'} end
end
epoch = string.format('%.0f', epoch + 1)

redis.call('SET', KEYS[1], '{"epoch":' .. epoch .. ',"by":"' .. ARGV[1] .. '","save":0,"record":' .. record .. '}')
redis.call('SET', KEYS[2], '{"owner":' .. ARGV[2] .. ',"epoch":' .. epoch .. '}', 'PX', ARGV[3])
return {'claimed', epoch, record}
