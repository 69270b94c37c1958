-- A follower's sign of life: leaves its report, and gives the leader's latest word.
--
-- KEYS: lease, view, rooms. ARGV: the room's name, its report as JSON.
-- Answers {lease or nothing, envelope or nothing}.

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[3], ARGV[1], now .. ':' .. ARGV[2])
redis.call('PEXPIRE', KEYS[3], 86400000)
return {redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or ''}
