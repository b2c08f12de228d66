-- Who is in one channel: enters sessions, takes sessions out, or brings all of one node's into line.
--
-- KEYS[1]  the channel's sessions: what is known of each, by its id
-- KEYS[2]  how many sessions each user has in the channel
-- ARGV[1]  the lease of a node
-- ARGV[2]  '1': take out every session under this lease that is not named below
-- ARGV[3]… in threes: a session's id; what is known of it, '' to take it out; its user
--
-- What is known of a session begins with its lease, a flag, the length of its user and the user, each followed by '|'.
-- Gives the ids of those that were not there before, and of those that were taken out unnamed what was known of them.
local members, users = KEYS[1], KEYS[2]

local function take_out(session, known)
  local length, start = string.match(known, '^[^|]*|%d|(%d+)|()')
  local user = string.sub(known, start, start + tonumber(length) - 1)
  redis.call('HDEL', members, session)
  if redis.call('HINCRBY', users, user, -1) <= 0 then
    redis.call('HDEL', users, user)
  end
end

local entered, named = {}, {}
for i = 3, #ARGV, 3 do
  local session, known, user = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local before = redis.call('HGET', members, session)
  named[session] = true
  if before ~= known then
    if before then
      take_out(session, before)
    elseif known ~= '' then
      entered[#entered + 1] = session
    end
    if known ~= '' then
      redis.call('HSET', members, session, known)
      redis.call('HINCRBY', users, user, 1)
    end
  end
end

local gone = {}
if ARGV[2] == '1' then
  local lease = ARGV[1] .. '|'
  local all = redis.call('HGETALL', members)
  for i = 1, #all, 2 do
    if not named[all[i]] and string.sub(all[i + 1], 1, #lease) == lease then
      take_out(all[i], all[i + 1])
      gone[#gone + 1] = all[i]
      gone[#gone + 1] = all[i + 1]
    end
  end
end
return { entered, gone }
