-- What every script begins with. Times are microseconds of the server's clock.
local list, items, leases, owners, attempts, dead, state = unpack(KEYS)
local call = redis.call

-- A write that changes nothing. A Redis whose memory is full refuses the first write of a script
-- that may need more, and none after it: what is here must still be drained.
call('HDEL', items, '')

local function now()
    local time = call('TIME')
    return time[1] * 1000000 + time[2]
end

-- Forgets events without a trace. The lease goes first: without it nobody delivers them.
local function forget(ids)
    if #ids > 0 then
        call('ZREM', leases, unpack(ids))
        call('HDEL', items, unpack(ids))
        call('HDEL', owners, unpack(ids))
        call('HDEL', attempts, unpack(ids))
    end
end

local function dead_letter(id, item, reason, failed)
    local letter = { id = id, item = item, reason = reason, attempts = failed,
        time = call('TIME')[1] + 0 }
    call('RPUSH', dead, cjson.encode(letter))
end

