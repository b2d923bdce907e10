-- What every script begins with.
--
-- KEYS[1] the lock: the guide's STRING, whose time to live is the lease's. KEYS[2] what it has no room for, a hash. KEYS[3]
-- the greatest token that was ever given, which never expires. What lies at one of the last two and is nothing that a script
-- wrote is left alone: every script answers {'odd', name} then, and has done nothing.
--
-- The STRING is `head` .. `middle` .. `tail` .. token .. '}' of the hash, or it is somebody else's. A lease whose STRING is
-- gone while its `depth` is above 0 has ended without anybody saying so. `by` is the host where the holder was last heard.
local lock, state, fence = KEYS[1], KEYS[2], KEYS[3]
local fields = { 'session', 'owner', 'token', 'depth', 'request', 'first', 'ttl', 'head', 'middle', 'tail', 'line', 'forced', 'by' }

-- Whether an answer is that something else than expected lies there. Any other error is for whoever asked.
local function is_odd(answer) return type(answer) == 'table' and answer.err and answer.err:find('WRONGTYPE', 1, true) end

local s = {}
local values = redis.pcall('HMGET', state, unpack(fields))
if is_odd(values) then return { 'odd', state } end
if values.err then return values end
for i, value in ipairs(values) do s[fields[i]] = value or nil end
s.depth = tonumber(s.depth or '0')

local function text_of(s) return s.head .. s.middle .. s.tail .. s.token .. '}' end

-- What is no text there is another program's lock all the same.
local text = redis.pcall('GET', lock)
if is_odd(text) then text = '' end
if type(text) == 'table' then return text end
local held = s.depth > 0 and text == text_of(s)

-- A lease as hosts read it.
local function lease(s)
  local left = 0
  if s.depth > 0 then left = redis.call('PTTL', lock) end
  return { text_of(s), s.depth, s.ttl, left }
end

-- Nobody holds the lease of this token; 1 if whoever ended it, or took the lock after it, says so. Without a word of it the
-- server has forgotten it.
local function no(token)
  local last, token = tonumber(s.token or '0'), tonumber(token) or 0
  return { 'no', (last > token or last == token and s.depth == 0) and 1 or 0 }
end

-- What is remembered of a lease that has ended: long enough for whoever missed the answer to ask again.
local function keep()
  if s.depth > 0 then redis.call('PERSIST', state) else redis.call('PEXPIRE', state, 60000) end
end

local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What was forced in the last minute: the request's name, when, and the answer. It outlives the lease that is taken next, so
-- that a repeat which comes late does not take that away.
local function forced_lately()
  local forced = s.forced and cjson.decode(s.forced)
  if forced and forced[2] + 60000 > milliseconds() then return forced end
end

-- Whoever waits, from the head: name, owner, and until when it is believed to.
local function living()
  local now, line = milliseconds(), {}
  if s.line then
    for _, waiter in ipairs(cjson.decode(s.line)) do
      if waiter[3] > now then line[#line + 1] = waiter end
    end
  end
  return line, now
end

local function set_line(line)
  if #line > 0 then redis.call('HSET', state, 'line', cjson.encode(line)) else redis.call('HDEL', state, 'line') end
end

-- Tells every host that the lock is free and whose turn it is. A user who may not publish delays the others, no more.
local function tell(channel, message, text)
  local next = living()[1]
  redis.pcall('PUBLISH', channel, (next and next[1] or '') .. '\n' .. message .. '\n' .. text)
end

-- Counts the token on: above everything given here, everything that the host has seen, and the time. Where the count was
-- lost, with everything or with the end of it, the time is ahead of every token that was given under it: no lock is given on
-- in every millisecond. So no token comes twice, and none is below one that another host has seen. Nothing, if what lies
-- there is no count, or one so great that the next one cannot be told from it.
local function next_token(floor)
  local count = redis.pcall('GET', fence)
  local given = not count and 0 or type(count) == 'string' and count:match('^%d+$') and tonumber(count)
  if not given or given >= 2^53 then return nil end
  local least = math.max(given, tonumber(floor), tonumber(s.token or '0'), milliseconds())
  local token = string.format('%.0f', least + 1)
  redis.call('SET', fence, token)
  return token
end
