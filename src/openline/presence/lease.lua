-- The leases of all nodes: renews one, and takes over those of nodes that died.
--
-- KEYS[1]  every lease by its name: the moment of its last renewal in ms; below 0 the moment at which a node took it
--          over to take its sessions out
-- KEYS[2]  the name of the store's life: another one means that the store lost what it knew
-- ARGV[1]  the lease of the node that asks
-- ARGV[2]  how many ms a lease lasts
-- ARGV[3]  '1': the lease begins
-- ARGV[4]  '1': take over
-- ARGV[5]  a name for the store's life, if it has none
--
-- Gives the store's life, whether the lease is still the node's own, and the leases that were taken over. One lease is
-- taken over by one node; if that dies over it, by another once as much time has passed again.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local life = redis.call('GET', KEYS[2])
if not life then
  life = ARGV[5]
  redis.call('SET', KEYS[2], life)
end

local renewed = redis.call('ZSCORE', KEYS[1], ARGV[1])
local mine = ARGV[3] == '1' or (renewed and tonumber(renewed) > 0)
if mine then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
end

local taken = {}
if ARGV[4] == '1' then
  local before = string.format('%.0f', now - tonumber(ARGV[2]))
  for _, range in ipairs({ { '(0', '(' .. before }, { '(-' .. before, '(0' } }) do
    for _, lease in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], range[1], range[2])) do
      redis.call('ZADD', KEYS[1], string.format('%.0f', -now), lease)
      taken[#taken + 1] = lease
    end
  end
end
return { life, mine and 1 or 0, taken }
