-- Gives events of this owner back, with their failed attempts (-1: as they were) and the time for
-- which nobody shall have them. Those that may be had at once have one score, so their ids order
-- them: as they came off the list, and before everything that is still in it.
local owner = ARGV[1]
local ids = {}
for n = 2, #ARGV, 3 do ids[#ids + 1] = ARGV[n] end
local whose = call('HMGET', owners, unpack(ids))
local time = now()
local scores, failed, mine = {}, {}, {}
for n, id in ipairs(ids) do
    if whose[n] == owner then
        local count, rest = ARGV[3 * n], tonumber(ARGV[3 * n + 1])
        mine[#mine + 1] = id
        scores[#scores + 1] = rest > 0 and time + rest or 0
        scores[#scores + 1] = id
        if count ~= '-1' then
            failed[#failed + 1] = id
            failed[#failed + 1] = count
        end
    end
end
if #mine > 0 then
    if #failed > 0 then call('HSET', attempts, unpack(failed)) end
    call('ZADD', leases, unpack(scores))
    call('HDEL', owners, unpack(mine))
end
return #mine
