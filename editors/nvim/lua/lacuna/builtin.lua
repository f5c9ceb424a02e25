--- Over vim.lsp.inline_completion (0.12): the editor asks and draws, we accept.
---
--- The editor applies an item to the range it had when it was asked for, so that text typed since is doubled (neovim#36529).
--- Our `on_accept` inserts only what is missing at the cursor, and tells the editor that nothing is left to do.

local ghost = require("lacuna.ghost")
local keymaps = require("lacuna.keymaps")
local server = require("lacuna.server")

local M = {}

---@param group integer
function M.start(group)
  vim.api.nvim_create_autocmd("LspAttach", {
    group = group,
    callback = function(event)
      local client = vim.lsp.get_client_by_id(event.data.client_id)
      if client and client.name == "lacuna" then
        vim.lsp.inline_completion.enable(true, { bufnr = event.buf })
        -- The editor tells nobody when it draws, so the keys stay and look for themselves.
        keymaps.arm(event.buf)
      end
    end,
  })
  vim.api.nvim_create_autocmd("InsertEnter", {
    group = group,
    callback = function(event)
      if server.client(event.buf) then
        keymaps.arm(event.buf)
      end
    end,
  })
  -- What is offered at one place of a macro would not be offered at another.
  vim.api.nvim_create_autocmd({ "RecordingEnter", "RecordingLeave" }, {
    group = group,
    callback = function(event)
      for _, bufnr in ipairs(vim.api.nvim_list_bufs()) do
        if server.client(bufnr) then
          vim.lsp.inline_completion.enable(event.event == "RecordingLeave", { bufnr = bufnr })
        end
      end
    end,
  })
  vim.api.nvim_create_autocmd("InsertLeave", { group = group, callback = keymaps.disarm })
end

--- Where an item's text begins. The shape of `range` has changed between versions.
---@param range table
---@return integer row
---@return integer col
local function start_of(range)
  if range.start_row then
    return range.start_row, range.start_col
  end
  if range.start then
    return range.start.row, range.start.col
  end
  return range[1], range[2]
end

---@param item table vim.lsp.inline_completion.Item
---@return string? text that is missing at the cursor
function M.missing(item)
  local text = item.insert_text or item.value
  if type(text) == "table" then
    text = text.value
  end
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  row = row - 1
  local start_row, start_col = row, col
  if item.range then
    start_row, start_col = start_of(item.range)
  end
  local line = vim.api.nvim_get_current_line()
  return ghost.rest(0, { row = start_row, col = start_col, text = text, tail = line:sub(col + 1), raw = item }, row, col)
end

--- Whether the editor shows a suggestion: its marks are the only sign.
---@return boolean
function M.visible()
  local ns = vim.api.nvim_get_namespaces()["nvim.lsp.inline_completion"]
  return ns ~= nil and #vim.api.nvim_buf_get_extmarks(0, ns, 0, -1, { limit = 1 }) > 0
end

---@param kind "all"|"word"|"line"
---@return boolean
function M.accept(kind)
  if not M.visible() then
    return false
  end
  return vim.lsp.inline_completion.get({
    on_accept = function(item)
      local missing = M.missing(item)
      if not missing or missing == "" then
        return nil
      end
      local piece = ghost.piece(missing, kind)
      ghost.insert(piece)
      local client = item.client_id and vim.lsp.get_client_by_id(item.client_id)
      if client and piece == missing and item.command then
        client:exec_cmd(item.command, { bufnr = vim.api.nvim_get_current_buf() })
      end
      return nil
    end,
  }) ~= false
end

---@param step integer
function M.cycle(step)
  if M.visible() then
    vim.lsp.inline_completion.select({ count = step })
  end
end

function M.dismiss()
  if M.visible() then
    vim.lsp.inline_completion.get({
      on_accept = function(item)
        -- As the server knows it: by its command's argument.
        if item.command then
          server.dismissed(vim.api.nvim_get_current_buf(), { command = item.command })
        end
        return nil
      end,
    })
  end
  -- There is no call for it: off and on again drops what is drawn.
  vim.lsp.inline_completion.enable(false, { bufnr = 0 })
  vim.lsp.inline_completion.enable(true, { bufnr = 0 })
end

function M.trigger()
  -- There is no call for this either: the editor asks when it believes that the cursor has moved.
  vim.api.nvim_exec_autocmds("CursorMovedI", { buffer = vim.api.nvim_get_current_buf(), modeline = false })
end

return M
