-- Reads the services that were added, if they are not the ones that the caller has seen.
--
-- KEYS: services, life. ARGV: a word that nobody else has; what was seen, as this script named it; the most services
-- that there may be.
-- Answers {life, name of what is there}, and the names and texts behind them if the caller has not seen those;
-- {'bad', what is wrong with the key}.
--
-- The life is a word that stays for as long as the server keeps what is written into it. Another one says that it was
-- wiped, and that what is missing was not taken away by a person.

local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then return {'bad', 'it is a ' .. kind .. ' and no hash'} end
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then
  return {'bad', 'it has more than ' .. ARGV[3] .. ' services'}
end

redis.call('SET', KEYS[2], ARGV[1], 'NX')
local all = redis.call('HGETALL', KEYS[1])
local name = redis.sha1hex(table.concat(all, '\0'))
local answer = {redis.call('GET', KEYS[2]), name}
if name ~= ARGV[2] then
  for number = 1, #all do answer[number + 2] = all[number] end
end
return answer
