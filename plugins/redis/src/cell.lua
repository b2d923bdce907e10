-- Sets the cell of a key, if it holds what is expected. Nil, or what it holds instead.
--
-- KEYS[1] the cache. ARGV  1 the field  2 the new cell  3 the SHA-1 of what the cell may hold now; no cell at all,
-- and the new cell itself, always may be there.
--
-- One write and no more: a script with several reaches the server's journal as a transaction, and Redis 7.0 forgets every
-- transaction when it reads the journal again and its default user may not do everything.
local cell = redis.call('HGET', KEYS[1], ARGV[1])
if cell == ARGV[2] then return false end
if cell and redis.sha1hex(cell) ~= ARGV[3] then return cell end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return false
