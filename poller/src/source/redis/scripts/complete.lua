-- Forgets handled events of this owner. Answers 1 for each, 0 for one that is not there (any more)
-- and 2 for one that somebody else holds or may take: it is not touched.
local owner = ARGV[1]
local ids = { unpack(ARGV, 2) }
local whose = call('HMGET', owners, unpack(ids))
local mine, answer = {}, {}
for n, id in ipairs(ids) do
    if whose[n] == owner then
        mine[#mine + 1] = id
        answer[n] = 1
    else
        answer[n] = 2 * call('HEXISTS', items, id)
    end
end
forget(mine)
return answer
