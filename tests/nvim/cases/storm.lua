--- Two hundred keys a second, as a held key or a macro makes them. LACUNA_TEST_STORM_SECONDS says for how long [3].

local Child = require("child")
local samples = require("samples")

local KEYS_A_SECOND = 200

--- Resident memory of a process in megabytes.
local function resident(pid)
  local status = table.concat(vim.fn.readfile(("/proc/%d/status"):format(pid)), "\n")
  return assert(tonumber(status:match("VmRSS:%s*(%d+) kB"))) / 1024
end

return {
  {
    "two hundred keys a second: nothing hangs, no key is lost, memory returns",
    function(start)
      local seconds = assert(tonumber(os.getenv("LACUNA_TEST_STORM_SECONDS") or "3"))
      local child = start()
      local path = child:edit("account.py", samples.ACCOUNT)
      local pid = child:await_server()
      child:lua("vim.bo.indentexpr, vim.bo.autoindent, vim.bo.textwidth = '', false, 0")
      -- Lines that come and go, so that memory has no reason to grow: typed, and rubbed out again.
      local line = "total = self.balance + amount  # and so on"
      local keys = {}
      for key in line:gmatch(".") do
        keys[#keys + 1] = key
      end
      for _ = 1, #line do
        keys[#keys + 1] = "<BS>"
      end
      child:type("Go")
      local early
      local began = vim.uv.hrtime()
      local count = seconds * KEYS_A_SECOND
      for i = 0, count - 1 do
        -- An appointment, not a wait: a sender that is late catches up.
        local due = i * 1000 / KEYS_A_SECOND - (vim.uv.hrtime() - began) / 1e6
        if due > 0 then
          vim.uv.sleep(math.floor(due))
        end
        vim.rpcrequest(child.channel, "nvim_input", keys[i % #keys + 1])
        if i == math.floor(count / 4) then
          early = resident(pid)
        end
      end
      local typed = count % #keys
      local left = typed <= #line and line:sub(1, typed) or line:sub(1, #keys - typed)
      assert(child:lua("return vim.api.nvim_get_current_line()") == left)
      -- The server answers for the text as it is now.
      child:type("<C-u>raise Val")
      assert(child:await_ghost():find("^ueError"))
      local late = resident(pid)
      assert(late < early + 60, ("%.0f MB after a quarter, %.0f MB after all"):format(early, late))
      assert(child:lua("return vim.v.errmsg") == "", child:lua("return vim.v.errmsg"))
      child:write_and_quit()
      assert(Child.bytes(path) == samples.ACCOUNT .. "raise Val\n")
    end,
  },
}
