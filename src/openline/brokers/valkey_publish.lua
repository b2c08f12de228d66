-- Append to a stream and carry to the nodes: all of it or nothing, in one round trip.
--
-- KEYS: 3 the idempotency key, where there is one
-- ARGV: 3 entries kept, 4 PUBLISH or SPUBLISH, 5 the pub/sub channel, 6 ms the key is remembered,
--   7 version and 8 whose it is, where there is one
-- Gives "epoch offset".
if KEYS[3] then
    local first = call('GET', KEYS[3])
    if first then
        call('SET', KEYS[3], first, 'KEEPTTL')  -- a WAIT confirms what this connection wrote, and another did the first
        return first
    end
end
local version = ARGV[7]
if version then
    local newest, owner = unpack(call('HMGET', meta, 'v', 'n'))
    if newest and owner == ARGV[8] and (#version < #newest or (#version == #newest and version <= newest)) then
        call('HSET', meta, 'v', newest)  -- for the same reason
        return epoch .. ' ' .. top
    end
    call('HSET', meta, 'v', version, 'n', ARGV[8])
end
local offset, taken = string.format('%.0f', (jump or top) + 1), string.format('%.0f', now)
call('HSET', meta, 't', offset)
if jump then
    call('HDEL', meta, 'j')
    call('XADD', stream, 'MAXLEN', ARGV[3], offset .. '-' .. taken, 'b', body, 'p', top)
else
    call('XADD', stream, 'MAXLEN', ARGV[3], offset .. '-' .. taken, 'b', body)
end
if due then
    local seconds = string.match(ARGV[1], '%d+')
    call('PEXPIRE', stream, string.format('%.0f', seconds * 1.25 + 1000))  -- which may be there only now
end
local position = epoch .. ' ' .. offset
if KEYS[3] then
    call('SET', KEYS[3], position, 'PX', ARGV[6])
end
call(ARGV[4], ARGV[5], '+' .. position .. ' ' .. top .. ' ' .. taken .. '\n' .. body)
return position
