--- A real editor under test: a child Neovim in a home of its own, driven by key strokes over RPC.

local Child = {}
Child.__index = Child

local root = assert(os.getenv("LACUNA_ROOT"), "LACUNA_ROOT: run tests/nvim/run")
local binary = assert(os.getenv("LACUNA_BIN"), "LACUNA_BIN: run tests/nvim/run")
--- Nothing that is waited for takes this long.
local LIMIT_MS = 30000

--- The user's init.lua: the plugin lies in pack/, as the README says.
local INIT = [[
vim.o.packpath = vim.env.TEST_HOME .. "/site," .. vim.o.packpath
vim.o.swapfile = false
-- Looking for a Python takes seconds and nothing here wants one.
vim.g.loaded_python3_provider = 0
vim.o.shortmess = vim.o.shortmess .. "I"
]]

---@class Child
---@field dir string    working folder, removed at the end
---@field channel integer

--- Starts an editor. `options` go to setup(); `init` is Lua that runs before it; `plugin = false` leaves the plugin out.
---@param spec? { options?: table, init?: string, plugin?: boolean, settings?: table }
---@return Child
function Child.start(spec)
  spec = spec or {}
  local dir = vim.fn.resolve(vim.fn.tempname())
  vim.fn.mkdir(dir .. "/site/pack/test/start", "p")
  vim.fn.mkdir(dir .. "/work", "p")
  local init = INIT .. (spec.init or "")
  if spec.plugin ~= false then
    assert(vim.uv.fs_symlink(root .. "/editors/nvim", dir .. "/site/pack/test/start/lacuna"))
    local options = vim.tbl_deep_extend("force", {
      cmd = { binary, "lsp" },
      -- No deadline: nothing may depend on how fast the machine is. What is shown is looked at here, not how sure it is.
      settings = { latency = { deadline_ms = 0 }, show = { block_tokens = 40, min_confidence = 0 } },
    }, spec.options or {})
    vim.fn.writefile({ vim.json.encode(options) }, dir .. "/options.json")
    init = init
      .. 'vim.cmd.packadd("lacuna")\nrequire("lacuna").setup(vim.json.decode(table.concat(vim.fn.readfile(vim.env.TEST_HOME .. "/options.json"))))\n'
  end
  vim.fn.writefile(vim.split(init, "\n"), dir .. "/init.lua")
  local child = setmetatable({ dir = dir, said = {} }, Child)
  child.channel = vim.fn.jobstart({ vim.v.progpath, "--embed", "--headless", "-u", dir .. "/init.lua", "-i", "NONE", "-n" }, {
    rpc = true,
    cwd = dir .. "/work",
    clear_env = true,
    env = {
      PATH = os.getenv("PATH"),
      HOME = dir,
      TEST_HOME = dir,
      LACUNA_BIN = binary,
      XDG_CONFIG_HOME = dir .. "/config",
      XDG_DATA_HOME = dir .. "/data",
      XDG_STATE_HOME = dir .. "/state",
      XDG_CACHE_HOME = dir .. "/cache",
      LANG = "C.UTF-8",
      TERM = "xterm-256color",
    },
    on_stderr = function(_, data)
      table.insert(child.said, table.concat(data, "\n"))
    end,
    on_exit = function(_, code)
      child.exit_code = code
    end,
  })
  assert(child.channel > 0, "the child did not start")
  local error_message = child:lua('vim.o.columns, vim.o.lines = 100, 30; return vim.v.errmsg')
  assert(error_message == "", error_message)
  return child
end

---@param code string Lua; `...` are the arguments
function Child:lua(code, ...)
  return vim.rpcrequest(self.channel, "nvim_exec_lua", code, { ... })
end

--- Waits for a value that is neither nil nor false.
---@generic T
---@param what string
---@param value fun(): T
---@return T
function Child:wait(what, value)
  local result
  local ok = vim.wait(LIMIT_MS, function()
    result = value()
    return result ~= nil and result ~= false
  end, 4)
  if not ok then
    error(("no %s within %d s; screen:\n%s\nmessages: %s\nLSP log: %s"):format(
      what,
      LIMIT_MS / 1000,
      table.concat(self:screen(), "\n"),
      self:lua("return vim.fn.execute('messages')"),
      self:lua("local p = vim.lsp.get_log_path(); return vim.uv.fs_stat(p) and table.concat(vim.fn.readfile(p, '', -15), '\\n') or ''")
    ), 2)
  end
  return result
