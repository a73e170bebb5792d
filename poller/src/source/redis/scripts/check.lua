-- Tries at start whatever the other scripts will do, with forms that change nothing, or on three
-- scratch keys. Answers 0, or 1 with a key of a wrong type and its type, or 2 with the list that uses
-- these keys already.
local list, items, leases, owners, attempts, dead, state, hash, zset, queue = unpack(KEYS)
local call = redis.call

local kinds = { list = { list, dead }, hash = { items, owners, attempts, state }, zset = { leases } }
for wanted, keys in pairs(kinds) do
    for _, key in ipairs(keys) do
        local kind = call('TYPE', key).ok
        if kind ~= 'none' and kind ~= wanted then return { 1, key, kind } end
    end
end

call('LRANGE', list, 0, 0)
call('LTRIM', list, 0, -1)
call('LTRIM', dead, 0, -1)
for _, key in ipairs(kinds.hash) do
    call('HGET', key, '')
    call('HDEL', key, '')
end
call('ZREM', leases, '')

call('TIME')
call('HSET', hash, 'a', 1)
call('HINCRBY', hash, 'a', 1)
call('HMGET', hash, 'a')
call('HEXISTS', hash, 'a')
call('HDEL', hash, 'a')
call('ZADD', zset, 0, 'a')
call('ZRANGEBYSCORE', zset, 0, 0, 'LIMIT', 0, 1)
call('ZREVRANGE', zset, 0, 0)
call('ZREM', zset, 'a')
call('RPUSH', queue, 'a')
call('LTRIM', queue, 1, 0)

-- `a` and `{a}` would have the same keys.
local name = call('HGET', state, 'list')
if name and name ~= list then return { 2, name } end
call('HSET', state, 'list', list)
return { 0 }
