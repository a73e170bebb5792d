-- Takes events: first those that were given back or whose lease ran out, oldest first, then items
-- from the end of the list. Reads everything before it writes anything, and takes items off the list
-- last.
local owner, lease, room, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local left, max_attempts, request = ARGV[5] == 'left', tonumber(ARGV[6]), ARGV[7]
-- Entries looked at together, and at most while looking for one that may be given out.
local PAGE, SCAN = 128, 4096
-- Items read together: what does not fit was read in vain.
local CHUNK = 16

local except = {}
for n = 8, #ARGV do except[ARGV[n]] = true end

local time = now()
local given, full = {}, false

-- A first event always fits, or nothing could ever deliver it.
local function give(id, item, failed)
    if #given == room or (#given > 0 and #item > bytes) then
        full = true
        return false
    end
    bytes = bytes - #item
    given[#given + 1] = { id = id, item = item, failed = failed }
    full = #given == room
    return true
end

-- A lease that ran out had a poller that died with the event, perhaps of it: that is an attempt.
local expired, exhausted, gone = {}, {}, {}
local offset = 0
while not full and offset < SCAN do
    local page = call('ZRANGEBYSCORE', leases, '-inf', time, 'LIMIT', offset, PAGE)
    if #page == 0 then break end
    local whose = call('HMGET', owners, unpack(page))
    for n, id in ipairs(page) do
        if not except[id] then
            local item = call('HGET', items, id)
            local failed = tonumber(call('HGET', attempts, id) or 0)
            if whose[n] then failed = failed + 1 end
            if not item then
                gone[#gone + 1] = id
            elseif whose[n] and failed >= max_attempts then
                exhausted[#exhausted + 1] = { id = id, item = item, failed = failed }
            elseif not give(id, item, failed) then
                break
            elseif whose[n] then
                expired[#expired + 1] = id
                expired[#expired + 1] = failed
            end
        end
    end
    offset = offset + #page
end
local retaken = #given

local position = 0
while not full do
    local count = math.min(CHUNK, room - #given)
    local chunk
    if left then
        chunk = call('LRANGE', list, position, position + count - 1)
    else
        chunk = call('LRANGE', list, -position - count, -position - 1)
    end
    for n = 1, #chunk do
        if not give(nil, chunk[left and n or #chunk + 1 - n], 0) then break end
    end
    position = position + #chunk
    if #chunk < count then break end
end

for _, event in ipairs(exhausted) do
    dead_letter(event.id, event.item, 'its poller went away while it was handled', event.failed)
    forget({ event.id })
end
forget(gone)

-- The owner last: whatever fails before leaves a lease that runs out, and so an event for the next.
local scores, whose = {}, {}
for n = 1, retaken do
    scores[2 * n - 1], scores[2 * n] = time + lease, given[n].id
    whose[2 * n - 1], whose[2 * n] = given[n].id, owner
end
if retaken > 0 then
    call('ZADD', leases, unpack(scores))
    if #expired > 0 then call('HSET', attempts, unpack(expired)) end
    call('HSET', owners, unpack(whose))
end

local problem = ''
local fresh = #given - retaken
if fresh > 0 then
    -- The number only keeps the order of the list; the request alone makes an id unique.
    local function write(...)
        local answer = problem == '' and redis.pcall(...)
        if type(answer) == 'table' and answer.err then problem = answer.err end
        return answer
    end
    local last = tonumber(write('HINCRBY', state, 'taken', fresh)) or 0
    local ids, payloads = {}, {}
    scores, whose = {}, {}
    for n = 1, fresh do
        local event = given[retaken + n]
        event.id = string.format('%012x-%s', last - fresh + n, request)
        ids[n] = event.id
        payloads[2 * n - 1], payloads[2 * n] = event.id, event.item
        scores[2 * n - 1], scores[2 * n] = time + lease, event.id
        whose[2 * n - 1], whose[2 * n] = event.id, owner
    end
    write('HSET', items, unpack(payloads))
    write('HSET', owners, unpack(whose))
    write('ZADD', leases, unpack(scores))
    if left then
        write('LTRIM', list, fresh, -1)
    else
        write('LTRIM', list, 0, -fresh - 1)
    end
    if problem ~= '' then
        -- The items are still in the list, so they must be nowhere else.
        redis.pcall('ZREM', leases, unpack(ids))
        redis.pcall('HDEL', items, unpack(ids))
        redis.pcall('HDEL', owners, unpack(ids))
        for n = #given, retaken + 1, -1 do given[n] = nil end
    end
end

local events, letters = {}, {}
for _, event in ipairs(given) do
    events[#events + 1] = event.id
    events[#events + 1] = event.item
    events[#events + 1] = event.failed
end
for n, event in ipairs(exhausted) do letters[n] = event.id end
return { full and 1 or 0, problem, events, letters }
