--- A key without suggestion does what it did before, whoever mapped it and whenever.

local samples = require("samples")

--- Opens the account at a place where nothing is suggested by itself, or with a suggestion on screen.
local function open(start, spec)
  local child = start(spec)
  child:edit("account.py", samples.ACCOUNT)
  child:await_server()
  return child
end

--- Presses Tab in an empty buffer of its own and returns its text.
local function tab_in_silence(child)
  child:lua("vim.cmd.enew({ bang = true })")
  child:lua("vim.cmd('Lacuna pause all')")
  child:type("i<Tab>")
  return child:text()
end

return {
  {
    "Tab without mapping indents",
    function(start)
      assert(tab_in_silence(start()) == "\t")
      assert(tab_in_silence(start({ init = "vim.o.expandtab = true; vim.o.shiftwidth = 4; vim.o.softtabstop = 4\n" })) == "    ")
    end,
  },
  {
    "Tab runs the user's mapping: before setup, after it, expression, of the buffer",
    function(start)
      local before = start({ init = 'vim.keymap.set("i", "<Tab>", "before")\n' })
      assert(tab_in_silence(before) == "before")
      local after = start()
      after:lua('vim.keymap.set("i", "<Tab>", function() return "after" end, { expr = true })')
      assert(tab_in_silence(after) == "after")
    end,
  },
  {
    "the buffer's mapping comes back when the suggestion goes, and only then",
    function(start)
      local child = open(start)
      child:lua('vim.keymap.set("i", "<Tab>", "mine", { buffer = true })')
      child:type("10GA")
      local ghost = child:await_ghost()
      child:type("<Tab>")
      assert(child:around():sub(-#ghost) == ghost)
      child:lua("vim.cmd('Lacuna pause all')")
      child:type(" ")
      child:await_no_ghost()
      child:type("<Tab>")
      assert(child:around():sub(-4) == "mine", child:around())
    end,
  },
  {
    "a key that was not mapped is not mapped afterwards",
    function(start)
      local child = open(start)
      child:type("10GA")
      child:await_ghost()
      local mapped = 'return vim.fn.maparg("<Tab>", "i", false, true).desc or ""'
      assert(child:lua(mapped) == "Lacuna: accept")
      child:type("<Esc>")
      -- The editor's own, for snippets, and for a key of nobody's nothing.
      assert(not child:lua(mapped):find("Lacuna"), child:lua(mapped))
      assert(child:lua('return vim.fn.maparg("<M-l>", "i")') == "")
    end,
  },
  {
    "somebody who maps the key meanwhile keeps it",
    function(start)
      local child = open(start)
      child:type("10GA")
      child:await_ghost()
      child:lua('vim.keymap.set("i", "<Tab>", "theirs", { buffer = true })')
      child:type("<Esc>")
      child:type("A<Tab>")
      assert(child:around():sub(-6) == "theirs", child:around())
    end,
  },
  {
    "while the editor's completion menu is open its keys are its own, and the suggestion stays beside it",
    function(start)
      local child = open(start)
      child:lua('vim.keymap.set("i", "<Tab>", function() return vim.fn.pumvisible() == 1 and "<C-n>" or "<Tab>" end, { expr = true })')
      child:lua('vim.o.completeopt = "menuone,noselect"')
      child:type("10GA")
      local ghost = child:await_ghost()
      child:type("<C-x><C-n>")
      child:wait("menu", function()
        return child:lua("return vim.fn.pumvisible()") == 1
      end)
      assert(child:ghost() == ghost)
      child:type("<Tab>")
      assert(child:around():find("raise ValueError$"), child:around())
      -- What the menu put in agrees with the suggestion: it goes on from there.
      child:type("<C-y>")
      assert(child:await_ghost() == ghost:sub(#"ueError" + 1))
    end,
  },
  {
    "menu = hide: no suggestion while a menu is open, and back when it is closed",
    function(start)
      local child = open(start, { options = { menu = "hide" } })
      child:lua('vim.o.completeopt = "menuone,noselect"')
      child:type("10GA")
      local ghost = child:await_ghost()
      child:type("<C-x><C-n>")
      child:await_no_ghost()
      child:type("<C-e>")
      assert(child:await_ghost() == ghost)
    end,
  },
  {
    "menus of plugins count too",
    function(start)
      for _, module in ipairs({
        'package.loaded["cmp"] = { visible = function() return _G.menu end }',
        'package.loaded["blink.cmp"] = { is_menu_visible = function() return _G.menu end }',
      }) do
        local child = open(start)
        child:lua(module)
        child:type("10GA")
        local ghost = child:await_ghost()
        child:lua('_G.menu = true; vim.keymap.set("i", "<Tab>", "menu")')
        child:type("<Tab>")
        assert(child:around():sub(-4) == "menu", child:around())
        child:lua("_G.menu = false")
        child:type("<BS><BS><BS><BS>")
        child:type("<M-Bslash>")
        assert(vim.startswith(child:await_ghost(), ghost))
        child:type("<Tab>")
        assert(child:around():sub(-#ghost) == ghost)
      end
    end,
  },
  {
    "a menu in a window of its own, with keys of its own in the buffer: it, then the suggestion, then what was there",
    function(start)
      local child = open(start)
      -- As nvim-cmp and blink.cmp do it: a floating window, and a key in the buffer that is put there when inserting begins.
      child:lua([[
        local menu
        package.loaded["blink.cmp"] = { is_menu_visible = function() return menu ~= nil end }
        function _G.open_menu()
          local buf = vim.api.nvim_create_buf(false, true)
          vim.api.nvim_buf_set_lines(buf, 0, -1, true, { "ValueError", "Valid" })
          menu = vim.api.nvim_open_win(buf, false, { relative = "cursor", row = 1, col = 0, width = 12, height = 2, focusable = false })
        end
        function _G.close_menu()
          vim.api.nvim_win_close(menu, true)
          menu = nil
        end
        vim.api.nvim_create_autocmd("InsertEnter", {
          callback = function(event)
            vim.keymap.set("i", "<Tab>", function()
              if menu then
                vim.schedule(_G.close_menu)
                return "ueError"
              end
              return "<Tab>"
            end, { buffer = event.buf, expr = true, desc = "the menu's" })
          end,
        })
      ]])
      child:type("10GA")
      local ghost = child:await_ghost()
      child:lua("_G.open_menu()")
      assert(child:ghost() == ghost, "both are on the screen")
      child:type("<Tab>")
      child:wait("end of the menu", function()
        return #child:lua("return vim.api.nvim_list_wins()") == 1
      end)
      assert(child:around():find("raise ValueError$"), child:around())
      assert(child:await_ghost() == ghost:sub(#"ueError" + 1))
      child:type("<Tab>")
      assert(child:around():sub(-#ghost) == ghost)
      -- Neither menu nor suggestion: the menu's key, which lets it through.
      child:lua("vim.cmd('Lacuna pause all')")
      child:type("<Esc>:set noexpandtab<CR>o<C-u><Tab>")
      assert(child:lua('return vim.fn.maparg("<Tab>", "i", false, true).desc') == "the menu's")
      assert(child:around():sub(-1) == "\t", vim.inspect(child:around()))
    end,
  },
  {
    "keys can be changed and switched off; options with a mistake are named",
    function(start)
      local child = open(start, { options = { keys = { accept = "<C-j>", dismiss = false } } })
      child:type("10GA")
      local ghost = child:await_ghost()
      assert(not child:lua('return vim.fn.maparg("<Tab>", "i", false, true).desc or ""'):find("Lacuna"))
      assert(child:lua('return vim.fn.maparg("<C-]>", "i")') == "")
      child:type("<C-j>")
      assert(child:around():sub(-#ghost) == ghost)
      for options, word in pairs({
        ["{ kyes = {} }"] = "kyes",
        ["{ keys = { acept = 'x' } }"] = "keys.acept",
        ["{ keys = { accept = 3 } }"] = "keys.accept",
        ["{ menu = 'maybe' }"] = "menu",
        ["{ debounce_ms = -1 }"] = "debounce_ms",
        ["{ cmd = 'lacuna lsp' }"] = "cmd",
      }) do
        local err = child:lua("local ok, err = pcall(require('lacuna').setup, " .. options .. "); return not ok and err or ''")
        assert(err:find(word, 1, true), options .. ": " .. err)
      end
    end,
  },
}
