-- Puts other texts in the place of some lines of a ledger, of the wake that is wanted, and of who asked for the last one.
--
-- KEYS: ledger, wanted, status. ARGV: what is wanted as it was read, or nothing; what is wanted from now on; who asked for
-- the last wake as it was read, or nothing; who did from now on; then the ids of lines, each with its new text.
-- Answers {'forgotten'}.
--
-- A stream's line can't be changed, so the stream is written anew, with the ids that its lines had.

if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[2], 'KEEPTTL')
end
if ARGV[3] ~= '' and redis.call('HGET', KEYS[3], 'run_by') == ARGV[3] then
  redis.call('HSET', KEYS[3], 'run_by', ARGV[4])
end
if #ARGV == 4 then return {'forgotten'} end

local new = {}
for at = 5, #ARGV, 2 do new[ARGV[at]] = ARGV[at + 1] end
local lines, left = redis.call('XRANGE', KEYS[1], '-', '+'), redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
for _, line in ipairs(lines) do
  redis.call('XADD', KEYS[1], line[1], line[2][1], new[line[1]] or line[2][2])
end
if left > 0 then redis.call('PEXPIRE', KEYS[1], left) end
return {'forgotten'}
