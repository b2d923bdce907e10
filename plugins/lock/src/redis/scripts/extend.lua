-- Lets the holder's lease last from now on, or only looks at it. What is gone is never made again.
--
-- ARGV  1 session  2 token  3 for how many ms, 0 to look  4 middle of the text  5 the host
-- {'held', lease} {'ended', lease} if it has ended and nobody has said so {'no', 1 if somebody has}
if s.session ~= ARGV[1] or s.token ~= ARGV[2] or s.depth == 0 then return no(ARGV[2]) end
if not held then
  local ended = lease(s)
  redis.call('HSET', state, 'depth', 0)
  s.depth = 0
  keep()
  return { 'ended', ended }
end
if tonumber(ARGV[3]) > 0 then
  s.middle, s.ttl = ARGV[4], ARGV[3]
  redis.call('SET', lock, text_of(s), 'PX', ARGV[3])
  redis.call('HSET', state, 'middle', s.middle, 'ttl', s.ttl, 'by', ARGV[5])
end
return { 'held', lease(s) }
