-- A leader's sign of life: extends its lease, tells how the service is, and gives what was written for it.
--
-- KEYS: state, lease, status, view, rooms, hold, command, wake, wanted, news. ARGV: the epoch, the leader's token, its
-- name as JSON, the lease in milliseconds; the envelope as JSON or nothing; how long it is kept, in milliseconds; the
-- leader's own report as JSON; what becomes of the hold: 'keep', 'drop' or nothing, then its length in milliseconds
-- and its reason; the beat whose commands are done or nothing, and how many; the most commands to give; the number of
-- rooms that are gone, these, then the fields of the status with their values.
-- Answers {'beat', hold's time left or nothing, hold, number of the wake, what is wanted, the highest number
-- that an owner has heard of, commands, rooms (name, age in
-- milliseconds, report, ...), what is bad, '1' if all of the status and the envelope must be told again}; {'stale', epoch} when the service has another owner or none; {'corrupt'}
-- when the state is not one.

local kept = redis.call('GET', KEYS[1])
if not kept then return {'stale', '0'} end
local epoch, by = string.match(kept, '^{"epoch":(%d+),"by":"(%x*)","save":%d+,"record":')
if not epoch then return {'corrupt'} end
if epoch ~= ARGV[1] or by ~= ARGV[2] then return {'stale', epoch} end
redis.call('SET', KEYS[2], '{"owner":' .. ARGV[3] .. ',"epoch":' .. epoch .. '}', 'PX', ARGV[4])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bad = {}
-- What somebody else wrote may be of any type.
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    bad[#bad + 1] = KEYS[7] .. ' or ' .. KEYS[6] .. ' is of another type: delete it'
    return nil
  end
  return answer
end

if ARGV[8] == 'keep' then
  redis.call('SET', KEYS[6], ARGV[10], 'PX', ARGV[9])
elseif ARGV[8] == 'drop' then
  redis.call('DEL', KEYS[6])
end
local left, hold = '', ''
local reason = try('GET', KEYS[6])
if reason then left, hold = redis.call('PTTL', KEYS[6]), reason end

if ARGV[11] ~= '' and redis.call('HGET', KEYS[8], 'done') ~= ARGV[11] then
  try('LTRIM', KEYS[7], ARGV[12], -1)
  redis.call('HSET', KEYS[8], 'done', ARGV[11])
end
local commands = try('LRANGE', KEYS[7], 0, ARGV[13] - 1) or {}

local number, wanted, told = '0', '', '0'
local trigger = redis.call('GET', KEYS[9])
if trigger then
  local last, heard = unpack(redis.call('HMGET', KEYS[8], 'last', 'heard'))
  number, wanted, told = last or '0', trigger, heard or '0'
end

local first = 15 + ARGV[14]
for at = 15, first - 1 do redis.call('HDEL', KEYS[5], ARGV[at]) end
redis.call('HSET', KEYS[5], ARGV[2], string.format('%.0f', now) .. ':' .. ARGV[7])
local rooms, all = {}, redis.call('HGETALL', KEYS[5])
for at = 1, #all, 2 do
  local since, report = string.match(all[at + 1], '^(%d+):(.*)$')
  if since and all[at] ~= ARGV[2] then
    rooms[#rooms + 1] = all[at]
    rooms[#rooms + 1] = string.format('%.0f', math.max(now - since, 0))
    rooms[#rooms + 1] = report
  end
end

for at = first, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[3], ARGV[at])
  else
    redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
  end
end
-- What somebody deleted is told again.
local again = redis.call('PEXPIRE', KEYS[3], ARGV[6]) == 0
if ARGV[5] ~= '' then
  redis.call('SET', KEYS[4], ARGV[5], 'PX', ARGV[6])
  redis.call('PUBLISH', KEYS[10], 'changed ' .. ARGV[5])
elseif redis.call('PEXPIRE', KEYS[4], ARGV[6]) == 0 then
  again = true
end
redis.call('PEXPIRE', KEYS[5], 86400000)
return {'beat', tostring(left), hold, number, wanted, told, commands, rooms, bad, again and '1' or ''}
