-- Gives a lock back once, or wholly.
--
-- ARGV  1 session  2 token, or nothing  3 the request's name  4 0 to give it back once, 1 wholly, 2 as if it had never been
-- granted, so that its request may come again  5 channel  6 message  7 the host that gives it back for a holder it has given
-- up: no more, once the holder was heard elsewhere; nothing if the holder does
-- {'released', lease, 1 if it was released before} {'ended', lease} if it has ended and nobody has said so
-- {'no', 1 if somebody has, or if it goes on at another host, which will}
if s.session ~= ARGV[1] or (ARGV[2] ~= '' and s.token ~= ARGV[2]) then return no(ARGV[2]) end
if ARGV[7] ~= '' and s.by and s.by ~= ARGV[7] then return { 'no', 1 } end
if ARGV[4] == '2' then redis.call('HDEL', state, 'first') end
if held then
  local repeated = s.request == ARGV[3]
  if not repeated then
    s.depth = ARGV[4] == '0' and s.depth - 1 or 0
    redis.call('HSET', state, 'depth', s.depth, 'request', ARGV[3])
    if s.depth == 0 then
      redis.call('DEL', lock)
      tell(ARGV[5], ARGV[6], text_of(s))
    end
    keep()
  end
  return { 'released', lease(s), repeated and 1 or 0 }
end
if s.depth > 0 then
  local ended = lease(s)
  redis.call('HSET', state, 'depth', 0)
  s.depth = 0
  keep()
  return { 'ended', ended }
end
if s.request == ARGV[3] then return { 'released', lease(s), 1 } end
return no(ARGV[2])
