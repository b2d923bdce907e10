-- Takes a lock from whoever holds it, also from another program; the token counts one on, so that the holder's is stale.
--
-- ARGV  1 the token that it is held under, or nothing  2 the greatest token the host has seen  3 the request's name
-- 4 channel  5 message
-- {'forced', lease, new token} {'foreign', text, new token} {'stale'} {'no'}
if not held and s.token and s.depth == 0 and s.request == ARGV[3] then
  return { 'forced', lease(s), redis.call('GET', fence) }
end
if not text then return { 'no' } end
if ARGV[1] ~= '' and not (held and s.token == ARGV[1]) then return { 'stale' } end
local token = next_token(ARGV[2])
redis.call('DEL', lock)
if not held then
  tell(ARGV[4], ARGV[5], text)
  return { 'foreign', text, token }
end
redis.call('HSET', state, 'depth', 0, 'request', ARGV[3])
s.depth = 0
keep()
tell(ARGV[4], ARGV[5], text)
return { 'forced', lease(s), token }
