-- Set times to live, and drop what is too old, from the oldest on.
--
-- Both are done with every read, before it, and with a publication only now and then: an eighth of an entry's life after
-- the last time at the latest. Times to live are so much longer that nothing ends early.
if not due or top == '0' or options ~= ARGV[1] or now >= tonumber(due) then
    due = true
else
    due = false
end
if due or body == '' then
    local seconds, known = string.match(ARGV[1], '(%d+) (%d+)')
    seconds, known = tonumber(seconds), tonumber(known)
    if due then
        local life = known + seconds / 4
        if top == '0' and body == '' then
            life = math.max(seconds, 60000)  -- only asked about so far, by a client that makes up names perhaps
        end
        call('HSET', meta, 'o', ARGV[1], 'x', string.format('%.0f', now + seconds / 8), 'y', now)
        call('PEXPIRE', meta, string.format('%.0f', life))
        call('PEXPIRE', stream, string.format('%.0f', seconds * 1.25 + 1000))
    end
    local count, entries = 1, nil
    repeat
        entries = call('XRANGE', stream, '-', '+', 'COUNT', count)
        local aged, young = nil, nil
        for _, entry in ipairs(entries) do
            local offset, taken = string.match(entry[1], '^(%d+)-(%d+)$')
            if now - taken <= seconds then
                young = offset
                break
            end
            aged = offset
        end
        if aged then
            call('XTRIM', stream, 'MINID', young or string.format('%.0f', aged + 1))
        end
        local more = not young and #entries == count
        count = 64
    until not more
end
