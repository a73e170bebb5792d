-- Moves one event of this owner to the dead letters. Answers as complete does.
local owner, id, reason, failed = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if call('HGET', owners, id) ~= owner then return { 2 * call('HEXISTS', items, id) } end
local item = call('HGET', items, id)
if item then dead_letter(id, item, reason, failed) end
forget({ id })
return { 1 }
