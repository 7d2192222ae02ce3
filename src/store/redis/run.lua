-- Stands before each script of the store.
-- Runs a command. Where the user may not, the error names the command, which the server's own does not.
local function run(name, ...)
  local answer = redis.pcall(name, ...)
  if type(answer) == 'table' and answer.err and string.find(answer.err, "can't run this command", 1, true) then
    return { err = "NOPERM this user has no permissions to run the '" .. string.lower(name) .. "' command" }
  end
  return answer
end

-- The text of an error, if it is one.
local function fault(answer) return type(answer) == 'table' and answer.err end

