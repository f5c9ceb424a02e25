--- Where nothing is suggested, and whether the user can find out why.

local samples = require("samples")

--- What `:Lacuna why` says.
local function why(child)
  child:lua([[
    _G.why = nil
    require("lacuna.command").why(vim.api.nvim_get_current_buf(), function(text) _G.why = text end)
  ]])
  return child:wait("reason", function()
    local text = child:lua("return _G.why")
    return text ~= vim.NIL and text
  end)
end

local function expect(child, code)
  local text = why(child)
  assert(text:find("(" .. code .. ")", 1, true), text)
  assert(child:ghost() == nil)
end

return {
  {
    "a buffer whose language changes is told again under its new one",
    function(start)
      local child = start({ options = { settings = { show = { disabled_languages = { "go" } } } } })
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:lua("vim.bo.filetype = 'go'")
      child:type("10GA")
      child:wait("reason", function()
        return why(child):find("(language-off)", 1, true)
      end)
      child:type("<Esc>")
      child:lua("vim.bo.filetype = 'python'")
      child:type("10GA")
      child:await_ghost()
    end,
  },
  {
    "read-only buffers, scratch buffers and diffs are left alone",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:lua("vim.bo.readonly = true")
      child:type("10GA")
      expect(child, "not-this-editor")
      child:type("<Esc>")
      child:lua("vim.bo.readonly = false; vim.wo.diff = true")
      child:type("10GA")
      expect(child, "not-this-editor")
      child:type("<Esc>")
      child:lua("vim.wo.diff = false; vim.cmd.new(); vim.bo.buftype = 'nofile'")
      child:type("ifor i in ran")
      expect(child, "not-this-editor")
    end,
  },
  {
    "file types that the user turned off",
    function(start)
      local child = start({ options = { filetypes = { python = false } } })
      child:edit("account.py", samples.ACCOUNT)
      child:type("10GA")
      expect(child, "language-off")
      assert(#child:servers() == 0, "no server is started for it")
    end,
  },
  {
    "reasons of the server: a language that is off, a file of secrets, a file too large",
    function(start)
      local child = start({ options = { settings = { show = { disabled_languages = { "python" } }, context = { max_file_bytes = 1024 } } } })
      for name, code in pairs({ ["a.py"] = "language-off", [".env"] = "ignored-path", ["big.rs"] = "file-too-large" }) do
        child:type("<Esc>")
        child:edit(name, ("let x = 1;\n"):rep(200))
        child:await_server()
        child:type("Golet y")
        child:wait("answer", function()
          return not why(child):find("no-trigger", 1, true)
        end)
        expect(child, code)
      end
    end,
  },
  {
    "a language that the model was not trained for is turned on by a command, and off",
    function(start)
      local child = start()
      child:edit("a.lua", "local function add(a, b)\n  return a + b\nend\n\nlocal function sub(a, b)\n  return \nend\n")
      child:await_server()
      child:type("6GA")
      child:wait("reason", function()
        return why(child):find("(language-off)", 1, true)
      end)
      assert(why(child):find(":Lacuna language on", 1, true))
      child:type("<Esc>")
      child:lua("vim.cmd('Lacuna language on')")
      child:type("A")
      child:wait("answer", function()
        return not why(child):find("(language-off)", 1, true)
      end)
      child:type("<Esc>")
      child:lua("vim.cmd('Lacuna language off')")
      child:type("A ")
      child:wait("reason", function()
        return why(child):find("(language-off)", 1, true)
      end)
      local kept = child:lua("return require('lacuna.server').kept_languages()")
      assert(vim.list_contains(kept.disabled_languages, "lua") and vim.list_contains(kept.languages, "trained"), vim.inspect(kept))
    end,
  },
  {
    "paused here, for the language, everywhere; and resumed",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      for scope, code in pairs({ here = "paused-here", language = "paused-language", all = "paused" }) do
        child:lua("vim.cmd('Lacuna pause ' .. ...)", scope)
        child:type("10GA")
        child:wait("pause", function()
          return why(child):find("(" .. code .. ")", 1, true)
        end)
        assert(child:ghost() == nil)
        assert(child:lua("return require('lacuna').statusline()") == "lacuna: paused")
        child:type("<Esc>")
        child:lua("vim.cmd('Lacuna resume ' .. ...)", scope)
        child:type("10GA")
        child:await_ghost()
        child:type("<Esc>")
      end
    end,
  },
  {
    "snoozed for minutes: nothing unasked, asking is answered, and it is ended",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:lua("vim.cmd('Lacuna snooze 5')")
      child:type("10GA")
      child:wait("snooze", function()
        return why(child):find("(snoozed)", 1, true)
      end)
      assert(child:ghost() == nil)
      assert(child:lua("return require('lacuna').statusline()"):find("^lacuna: snoozed until %d%d:%d%d$"))
      child:type("<M-Bslash>")
      child:await_ghost()
      child:type("<Esc>")
      child:lua("vim.cmd('Lacuna status')")
      child:wait("status", function()
        return child:lua("return vim.fn.execute('messages')"):find("snoozed until %d%d:%d%d")
      end)
      child:lua("vim.cmd('Lacuna snooze 0')")
      child:type("A")
      child:await_ghost()
      child:type("<Esc>")
      for _, wrong in ipairs({ "-1", "soon", "1441" }) do
        child:lua("pcall(vim.cmd, 'Lacuna snooze ' .. ...)", wrong)
        local messages = child:lua("return vim.fn.execute('messages')")
        assert(messages:find(('snooze "%s": say minutes'):format(wrong), 1, true), messages)
      end
    end,
  },
  {
    "comments and strings can be left out",
    function(start)
      local show = { in_comments = "explicit", in_strings = false }
      local child = start({ options = { settings = { show = show } } })
      child:edit("a.py", "x = 1\n# a no\ny = \"so\"\n")
      child:await_server()
      child:type("2GA")
      child:wait("reason", function()
        return why(child):find("(in-comment)", 1, true)
      end)
      assert(child:lua("return require('lacuna').statusline()") == "lacuna: not in comments")
      child:type("<Esc>3G$i")
      child:wait("reason", function()
        return why(child):find("(in-string)", 1, true)
      end)
      child:type("<M-Bslash>")
      assert(child:ghost() == nil)
    end,
  },
  {
    "the statusline tells what the last answer cost",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:type("10GA")
      child:await_ghost()
      -- The server tells beside the answer, not with it.
      local line = child:wait("cost", function()
        local text = child:lua("return require('lacuna').statusline()")
        return text:find("^lacuna: %d+ ms, %d+ tokens cached, %d+ new$") and text
      end)
      -- Redraws when the server says something new.
      assert(child:lua("vim.o.statusline = '%!v:lua.require(\"lacuna\").statusline()'; vim.o.laststatus = 2; vim.cmd.redraw(); return 1") == 1)
      assert(child:screen()[29] == line, child:screen()[29])
    end,
  },
  {
    ":Lacuna says what it does not know; status and log work",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:type("10GA")
      child:await_ghost()
      child:type("<Esc>")
      child:lua("vim.cmd('Lacuna status')")
      child:wait("status", function()
        return child:lua("return vim.fn.execute('messages')"):find("model embedded: ready", 1, true)
      end)
      child:lua("pcall(vim.cmd, 'Lacuna dance')")
      child:lua("pcall(vim.cmd, 'Lacuna pause nowhere')")
      local messages = child:lua("return vim.fn.execute('messages')")
      assert(messages:find('no command "dance"', 1, true) and messages:find('"nowhere"', 1, true), messages)
      assert(vim.deep_equal(child:lua("return vim.fn.getcompletion('Lacuna p', 'cmdline')"), { "pause" }))
      assert(vim.deep_equal(child:lua("return vim.fn.getcompletion('Lacuna pause ', 'cmdline')"), { "here", "language", "all" }))
      child:lua("vim.cmd('Lacuna log')")
      assert(child:lua("return vim.api.nvim_buf_get_name(0)"):find("lsp.log", 1, true))
    end,
  },
}
