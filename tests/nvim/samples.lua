--- Code with a place where any code model has something to say.

local M = {}

-- One line is missing after `raise Val` (line 10).
local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))
local file = assert(io.open(here .. "/../samples/account.py", "rb"))
M.ACCOUNT = file:read("*a")
file:close()

--- A block is missing at the end: several lines.
M.BLOCK = "class Tree:\n    def __init__(self, left, right, value):\n        \n"

return M
