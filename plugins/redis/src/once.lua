-- Writes what a record asks for, if it was not written before. 1 if so, 0 if it was.
--
-- KEYS[1] where the record's applications are counted, KEYS[2] the stream, KEYS[3] the cache, where a cell is written too.
-- ARGV  1 for how many seconds the count is kept  2 about how many entries the stream keeps  3 how many words say what
-- becomes of the cell: none, the field that goes, or the field and the new cell; these words, and the entry's fields.
--
-- The count comes last: what fails before it has failed, and may be tried again.
local n = tonumber(ARGV[3])
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if n == 1 then redis.call('HDEL', KEYS[3], ARGV[4]) end
if n == 2 then redis.call('HSET', KEYS[3], ARGV[4], ARGV[5]) end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 4 + n))
redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
