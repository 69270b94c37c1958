-- Ends a leadership, for nobody or for another room.
--
-- KEYS: state, lease, news. ARGV: the epoch, the leader's token, the name of the other room or nothing, how long the
-- lease is kept for it, in milliseconds.
-- Answers {'over'}; {'stale', epoch} when the service has another owner or none; {'corrupt'} when the state is not
-- one.

local kept = redis.call('GET', KEYS[1])
if not kept then return {'stale', '0'} end
local epoch, by = string.match(kept, '^{"epoch":(%d+),"by":"(%x*)","save":%d+,"record":')
if not epoch then return {'corrupt'} end
if epoch ~= ARGV[1] or by ~= ARGV[2] then return {'stale', epoch} end

if ARGV[3] == '' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], '{"for":"' .. ARGV[3] .. '"}', 'PX', ARGV[4])
end
redis.call('PUBLISH', KEYS[3], 'free')
return {'over'}
