-- The arithmetic of one limit, as `engine/admit` has it, in the same whole milliseconds: all far below 2^53, so
-- exact here too. Stands in front of every script that asks a limit.

-- The clocks of the replicas may differ by that much, in milliseconds: a timestamp is kept so long after it has
-- come to mean nothing.
local CLOCKS_DIFFER = 60000

local function whole(number) return string.format('%.0f', number) end

-- The new timestamp, or nothing and the time until one is let through.
local function gcra(kept, interval, count, now)
  local tolerance = interval * (count - 1)
  local from = math.max(tonumber(kept) or now, now)
  if from - now > 2 * interval * count then from = now + tolerance end
  local early = from - now - tolerance
  if early > 0 then return nil, early end
  return from + interval
end

local function keep(key, tat, now)
  redis.call('SET', key, whole(tat), 'PX', whole(tat - now + CLOCKS_DIFFER))
end

