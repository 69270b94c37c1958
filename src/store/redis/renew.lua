-- Extends the lease of a service, if the epoch is still the caller's. A lease that has run out is taken again:
-- nobody else has claimed the service, or the epoch would have risen.
--
-- KEYS: state, lease. ARGV: the epoch, the owner's token, its name as JSON, the lease in milliseconds.
-- Answers {'renewed'}; {'stale', epoch} when the service has another owner or none; {'corrupt'} when the state is
-- not one.

local kept = redis.call('GET', KEYS[1])
if not kept then return {'stale', '0'} end
local epoch, by = string.match(kept, '^{"epoch":(%d+),"by":"(%x*)","save":%d+,"record":')
if not epoch then return {'corrupt'} end
if epoch ~= ARGV[1] or by ~= ARGV[2] then return {'stale', epoch} end

redis.call('SET', KEYS[2], '{"owner":' .. ARGV[3] .. ',"epoch":' .. epoch .. '}', 'PX', ARGV[4])
return {'renewed'}
