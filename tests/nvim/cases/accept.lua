--- What accepting puts into the text, and what it leaves.

local Child = require("child")
local samples = require("samples")

--- Notes everything that the editor tells the server.
local SPY = [[
  _G.sent = {}
  local client = vim.lsp.get_clients({ name = "lacuna" })[1]
  for _, kind in ipairs({ "request", "notify" }) do
    local original = client[kind]
    client[kind] = function(self, method, params, ...)
      table.insert(_G.sent, { method, vim.deepcopy(params) })
      return original(self, method, params, ...)
    end
  end
]]

---@param child Child
---@param method string
---@return table[] the parameters
local function sent(child, method)
  local found = {}
  for _, message in ipairs(child:lua("return _G.sent")) do
    if message[1] == method then
      found[#found + 1] = message[2]
    end
  end
  return found
end

--- An editor with a suggestion at the end of line 10 of the account.
local function at_raise(start, spec)
  local child = start(spec)
  local path = child:edit("account.py", samples.ACCOUNT)
  child:await_server()
  child:lua(SPY)
  child:type("10GA")
  return child, path, child:await_ghost()
end

--- An editor with a suggestion of several lines at the end of the file.
local function at_block(start, spec)
  local child = start(spec)
  local path = child:edit("account.py", samples.BLOCK)
  child:await_server()
  child:lua(SPY)
  child:type("GA")
  local ghost = child:await_ghost()
  assert(ghost:find("\n"), "the model has become laconic: " .. vim.inspect(ghost))
  return child, path, ghost
end

return {
  {
    "Tab accepts exactly what is shown; it is on disk after :w",
    function(start)
      local child, path, ghost = at_raise(start)
      local before, after = child:around()
      child:type("<Tab>")
      assert(child:text() == before .. ghost .. after)
      assert(child:lua("return vim.fn.mode()") == "i")
      local left = child:around()
      assert(left == before .. ghost, "the cursor is behind what was accepted")
      child:write_and_quit()
      assert(Child.bytes(path) == (samples.ACCOUNT:gsub("raise Val\n", function()
        return "raise Val" .. ghost .. "\n"
      end)))
    end,
  },
  {
    "several lines are accepted as they are shown",
    function(start)
      local child, path, ghost = at_block(start)
      child:type("<Tab>")
      child:write_and_quit()
      assert(Child.bytes(path) == samples.BLOCK:sub(1, -2) .. ghost .. "\n")
    end,
  },
  {
    "a key typed just before Tab, in one burst, is not doubled",
    function(start)
      local child, _, ghost = at_raise(start)
      local before, after = child:around()
      child:type(ghost:sub(1, 2) .. "<Tab>")
      assert(child:text() == before .. ghost .. after, child:text())
    end,
  },
  {
    "word by word; what is left stays shown, and nothing is asked",
    function(start)
      local child, _, ghost = at_raise(start)
      local before, after = child:around()
      local taken, presses = "", 0
      while taken ~= ghost do
        child:type("<M-Right>")
        presses = presses + 1
        local left = child:around()
        local now = left:sub(#before + 1)
        assert(vim.startswith(now, taken) and #now > #taken, vim.inspect({ taken, now }))
        assert(vim.startswith(ghost, now), vim.inspect({ ghost, now }))
        -- A word at most: no letter after white space after a letter.
        assert(not now:sub(#taken + 1):find("%w%s+%w"), vim.inspect(now:sub(#taken + 1)))
        taken = now
        if taken ~= ghost then
          assert(child:ghost() == ghost:sub(#taken + 1))
          assert(#sent(child, "textDocument/inlineCompletion") == 1)
        end
      end
      assert(presses > 2, presses .. " presses")
      assert(child:text() == before .. ghost .. after)
      local partial = sent(child, "textDocument/didPartiallyAcceptCompletion")
      assert(#partial == presses - 1)
      for i, event in ipairs(partial) do
        assert(event.acceptedLength > (i > 1 and partial[i - 1].acceptedLength or 0))
        assert(event.item.insertText:sub(1, 3) == "Val")
      end
      local commands = sent(child, "workspace/executeCommand")
      assert(#commands == 1 and commands[1].command == "lacuna.accepted", vim.inspect(commands))
    end,
  },
  {
    "line by line",
    function(start)
      local child, _, ghost = at_block(start)
      local before = child:around()
      child:type("<M-l>")
      local first = ghost:match("^[^\n]*")
      assert(child:around() == before .. first)
      assert(child:ghost() == ghost:sub(#first + 1))
      child:type("<M-l>")
      local second = ghost:match("^[^\n]*\n[^\n]*")
      assert(child:around() == before .. second)
    end,
  },
  {
    "undo takes back what was accepted and nothing else, in one step",
    function(start)
      local child, _, ghost = at_block(start)
      child:type("i")
      ghost = child:await_ghost()
      local typed = child:text()
      child:type("<Tab>x")
      local before, after = child:around()
      assert(#before > #typed - #after)
      child:type("<Esc>u")
      assert(child:text() == before:sub(1, -2) .. after, "first the x that was typed afterwards")
      child:type("u")
      assert(child:text() == typed, "then the suggestion: " .. ghost)
      child:type("u")
      assert(child:text() .. "\n" == samples.BLOCK, "then what was typed before")
      child:type("<C-r><C-r><C-r>")
      assert(child:text() == before .. after)
    end,
  },
  {
    "what was shown is told once, what was accepted by its own command",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:lua(SPY)
      child:type("10GA")
      child:await_ghost()
      child:type("<Tab>")
      local shown = sent(child, "textDocument/didShowCompletion")
      local commands = sent(child, "workspace/executeCommand")
      assert(#shown == 1 and #commands == 1)
      assert(vim.deep_equal(shown[1].item.command.arguments, commands[1].arguments))
      assert(#sent(child, "textDocument/didPartiallyAcceptCompletion") == 0)
    end,
  },
  {
    "alternatives: asked for by key, cycled both ways, the one on screen is accepted",
    function(start)
      local child, _, first = at_raise(start)
      local before, after = child:around()
      child:type("<M-]>")
      child:wait("alternatives", function()
        return child:screen()[10]:find("1/%d")
      end)
      child:type("<M-]>")
      local second = child:ghost()
      assert(second ~= first and child:screen()[10]:find("2/%d"), child:screen()[10])
      child:type("<M-[>")
      assert(child:ghost() == first)
      child:type("<M-[>")
      local last = child:ghost()
      assert(last ~= first)
      child:type("<Tab>")
      assert(child:text() == before .. last .. after)
    end,
  },
  {
    "accepting is one undo step, whatever was typed around it",
    function(start)
      local child, _, ghost = at_raise(start)
      local before, after = child:around()
      child:type(ghost:sub(1, 1))
      child:await_ghost()
      child:type("<Tab>")
      assert(child:text() == before .. ghost .. after)
      child:type("  # so<Esc>u")
      assert(child:text() == before .. ghost .. after, child:text())
      child:type("u")
      assert(child:text() == before .. ghost:sub(1, 1) .. after, child:text())
      child:type("<C-r>")
      assert(child:text() == before .. ghost .. after, child:text())
    end,
  },
  {
    "a block is one undo step, too",
    function(start)
      local child, _, ghost = at_block(start)
      child:type("<Tab><Esc>")
      assert(child:text() == samples.BLOCK:sub(1, -2) .. ghost, child:text())
      child:type("u")
      assert(child:text() == samples.BLOCK:sub(1, -2), child:text())
    end,
  },
  {
    "`.` repeats what was typed and accepted, in pieces too",
    function(start)
      for _, by_words in ipairs({ false, true }) do
        local child, _, ghost = at_raise(start)
        local first = child:lua("return vim.fn.getline(1)")
        while by_words and child:ghost() do
          child:type("<M-Right>")
        end
        child:type(by_words and "!<Esc>" or "<Tab>!<Esc>")
        assert(vim.endswith(child:lua("return vim.fn.getline(10)"), ghost .. "!"), child:text())
        child:type("1G.")
        assert(child:lua("return vim.fn.getline(1)") == first .. ghost .. "!", child:text())
        child:type("2G.")
        assert(vim.endswith(child:lua("return vim.fn.getline(2)"), ghost .. "!"), child:text())
      end
    end,
  },
  {
    "nothing is offered while a macro is recorded or runs",
    function(start)
      local child, _, ghost = at_raise(start)
      child:type("<Esc>qa10GA")
      vim.wait(300)
      assert(child:ghost() == nil)
      assert(#sent(child, "textDocument/inlineCompletion") == 1)
      child:type("<Esc>q")
      child:type("@a")
      assert(child:ghost() == nil)
      child:type("<Esc>10GA")
      assert(child:await_ghost() == ghost)
    end,
  },
  {
    "dismissed stays away until the text changes",
    function(start)
      local child, _, ghost = at_raise(start)
      child:type("<C-]>")
      assert(child:ghost() == nil)
      child:type("<Left><Right>")
      child:type("(")
      child:type("<BS>")
      child:type("<M-Bslash>")
      assert(vim.startswith(child:await_ghost(), ghost))
    end,
  },
  {
    "what was dismissed is not offered again at its place, unless asked for by hand",
    function(start)
      local child, _, ghost = at_raise(start)
      local seen = { ghost }
      -- Another line may be offered instead, and be dismissed.
      for _ = 1, 20 do
        child:type("<C-]>")
        child:type("<Esc>A")
        local answer = child:wait("answer", function()
          return child:ghost() or child:lua("return require('lacuna').statusline()") == "lacuna: dismissed here"
        end)
        if answer == true then
          break
        end
        assert(not vim.list_contains(seen, answer), answer .. " again")
        seen[#seen + 1] = answer
      end
      assert(child:lua("return require('lacuna').statusline()") == "lacuna: dismissed here")
      child:type("<M-Bslash>")
      assert(vim.startswith(child:await_ghost(), ghost))
    end,
  },
  {
    "nothing comes unasked after an undo, until something is typed",
    function(start)
      local child, _, ghost = at_raise(start)
      local function quiet()
        child:wait("reason", function()
          return child:lua("return require('lacuna').statusline()") == "lacuna: taken back"
        end)
        assert(child:ghost() == nil)
      end
      child:type("<Tab>")
      child:type("<Esc>uA")
      quiet()
      child:type("u")
      assert(child:await_ghost() ~= ghost)
      child:type("<BS>")
      child:type("<M-Bslash>")
      assert(vim.startswith(child:await_ghost(), ghost))
    end,
  },
  {
    "leaving insert mode takes it away, however it is left",
    function(start)
      for _, key in ipairs({ "<Esc>", "<C-c>", "<C-o>" }) do
        local child = at_raise(start)
        child:type(key)
        assert(child:ghost() == nil, key)
      end
    end,
  },
}
