-- What every script about a stream begins with: where it stands, and whether that can be believed.
--
-- A stream's offsets may never go back: whoever saw the first 6, 7, 8 would pass over another 6, 7, 8 in silence. But a
-- replica that is promoted may lack the newest entries, and so may a server that comes back from a crash. So a stream
-- notes who wrote it: the id that a server draws anew with each start and each promotion. If that is another one now,
--
--   nothing confirmed can be missing: the offsets JUMP by 2^32 and more. The next entry names the last one there is as its
--       predecessor: whoever stands there goes on; whoever saw something that is lost stands outside of the chain.
--   else: a NEW EPOCH begins. What was confirmed may be missing, and nobody can tell: so all are told.
--
-- Nothing confirmed can be missing where
--   * it is the same process, and was not promoted: its first replica came, or the last has been gone for an hour
--     (for both it draws a new id);
--   * it was restarted with its append-only file, which it kept before too, and no other could have been promoted since:
--     there are no sentinels and no cluster, or every publication waits until a replica has it;
--   * it was promoted, and every publication waits until a replica has it.
-- A promotion is told from a restart with an old snapshot, which looks alike: by the append-only file, as then no snapshot
-- is read, or by the process being older than the newest mark it has of this stream.
--
-- This runs with every publication: what is rarely needed is asked for, and even given a name, only where it is.
--
-- KEYS: 1 the stream's hash, 2 the stream
--   fields of the hash: e epoch, t top offset, w writer, o options, x when times to live are to be set again,
--   y when they were, j where offsets go on after a jump, p the writer's process, a whether it kept an append-only file,
--   v and n the newest version and whose it is
-- ARGV: 1 options: "<ms an entry is kept> <ms an unused stream is known> <s or m><replicas that confirm>", where s says
--     that the server is a single one, m that one of many may be promoted
--   2 a publication; "" where the stream is only read
local call = redis.call
local meta, stream, body = KEYS[1], KEYS[2], ARGV[2]
local time, info = call('TIME'), call('INFO', 'replication')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch, top, writer, options, due, jump = unpack(call('HMGET', meta, 'e', 't', 'w', 'o', 'x', 'j'))

if not writer or not string.find(info, writer, 1, true) then
    local this = string.match(info, 'master_replid:%x+')
    if not this then
        return redis.error_reply('ERR this server does not say which one it is (INFO replication: master_replid)')
    end
    local server, persistence = call('INFO', 'server'), call('INFO', 'persistence')
    local process = string.match(server, 'run_id:(%x+)')
    local file = string.match(persistence, 'aof_enabled:(%d)')
    local whole = false
    if writer then
        local process_before, file_before, marked = unpack(call('HMGET', meta, 'p', 'a', 'y'))
        local kept_file = file == '1' and file_before == '1'
        local confirmed = options and string.match(options, '%d+$') ~= '0'
        if string.find(info, 'master_replid2:' .. string.rep('0', 40), 1, true) then
            -- A replica that was promoted and then restarted looks like this too.
            whole = process_before == process or (kept_file and (confirmed or string.find(ARGV[1], 's', 1, true)))
        else
            -- Both ends of an uptime are cut to whole seconds: it may be one too long.
            local began = now - 1000 * (string.match(server, 'uptime_in_seconds:(%d+)') - 1)
            whole = confirmed and (kept_file or began < tonumber(marked or 0))
        end
    end
    if whole and tonumber(jump or top) < 2 ^ 52 then
        -- The moment is in it: a server that is put back to an older state twice does not jump to the same place twice.
        jump = string.format('%.0f', (jump or top) + 4294967296 + now % 268435456 * 1024)
        call('HSET', meta, 'w', this, 'p', process, 'a', file, 'j', jump)
    else
        epoch = string.format('%x', time[1] * 1000000 + time[2]) .. string.sub(this, -4)
        top, jump, due = '0', nil, nil
        -- First what a full server refuses: a DEL before it would make it let all the rest pass.
        call('HSET', meta, 'e', epoch, 't', top, 'w', this, 'p', process, 'a', file)
        call('HDEL', meta, 'o', 'x', 'y', 'j', 'v', 'n')
        call('DEL', stream)
    end
end
