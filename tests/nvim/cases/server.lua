--- The server dies, hangs, is missing, or is started in another way.

local samples = require("samples")

local function messages(child)
  return child:lua("return vim.fn.execute('messages')")
end

---@param pid integer
local function assert_ends(pid)
  assert(vim.wait(10000, function()
    return vim.uv.kill(pid, 0) ~= 0
  end, 10), "still running")
end

--- Kills a server and waits for the one that takes its place.
---@param pid integer
local function kill_and_await_next(child, pid)
  vim.uv.kill(pid, "sigkill")
  child:wait("new server", function()
    local now = child:servers()[1]
    return now and now ~= pid and child:await_server()
  end)
end

return {
  {
    "killed in the middle of a request: it comes back, nothing is lost",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      local pid = child:await_server()
      child:type("10GA")
      local ghost = child:await_ghost()
      -- Stopped, it cannot answer what is asked next.
      vim.uv.kill(pid, "sigstop")
      child:type("9")
      child:await_no_ghost()
      local text = child:text()
      kill_and_await_next(child, pid)
      assert(child:text() == text)
      child:type("<BS>")
      child:type("<M-Bslash>")
      assert(vim.startswith(child:await_ghost(), ghost))
      child:type("<Tab>")
      assert(child:around():sub(-#ghost) == ghost)
      assert(not messages(child):find("Error executing"), messages(child))
    end,
  },
  {
    "a snooze survives the server",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      local pid = child:await_server()
      child:lua("vim.cmd('Lacuna snooze 30')")
      kill_and_await_next(child, pid)
      child:type("10GA")
      child:wait("snooze", function()
        return child:lua("return require('lacuna').statusline()"):find("^lacuna: snoozed until %d%d:%d%d$")
      end)
      assert(child:ghost() == nil)
    end,
  },
  {
    "pauses survive the server",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      local pid = child:await_server()
      child:lua("vim.cmd('Lacuna pause language')")
      kill_and_await_next(child, pid)
      child:type("10GA")
      child:wait("pause", function()
        return child:lua("return require('lacuna').statusline()") == "lacuna: paused"
      end)
      assert(child:ghost() == nil)
    end,
  },
  {
    "a server that keeps ending is given up with one message; :Lacuna restart tries again",
    function(start)
      local child = start({ options = { cmd = { "sh", "-c", 'test -e "$HOME/good" && exec "$LACUNA_BIN" lsp; exit 3' } } })
      child:lua("for i = 1, 5 do require('lacuna.server').backoff_ms[i] = 1 end")
      child:edit("account.py", samples.ACCOUNT)
      child:wait("message", function()
        return messages(child):find("keeps ending", 1, true)
      end)
      local _, count = messages(child):gsub("keeps ending", "")
      assert(count == 1, messages(child))
      vim.fn.writefile({}, child.dir .. "/good")
      child:lua("vim.cmd('Lacuna restart')")
      child:await_server()
      child:type("10GA")
      child:await_ghost()
    end,
  },
  {
    "a missing binary is told once, with the way out",
    function(start)
      local child = start({ options = { cmd = { "/nowhere/lacuna", "lsp" } } })
      child:edit("account.py", samples.ACCOUNT)
      child:type("10GAx<Esc>Ay<Esc>")
      local _, count = messages(child):gsub("/nowhere/lacuna is not an executable", "")
      assert(count == 1, messages(child))
      assert(child:lua("return require('lacuna').statusline()") == "lacuna: not running")
    end,
  },
  {
    "an older server, which knows nothing of reasons and pauses: ghost text all the same, and it is told",
    function(start)
      local older = os.getenv("LACUNA_ROOT") .. "/tests/older_server.py"
      local child = start({ options = { cmd = { "python3", older, os.getenv("LACUNA_BIN"), "lsp" } } })
      child:edit("account.py", samples.ACCOUNT)
      child:wait("server", function()
        return child:lua([[
          local client = vim.lsp.get_clients({ name = "lacuna" })[1]
          return client ~= nil and client.initialized == true and client.server_info.version == "0.0.1"
        ]])
      end)
      child:type("10GA")
      local ghost = child:await_ghost()
      child:type("<Tab>")
      assert(child:around():sub(-#ghost) == ghost)
      child:lua("_G.why = nil; require('lacuna').dismiss(); require('lacuna.command').why(0, function(text) _G.why = text end)")
      local why = child:wait("answer", function()
        local text = child:lua("return _G.why")
        return text ~= vim.NIL and text
      end)
      assert(why:find("(older-server)", 1, true), why)
      assert(child:lua("return require('lacuna').statusline()") == "lacuna")
      child:lua("vim.cmd('Lacuna pause all')")
      child:wait("message", function()
        return messages(child):find("older", 1, true)
      end)
      child:type("<C-u>            raise Val")
      child:await_ghost()
    end,
  },
  {
    "an editor that is killed in the middle of a request takes its server with it",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      local pid = child:await_server()
      child:type("10GA")
      child:await_ghost()
      -- Stopped, the server finds request and end at the same time when it goes on.
      vim.uv.kill(pid, "sigstop")
      child:type("9")
      vim.uv.kill(vim.fn.jobpid(child.channel), "sigkill")
      assert(vim.fn.jobwait({ child.channel }, 10000)[1] ~= -1)
      vim.uv.kill(pid, "sigcont")
      assert_ends(pid)
    end,
  },
  {
    "the model of the settings is the one that is loaded",
    function(start)
      local child = start({ options = { settings = { model = { path = "/nowhere/model" } } } })
      child:lua("for i = 1, 5 do require('lacuna.server').backoff_ms[i] = 1 end")
      child:edit("account.py", samples.ACCOUNT)
      child:wait("message", function()
        return messages(child):find("keeps ending", 1, true)
      end)
      local log = table.concat(vim.fn.readfile(child:lua("return vim.lsp.log.get_filename()")), "\n")
      assert(log:find("/nowhere/model", 1, true) and log:find("does not exist", 1, true), log)
    end,
  },
  {
    "leaving the editor ends the server",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      local pid = child:await_server()
      child:write_and_quit()
      assert_ends(pid)
    end,
  },
  {
    ":checkhealth finds nothing wrong",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:lua("vim.cmd('checkhealth lacuna')")
      local report = child:text()
      assert(report:find("the self-test passed", 1, true) and report:find("the server is running", 1, true), report)
      assert(not report:find("ERROR", 1, true), report)
    end,
  },
  {
    ":checkhealth says when setup() was never called",
    function(start)
      local child = start({
        plugin = false,
        init = ("vim.opt.runtimepath:append(%q)\nvim.cmd.runtime('plugin/lacuna.lua')\n"):format(os.getenv("LACUNA_ROOT") .. "/editors/nvim"),
      })
      child:edit("account.py", samples.ACCOUNT)
      child:lua("require('lacuna.config').current.cmd = { vim.env.LACUNA_BIN, 'lsp' }; vim.cmd('checkhealth lacuna')")
      local report = child:text()
      assert(report:find("ERROR", 1, true) and report:find("setup() was never called", 1, true), report)
      local why = child:lua([[
        local told
        require("lacuna.command").why(vim.fn.bufnr("account.py"), function(text) told = text end)
        return told
      ]])
      assert(why:find("setup", 1, true) and why:find("never called", 1, true), why)
    end,
  },
  {
    "nothing that lies in a folder reaches the plugin's settings or is started",
    function(start)
      -- Written before Neovim looks for local configuration: at its start, after the user's init.lua.
      local child = start({
        init = [[
          local work, ran = vim.env.TEST_HOME .. "/work/", vim.env.TEST_HOME .. "/ran"
          local theirs = ("#!/bin/sh\ntouch %s\nexec %s \"$@\"\n"):format(ran, vim.env.LACUNA_BIN)
          local json = vim.json.encode({ lacuna = { cmd = { work .. "lacuna", "lsp" } }, ["lacuna.server.path"] = work .. "lacuna" })
          local lua = ("vim.fn.writefile({}, %q)\nrequire('lacuna').setup({ cmd = { %q, 'lsp' } })"):format(ran, work .. "lacuna")
          local files = { lacuna = theirs, [".nvim.lua"] = lua, [".nvimrc"] = "lua " .. lua:gsub("\n", " "), [".exrc"] = "lua " .. lua:gsub("\n", " ") }
          for _, name in ipairs({ "lsp/lacuna.lua", ".nvim/lacuna.lua", ".lacuna.lua", "lua/lacuna/config.lua", "plugin/lacuna.lua" }) do
            files[name] = lua
          end
          for _, name in ipairs({ ".vscode/settings.json", ".neoconf.json", ".nlsp-settings/lacuna.json", ".vim/coc-settings.json" }) do
            files[name] = json
          end
          for name, text in pairs(files) do
            vim.fn.mkdir(vim.fs.dirname(work .. name), "p")
            vim.fn.writefile(vim.split(text, "\n"), work .. name)
            vim.uv.fs_chmod(work .. name, tonumber("755", 8))
          end
        ]],
      })
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:type("10GA")
      child:await_ghost()
      assert(vim.uv.fs_stat(child.dir .. "/work/lsp/lacuna.lua"), "the files are there")
      assert(child:lua("return require('lacuna.config').current.cmd[1]") == os.getenv("LACUNA_BIN"))
      -- A program of the server's name in the folder is not what the name means.
      child:lua("require('lacuna').setup({ cmd = { 'lacuna', 'lsp' } }); vim.cmd('Lacuna restart')")
      child:wait("word of the missing program", function()
        return messages(child):find("not an executable", 1, true)
      end)
      assert(not vim.uv.fs_stat(child.dir .. "/ran"), "something of theirs ran")
    end,
  },
  {
    "a typo in lacuna.toml is named by :Lacuna why and :checkhealth, and suggestions come all the same",
    function(start)
      local child = start()
      vim.fn.writefile({ "[show]", "line_token = 7", 'disabled_languages = ["pyhton"]' }, child.dir .. "/work/lacuna.toml")
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      local why = child:wait("a reason", function()
        child:lua([[require("lacuna.command").why(0, function(text) vim.g.told = text end)]])
        local told = child:lua("return vim.g.told")
        return told ~= vim.NIL and told:find("line_token", 1, true) and told
      end)
      assert(why:find("lacuna.toml:2: show.line_token is not a setting: did you mean show.line_tokens?", 1, true), why)
      assert(why:find('"pyhton": did you mean "python"?', 1, true), why)
      child:lua("vim.cmd('checkhealth lacuna')")
      local report = child:text()
      assert(report:find("did you mean show.line_tokens", 1, true) and report:find("the self-test passed", 1, true), report)
    end,
  },
}
