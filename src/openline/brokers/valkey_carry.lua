-- Carry what is not kept to the nodes, unless its idempotency key is remembered.
--
-- KEYS: 1 the idempotency key
-- ARGV: 1 ms it is remembered, 2 PUBLISH or SPUBLISH, 3 the pub/sub channel, 4 what is carried
if redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[1]) then
    redis.call(ARGV[2], ARGV[3], ARGV[4])
end
