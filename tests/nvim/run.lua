--- Runs every case in cases/ and prints `N passed, N failed`. Start with `tests/nvim/run`; a Lua pattern as argument picks cases by name.

local here = assert(os.getenv("LACUNA_ROOT")) .. "/tests/nvim/"
package.path = here .. "?.lua;" .. package.path

local Child = require("child")
local only = _G.arg[1]

---@type { name: string, run: fun(start: fun(spec?: table): Child) }[]
local cases = {}
for _, path in ipairs(vim.fn.sort(vim.fn.glob(here .. "cases/*.lua", true, true))) do
  local group = vim.fn.fnamemodify(path, ":t:r")
  for _, case in ipairs(dofile(path)) do
    cases[#cases + 1] = { name = group .. ": " .. case[1], run = case[2] }
  end
end

local passed, failed = 0, 0
for _, case in ipairs(cases) do
  if not only or case.name:find(only) then
    local children = {}
    local began = vim.uv.hrtime()
    local ok, err = xpcall(case.run, debug.traceback, function(spec)
      children[#children + 1] = Child.start(spec)
      return children[#children]
    end)
    for _, child in ipairs(children) do
      child:stop()
      local said = vim.trim(table.concat(child.said, ""))
      if ok and said ~= "" then
        ok, err = false, "the editor said on standard error: " .. said
      end
    end
    local ms = (vim.uv.hrtime() - began) / 1e6
    if ok then
      passed = passed + 1
      io.write(("ok    %s (%.0f ms)\n"):format(case.name, ms))
    else
      failed = failed + 1
      io.write(("FAIL  %s (%.0f ms)\n%s\n"):format(case.name, ms, err))
    end
  end
end
io.write(("%d passed, %d failed\n"):format(passed, failed))
if passed == 0 then
  io.write("no case was run\n")
end
os.exit((failed == 0 and passed > 0) and 0 or 1)
