--- Without setup(), beside the editor's own inline completion, and the papers.

local samples = require("samples")

--- Asks by a raw request at the end of line 10 and returns the items.
local function raw_items(child)
  child:lua([[
    _G.answer = nil
    local client = vim.lsp.get_clients({ name = "lacuna" })[1]
    vim.api.nvim_win_set_cursor(0, { 10, 21 })
    local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
    params.position.character = 21
    params.context = { triggerKind = 2 }
    client:request("textDocument/inlineCompletion", params, function(err, result)
      _G.answer = { err and err.message or "", result and result.items or {} }
    end, 0)
  ]])
  local answer = child:wait("answer", function()
    local found = child:lua("return _G.answer")
    return found ~= vim.NIL and found
  end)
  assert(answer[1] == "", answer[1])
  return answer[2]
end

return {
  {
    "the README's vim.lsp.config snippet works without the plugin",
    function(start)
      local readme = table.concat(vim.fn.readfile(os.getenv("LACUNA_ROOT") .. "/editors/nvim/README.md"), "\n")
      local snippet = assert(readme:match("```lua\n(vim%.lsp%.config%(.-)\n```"), "the snippet has gone")
      -- All but the lines for 0.12.
      snippet = snippet:gsub("vim%.lsp%.inline_completion.*", "")
      local child = start({ plugin = false })
      child:lua("vim.env.PATH = vim.fs.dirname(vim.env.LACUNA_BIN) .. ':' .. vim.env.PATH")
      child:lua(snippet)
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      local items = raw_items(child)
      assert(#items == 1 and vim.startswith(items[1].insertText, "Val"), vim.inspect(items))
    end,
  },
  {
    'vim.lsp.enable("lacuna") takes the configuration that the plugin ships',
    function(start)
      local child = start({ plugin = false })
      child:lua("vim.opt.runtimepath:prepend(...)", os.getenv("LACUNA_ROOT") .. "/editors/nvim")
      child:lua("vim.env.PATH = vim.fs.dirname(vim.env.LACUNA_BIN) .. ':' .. vim.env.PATH; vim.lsp.enable('lacuna')")
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      assert(#raw_items(child) == 1)
    end,
  },
  {
    "loaded at the first insert with `opts`, as lazy.nvim does it, the first line is completed already",
    function(start)
      -- What lazy.nvim makes of { dir = …, event = "InsertEnter", opts = {} }: the one module below lua/ is the plugin's.
      local root = os.getenv("LACUNA_ROOT") .. "/editors/nvim"
      local modules = vim.fn.readdir(root .. "/lua")
      assert(vim.deep_equal(modules, { "lacuna" }), vim.inspect(modules))
      local child = start({ plugin = false })
      child:lua(
        [[
        local root, binary = ...
        vim.api.nvim_create_autocmd("InsertEnter", {
          once = true,
          callback = function(event)
            vim.opt.runtimepath:append(root)
            vim.cmd.source(root .. "/plugin/lacuna.lua")
            require("lacuna").setup({ cmd = { binary, "lsp" }, settings = { latency = { deadline_ms = 0 } } })
            -- The event goes on to those who came with it.
            vim.api.nvim_exec_autocmds("InsertEnter", { buffer = event.buf, modeline = false })
          end,
        })
      ]],
        root,
        os.getenv("LACUNA_BIN")
      )
      child:edit("account.py", samples.ACCOUNT)
      child:type("10GA")
      local ghost = child:await_ghost()
      child:type("<Tab>")
      assert(child:around():sub(-#ghost) == ghost)
      assert(child:lua("return vim.fn.exists(':Lacuna')") == 2)
    end,
  },
  {
    "over the editor's inline completion (0.12): what was typed since the answer is not doubled",
    function(start)
      -- A stand-in with the contract of vim.lsp.inline_completion: a current item, get{on_accept}, marks in its namespace.
      local child = start({
        init = [[
          vim.lsp.inline_completion = {
            enable = function(on, filter) _G.enabled = { on, filter.bufnr } end,
            select = function() end,
            get = function(opts)
              if not _G.item then return false end
              local item = _G.item
              _G.item = nil
              vim.api.nvim_buf_clear_namespace(0, vim.api.nvim_get_namespaces()["nvim.lsp.inline_completion"], 0, -1)
              vim.schedule(function()
                local left = opts.on_accept and opts.on_accept(item)
                if opts.on_accept and left == nil then _G.left_to_us = true; return end
                error("the editor would have applied the stale range")
              end)
              return true
            end,
          }
        ]],
      })
      child:edit("account.py", samples.ACCOUNT)
      child:await_server()
      assert(child:lua("return _G.enabled[1]") == true)
      for name, range in pairs({
        ["0.12"] = "{ start = { row = 9, col = 18 }, end_ = { row = 9, col = 21 } }",
        ["later"] = "{ start_row = 9, start_col = 18, end_row = 9, end_col = 21 }",
      }) do
        for piece, expected in pairs({ accept = "ValueError(1)", accept_word = "ValueError" }) do
          child:lua("vim.cmd('edit!')")
          child:type("10GAue")
          -- The answer was for `Val`; `ue` has been typed since.
          child:lua([[
            local ns = vim.api.nvim_create_namespace("nvim.lsp.inline_completion")
            vim.api.nvim_buf_set_extmark(0, ns, 9, 23, { virt_text = { { "Error(1)" } } })
            _G.item = { insert_text = "ValueError(1)", client_id = vim.lsp.get_clients({ name = "lacuna" })[1].id, range = ]] .. range .. [[ }
          ]])
          child:lua("require('lacuna')[...]()", piece)
          child:wait("accept", function()
            return child:lua("return _G.left_to_us") == true
          end)
          local line = child:lua("return vim.api.nvim_get_current_line()")
          assert(line == "            raise " .. expected, name .. " " .. line)
          child:lua("_G.left_to_us = nil")
          child:type("<Esc>")
        end
      end
    end,
  },
  {
    "the help file has a tag for every option and command",
    function(start)
      local child = start()
      child:lua("vim.cmd.helptags(vim.fn.fnamemodify(vim.api.nvim_get_runtime_file('doc/lacuna.txt', false)[1], ':h'))")
      child:lua("vim.cmd.help('lacuna')")
      local text = child:text()
      local config = child:lua("return require('lacuna.config').current")
      for name in pairs(config) do
        assert(text:find("*lacuna-option-" .. name .. "*", 1, true), name)
      end
      for name in pairs(config.keys) do
        assert(text:find("\n    " .. name .. " ", 1, true), name)
      end
      for _, name in ipairs(child:lua("return vim.fn.getcompletion('Lacuna ', 'cmdline')")) do
        assert(text:find("*:Lacuna-" .. name .. "*", 1, true), name)
      end
    end,
  },
}
