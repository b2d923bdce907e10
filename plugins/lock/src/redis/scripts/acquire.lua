-- Takes a lock, or takes it once more in the same session, or stands in line.
--
-- ARGV  1 session  2 owner  3 for how many ms  4 the greatest token the host has seen  5 the request's name  6 the waiter's
-- name  7 for how many ms it is believed to wait, 0 if it does not  8 head  9 middle  10 tail of the text  11 the host.
-- {'granted', lease, 1 if this request began it, the lease that ended unsaid or nothing}
-- {'locked', lease, place in line} {'foreign', text, ms left, place} {'line', owner of the head, ms, place} {'over'}
local session, owner, ttl, request, name = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[5], ARGV[6]
local line, now = living()
local place = 0
for i, waiter in ipairs(line) do
  if waiter[1] == name then place = i end
end

if held and s.session == session and s.owner == owner then
  local began = s.first == request and s.depth == 1
  if s.request ~= request then
    s.depth, s.request = s.depth + 1, request
    redis.call('HSET', state, 'depth', s.depth, 'request', request)
  end
  redis.call('HSET', state, 'by', ARGV[11])
  -- Never for a shorter time than it has left.
  if ttl > redis.call('PTTL', lock) then
    s.middle = ARGV[9]
    redis.call('SET', lock, text_of(s), 'PX', ttl)
    redis.call('HSET', state, 'middle', s.middle)
  end
  if ttl > tonumber(s.ttl) then
    s.ttl = ARGV[3]
    redis.call('HSET', state, 'ttl', s.ttl)
  end
  if place > 0 then
    table.remove(line, place)
    set_line(line)
  end
  return { 'granted', lease(s), began and 1 or 0, {} }
end

-- A repeat that comes when everything is over: nobody waits for its answer any more.
if not held and s.depth == 0 and s.first == request and s.session == session then return { 'over' } end

if text or (line[1] and place ~= 1) then
  if tonumber(ARGV[7]) > 0 then
    if place == 0 then place = #line + 1 end
    line[place] = { name, owner, now + tonumber(ARGV[7]) }
    set_line(line)
    keep()
  elseif place > 0 then
    table.remove(line, place)
    set_line(line)
  end
  if held then return { 'locked', lease(s), place } end
  if text then return { 'foreign', text, redis.call('PTTL', lock), place } end
  return { 'line', line[1][2], line[1][3] - now, place }
end

local ended = {}
if s.depth > 0 then ended = lease(s) end
local token = next_token(ARGV[4])
if not token then return { 'odd', fence } end
if place > 0 then table.remove(line, place) end
s = {
  session = session, owner = owner, token = token, depth = 1, request = request, first = request, ttl = ARGV[3],
  head = ARGV[8], middle = ARGV[9], tail = ARGV[10], by = ARGV[11],
  forced = forced_lately() and s.forced,
}
redis.call('DEL', state)
for field, value in pairs(s) do redis.call('HSET', state, field, value) end
set_line(line)
redis.call('SET', lock, text_of(s), 'PX', ttl)
return { 'granted', lease(s), 1, ended }
