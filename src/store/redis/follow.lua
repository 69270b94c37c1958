-- A follower's sign of life: leaves its report, and gives the leader's latest word.
--
-- KEYS: lease, view, rooms. ARGV: the room's name, its report as JSON; the place that it listens at, if it has just
-- begun to: whoever said before that it listens there is gone.
-- Answers {lease or nothing, envelope or nothing}.

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if ARGV[3] ~= '' then
  local all = redis.call('HGETALL', KEYS[3])
  for at = 1, #all, 2 do
    if all[at] ~= ARGV[1] and string.find(all[at + 1], ':{"at":' .. cjson.encode(ARGV[3]) .. ',', 1, true) then
      redis.call('HDEL', KEYS[3], all[at])
    end
  end
end
redis.call('HSET', KEYS[3], ARGV[1], now .. ':' .. ARGV[2])
redis.call('PEXPIRE', KEYS[3], 86400000)
return {redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or ''}
