-- Takes a waiter out of the line.
--
-- ARGV  1 the waiter's name  2 channel
local line, left = living(), {}
for _, waiter in ipairs(line) do
  if waiter[1] ~= ARGV[1] then left[#left + 1] = waiter end
end
if #left == #line then return 0 end
set_line(left)
s.line = cjson.encode(left)
if not text then tell(ARGV[2], '', '') end
return 1
