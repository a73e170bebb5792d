-- The same poller on a new connection. An owner is `<poller>:<number of its connection>`: takes over
-- what the poller's earlier connections hold of these ids, and gives back all else that they hold,
-- such as what a claim took whose answer never arrived. Answers with the ids that are not the
-- poller's any more.
local poller, connection, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
-- Entries read together, and at most. What is held has the highest scores; what lies beyond the
-- bound comes back when its lease runs out.
local PAGE, SCAN = 256, 16384

local function is_earlier(owner)
    if not owner or string.sub(owner, 1, #poller + 1) ~= poller .. ':' then return false end
    return tonumber(string.sub(owner, #poller + 2)) <= connection
end

local held, lost = {}, {}
local deadline = now() + lease
for n = 4, #ARGV do
    local id = ARGV[n]
    held[id] = true
    if is_earlier(call('HGET', owners, id)) then
        call('ZADD', leases, deadline, id)
        call('HSET', owners, id, poller .. ':' .. connection)
    else
        lost[#lost + 1] = id
    end
end

local strays = {}
for offset = 0, SCAN - 1, PAGE do
    local page = call('ZREVRANGE', leases, offset, offset + PAGE - 1)
    if #page == 0 then break end
    local whose = call('HMGET', owners, unpack(page))
    for n, id in ipairs(page) do
        if not held[id] and is_earlier(whose[n]) then strays[#strays + 1] = id end
    end
end
for _, id in ipairs(strays) do
    call('ZADD', leases, 0, id)
    call('HDEL', owners, id)
end
return lost
