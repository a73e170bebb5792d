-- Tries at start whatever the other scripts will do, with forms that change nothing, or on three
-- scratch keys. Answers 0, or 1 with a key of a wrong type and its type, or 2 with the list that uses
-- these keys already, or 3 with a command that failed and why.
local list, items, leases, owners, attempts, dead, state, hash, zset, queue = unpack(KEYS)

local problem
local function try(command, ...)
    if problem then return end
    local answer = redis.pcall(command, ...)
    if type(answer) == 'table' and answer.err then
        problem = { 3, command, answer.err }
        return
    end
    return answer
end

local kinds = { list = { list, dead }, hash = { items, owners, attempts, state }, zset = { leases } }
for wanted, keys in pairs(kinds) do
    for _, key in ipairs(keys) do
        local kind = (try('TYPE', key) or {}).ok or 'none'
        if kind ~= 'none' and kind ~= wanted then return { 1, key, kind } end
    end
end

try('LRANGE', list, 0, 0)
try('LTRIM', list, 0, -1)
try('LTRIM', dead, 0, -1)
for _, key in ipairs(kinds.hash) do
    try('HGET', key, '')
    try('HDEL', key, '')
end
try('ZREM', leases, '')

try('TIME')
try('HSET', hash, 'a', 1)
try('HINCRBY', hash, 'a', 1)
try('HMGET', hash, 'a')
try('HEXISTS', hash, 'a')
try('HDEL', hash, 'a')
try('ZADD', zset, 0, 'a')
try('ZRANGEBYSCORE', zset, 0, 0, 'LIMIT', 0, 1)
try('ZREVRANGE', zset, 0, 0)
try('ZREM', zset, 'a')
try('RPUSH', queue, 'a')
try('LTRIM', queue, 1, 0)

-- `a` and `{a}` would have the same keys.
local name = try('HGET', state, 'list')
if name and name ~= list then return { 2, name } end
try('HSET', state, 'list', list)
return problem or { 0 }
