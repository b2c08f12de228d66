-- Read a stream: a page and the top, of one moment. One that is not there is born.
--
-- ARGV: 3 XRANGE or XREVRANGE, 4 and 5 the ids it begins and ends with, 6 entries at most ("" for all, 0 for none)
-- Gives the epoch, the top offset and the entries.
if ARGV[6] == '0' then
    return {epoch, top, {}}
end
if ARGV[6] == '' then
    return {epoch, top, call(ARGV[3], stream, ARGV[4], ARGV[5])}
end
return {epoch, top, call(ARGV[3], stream, ARGV[4], ARGV[5], 'COUNT', ARGV[6])}
