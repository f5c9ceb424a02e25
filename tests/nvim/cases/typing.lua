--- From a key to ghost text, and what further keys make of it.

local Child = require("child")
local UI = require("ui")
local samples = require("samples")

return {
  {
    "ghost text appears while typing, on the screen too",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:type("/raise Val$<CR>A")
      child:type("u")
      local ghost = child:await_ghost()
      assert(#ghost > 3 and not ghost:find("\n"), vim.inspect(ghost))
      assert(child:screen()[10] == "            raise Valu" .. ghost, child:screen()[10])
      assert(child:lua("return vim.fn.mode()") == "i")
      -- The text itself is untouched.
      assert(child:text() .. "\n" == samples.ACCOUNT:gsub("raise Val\n", "raise Valu\n"))
    end,
  },
  {
    "text that is typed through shortens it; at no redraw is it missing",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:type("/raise Val$<CR>A")
      local ghost = child:await_ghost()
      child:lua([[
        _G.requests = 0
        local client = vim.lsp.get_clients({ name = "lacuna" })[1]
        local request = client.request
        client.request = function(self, method, ...)
          if method == "textDocument/inlineCompletion" then _G.requests = _G.requests + 1 end
          return request(self, method, ...)
        end
      ]])
      local ui = UI.attach(child, 100, 30)
      local row = "            raise Val" .. ghost
      local first = ui:await(1, function(rows)
        return rows[10] == row
      end)
      local typed = math.min(#ghost - 1, 12)
      for i = 1, typed do
        local key = ghost:sub(i, i)
        child:type(key == "<" and "<lt>" or key)
        assert(child:ghost() == ghost:sub(i + 1), ("after %d keys: %s"):format(i, vim.inspect(child:ghost())))
      end
      -- The ruler tells that the last key has been drawn.
      local last = ui:await(first, function(rows)
        return rows[29]:find("10," .. (22 + typed), 1, true) ~= nil
      end)
      assert(last - first >= typed, ("%d frames for %d keys"):format(last - first, typed))
      for i = first, last do
        assert(ui.frames[i][10] == row, ("frame %d of %d: %s"):format(i - first, last - first, ui.frames[i][10]))
      end
      ui:detach()
      local requests = child:lua("return _G.requests")
      assert(requests == 0, requests .. " requests while typing through")
    end,
  },
  {
    "a key that disagrees takes it away and asks anew",
    function(start)
      local child = start()
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      child:type("/raise Val$<CR>A")
      local ghost = child:await_ghost()
      assert(not vim.startswith(ghost, "9"))
      child:type("9")
      local left = child:ghost()
      assert(left ~= ghost and left ~= ghost:sub(2), vim.inspect(left))
      child:type("<BS>")
      -- Nothing unasked behind a deletion.
      child:type("<M-Bslash>")
      assert(vim.startswith(child:await_ghost(), ghost))
    end,
  },
  {
    "multi-byte text left of the cursor",
    function(start)
      for name, line in pairs({
        ["umlauts"] = 'größe = "äöü"; raise Val',
        ["emoji"] = 's = "🦀👩‍👩‍👧"; raise Val',
        ["combining"] = 's = "e\u{301}漢字"; raise Val',
      }) do
        local child = start()
        local text = samples.ACCOUNT:gsub("raise Val\n", line .. "\n")
        local path = child:edit("account.py", text)
        child:await_server()
        child:type("10GA")
        local ghost = child:await_ghost()
        child:type("<Tab>")
        child:write_and_quit()
        assert(Child.bytes(path) == (text:gsub(vim.pesc(line), function() return line .. ghost end)), name)
      end
    end,
  },
  {
    "a file with CRLF keeps it, and completions go in as its lines",
    function(start)
      local child = start()
      local text = samples.BLOCK
      local path = child:edit("account.py", (text:gsub("\n", "\r\n")))
      child:await_server()
      child:type("GA")
      local ghost = child:await_ghost()
      assert(not ghost:find("\r"))
      child:type("<Tab>")
      child:write_and_quit()
      local expected = (text:sub(1, -2) .. ghost .. "\n"):gsub("\n", "\r\n")
      assert(Child.bytes(path) == expected, vim.inspect(Child.bytes(path)))
    end,
  },
  {
    "a file indented with tabs: tabs go in, and look like the ones around them",
    function(start)
      local child = start({ init = "vim.o.tabstop = 4\n" })
      local text = (samples.ACCOUNT .. "\n    def transfer(self, amount):\n        if amount <= 0:\n"):gsub("    ", "\t")
      local path = child:edit("account.py", text)
      child:await_server()
      child:type("GA")
      child:type("<CR><C-u>\t\t\tr")
      child:await_ghost()
      local before, after = child:around()
      local screen = child:screen()
      child:type("<Tab>")
      local whole = child:text()
      assert(vim.startswith(whole, before) and vim.endswith(whole, after) and #whole > #before + #after)
      local inserted = whole:sub(#before + 1, #whole - #after)
      assert(not inserted:find("\n    "), vim.inspect(inserted))
      -- Accepting changes no cell: what was shown is what stands there now.
      local now = child:screen()
      local row = vim.fn.count(before, "\n") + 1
      assert(now[row] == screen[row], now[row] .. " was " .. screen[row])
      child:write_and_quit()
      assert(Child.bytes(path) == whole .. "\n")
    end,
  },
}