end

--- Writes a file into the working folder and edits it.
---@param name string
---@param text string bytes as they shall be on disk
---@return string path
function Child:edit(name, text)
  local path = self.dir .. "/work/" .. name
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  self:lua("vim.cmd.edit(vim.fn.fnameescape(...))", path)
  return path
end

--- The bytes of a file on disk.
---@param path string
---@return string
function Child.bytes(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

--- Presses keys, as nvim_input has them, and waits until the editor has taken them all.
---@param keys string
function Child:type(keys)
  vim.rpcrequest(self.channel, "nvim_input", keys)
  -- Answered in the main loop only after the typeahead is empty.
  self:lua("return 1")
end

--- The suggestion on screen as one text, read back from the marks; nil if there is none.
---@return string?
function Child:ghost()
  local ghost = self:lua([[
    local ns = vim.api.nvim_get_namespaces()["lacuna"]
    if not ns then return nil end
    local mark = vim.api.nvim_buf_get_extmarks(0, ns, 0, -1, { details = true })[1]
    if not mark then return nil end
    local lines = { mark[4].virt_text[1][1] }
    for _, chunks in ipairs(mark[4].virt_lines or {}) do
      lines[#lines + 1] = chunks[1][1]
    end
    return table.concat(lines, "\n")
  ]])
  return ghost ~= vim.NIL and ghost or nil
end

--- Waits for a suggestion.
---@return string
function Child:await_ghost()
  return self:wait("suggestion", function()
    return self:ghost()
  end)
end

--- Waits until no suggestion is on screen.
function Child:await_no_ghost()
  self:wait("end of the suggestion", function()
    return self:ghost() == nil
  end)
end

---@return string buffer text, lines joined by "\n"
function Child:text()
  return self:lua('return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), "\\n")')
end

--- What is left and right of the cursor.
---@return string before, string after
function Child:around()
  local parts = self:lua([[
    local row, col = unpack(vim.api.nvim_win_get_cursor(0))
    local lines = vim.api.nvim_buf_get_lines(0, 0, -1, true)
    local before = vim.list_slice(lines, 1, row - 1)
    before[#before + 1] = lines[row]:sub(1, col)
    local after = { lines[row]:sub(col + 1) }
    vim.list_extend(after, vim.list_slice(lines, row + 1))
    return { table.concat(before, "\n"), table.concat(after, "\n") }
  ]])
  return parts[1], parts[2]
end

--- The screen, row by row.
---@return string[]
function Child:screen()
  return self:lua([[
    vim.cmd.redraw()
    local rows = {}
    for row = 1, vim.o.lines do
      local cells = {}
      for column = 1, vim.o.columns do
        cells[column] = vim.fn.screenstring(row, column)
      end
      rows[row] = (table.concat(cells):gsub("%s+$", ""))
    end
    return rows
  ]])
end

--- Process ids of the language servers that this editor runs.
---@return integer[]
function Child:servers()
  return self:lua([[
    return vim.tbl_filter(function(pid)
      local info = vim.api.nvim_get_proc(pid)
      return info ~= nil and info.name == "lacuna"
    end, vim.api.nvim_get_proc_children(vim.fn.getpid()))
  ]])
end

--- Waits until the server has answered `initialize`, and returns its process id.
---@return integer
function Child:await_server()
  return self:wait("server", function()
    local ready = self:lua([[
      local client = vim.lsp.get_clients({ name = "lacuna" })[1]
      return client ~= nil and client.initialized == true
    ]])
    return ready and self:servers()[1]
  end)
end

--- Ends the editor and removes its folder.
function Child:stop()
  if self.exit_code == nil then
    pcall(vim.rpcnotify, self.channel, "nvim_command", "qall!")
    if vim.fn.jobwait({ self.channel }, 10000)[1] == -1 then
      vim.fn.jobstop(self.channel)
    end
  end
  vim.fn.delete(self.dir, "rf")
end

--- Saves, quits and waits for the end of the process.
function Child:write_and_quit()
  self:type("<Esc>")
  vim.rpcnotify(self.channel, "nvim_command", "wqall")
  assert(vim.fn.jobwait({ self.channel }, LIMIT_MS)[1] == 0, "the editor did not quit")
  self.exit_code = 0
end

return Child
