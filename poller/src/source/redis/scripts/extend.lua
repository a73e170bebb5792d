-- Renews the leases of this owner and notes failed attempts (-1: nothing to note). Answers how many
-- are the owner's still.
local owner, lease = ARGV[1], tonumber(ARGV[2])
local ids = {}
for n = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[n] end
local whose = call('HMGET', owners, unpack(ids))
local deadline = now() + lease
local scores, failed = {}, {}
for n, id in ipairs(ids) do
    if whose[n] == owner then
        scores[#scores + 1] = deadline
        scores[#scores + 1] = id
        local count = ARGV[2 * n + 2]
        if count ~= '-1' then
            failed[#failed + 1] = id
            failed[#failed + 1] = count
        end
    end
end
if #scores > 0 then call('ZADD', leases, unpack(scores)) end
if #failed > 0 then call('HSET', attempts, unpack(failed)) end
return #scores / 2
