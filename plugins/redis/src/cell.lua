-- One change reaches the cell of its key, and, where the cell takes it, the stream and the channel.
--
-- KEYS  the cache; the stream, unless it lies on another node
-- ARGV  1 the field  2 the new cell  3 what the cell may hold now: the SHA-1 of it, `*` for anything, `-` for anything
--       and the cell goes, nothing for no cell  4 the channel  5 how long the stream is  6... fields of the stream's entry
--
-- Answers {1}, {1, why the channel could not be told}, or {0, what the cell holds instead}.
-- What may fail comes before what it must not leave half done: the cell is written last.
local cell = redis.call('HGET', KEYS[1], ARGV[1])
local any = ARGV[3] == '*' or ARGV[3] == '-'
if cell and not any and cell ~= ARGV[2] and redis.sha1hex(cell) ~= ARGV[3] then
  return {0, cell}
end
local untold = nil
if KEYS[2] then
  local entry = {}
  for i = 6, #ARGV do entry[#entry + 1] = ARGV[i] end
  entry[#entry + 1] = 'data'
  entry[#entry + 1] = ARGV[2]
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', unpack(entry))
  local told = redis.pcall('PUBLISH', ARGV[4], ARGV[2])
  if type(told) == 'table' then untold = told.err end
end
if ARGV[3] == '-' then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif cell ~= ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return untold and {1, untold} or {1}
