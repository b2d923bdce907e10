-- Takes a lock from whoever holds it, also from another program; the token counts one on, so that the holder's is stale.
--
-- ARGV  1 the token that it is held under, or nothing  2 the greatest token the host has seen  3 the request's name
-- 4 channel  5 message
-- {'forced', lease, new token} {'foreign', text, new token} {'stale'} {'no'}
local forced = forced_lately()
if forced and forced[1] == ARGV[3] then return forced[3] end
if not text then return { 'no' } end
if ARGV[1] ~= '' and not (held and s.token == ARGV[1]) then return { 'stale' } end
local token = next_token(ARGV[2])
if not token then return { 'odd', fence } end
redis.call('DEL', lock)
local answer = { 'foreign', text, token }
if held then
  redis.call('HSET', state, 'depth', 0, 'request', ARGV[3])
  s.depth = 0
  answer = { 'forced', lease(s), token }
end
redis.call('HSET', state, 'forced', cjson.encode({ ARGV[3], milliseconds(), answer }))
keep()
tell(ARGV[4], ARGV[5], text)
return answer
