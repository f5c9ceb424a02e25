--- What is shown after each keystroke, where the editor itself cannot do it (0.11, or renderer = "own").
---
--- A keystroke that agrees with the suggestion only shortens it: nothing is asked, nothing flickers. Any other change takes it
--- off the screen before the next redraw and asks the server, after cancelling what it was asked before.

local config = require("lacuna.config")
local ghost = require("lacuna.ghost")
local keymaps = require("lacuna.keymaps")
local render = require("lacuna.render")
local server = require("lacuna.server")

local M = {}

local INVOKED, AUTOMATIC = 1, 2

---@class lacuna.Shown
---@field bufnr integer
---@field items lacuna.Item[]
---@field index integer
---@field told table<integer, boolean> items that the server knows were shown
local shown ---@type lacuna.Shown?
local on_screen = false

---@type { client: vim.lsp.Client, id: integer }?
local pending
--- Counts requests; an answer to any but the last is dropped.
local sequence = 0
--- Place and text of the last request.
local asked ---@type string?
local timer = assert(vim.uv.new_timer())

---@return integer row 0-based
---@return integer col bytes
local function cursor()
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  return row - 1, col
end

local function inserting()
  return vim.api.nvim_get_mode().mode:sub(1, 1) == "i"
end

--- Names a buffer's text and cursor: what has been asked there is not asked again.
---@param bufnr integer
---@return string
local function place(bufnr)
  local row, col = cursor()
  return ("%d:%d:%d:%d"):format(bufnr, vim.api.nvim_buf_get_changedtick(bufnr), row, col)
end

local function cancel()
  timer:stop()
  sequence = sequence + 1
  if pending then
    pending.client:cancel_request(pending.id)
    pending = nil
  end
end

local function hide()
  if shown then
    render.clear(shown.bufnr)
  end
  on_screen = false
  keymaps.disarm()
end

local function forget()
  hide()
  shown = nil
end

--- What is left of the current item at the cursor.
---@return string?
local function rest()
  if not shown or shown.bufnr ~= vim.api.nvim_get_current_buf() then
    return nil
  end
  local row, col = cursor()
  local left = ghost.rest(shown.bufnr, shown.items[shown.index], row, col)
  return left ~= "" and left or nil
end

---@param left string
local function show(left)
  local row, col = cursor()
  local s = assert(shown)
  local note = #s.items > 1 and ("%d/%d"):format(s.index, #s.items) or nil
  render.draw(s.bufnr, row, col, left, note)
  keymaps.arm(s.bufnr)
  on_screen = true
  if not s.told[s.index] then
    s.told[s.index] = true
    local client = server.client(s.bufnr)
    if client then
      client:notify("textDocument/didShowCompletion", { item = s.items[s.index].raw })
    end
  end
end

--- Keeps the items that still agree with the buffer, and shows the first.
---@param bufnr integer
---@param items lacuna.Item[]
local function offer(bufnr, items)
  local row, col = cursor()
  local fitting = vim.tbl_filter(function(item)
    local left = ghost.rest(bufnr, item, row, col)
    return left ~= nil and left ~= ""
  end, items)
  if #fitting == 0 then
    return forget()
  end
  shown = { bufnr = bufnr, items = fitting, index = 1, told = {} }
  if keymaps.menu_open() and config.current.menu == "hide" then
    return hide()
  end
  show(assert(rest()))
end

---@param kind integer
local function request(kind)
  local bufnr = vim.api.nvim_get_current_buf()
  local client = server.client(bufnr)
  if not client or not client.initialized or not inserting() or server.left_alone(bufnr) then
    return
  end
  cancel()
  local number = sequence
  asked = place(bufnr)
  local row, col = cursor()
  local line = vim.api.nvim_get_current_line()
  local params = {
    textDocument = { uri = vim.uri_from_bufnr(bufnr), version = vim.lsp.util.buf_versions[bufnr] },
    position = { line = row, character = vim.str_utfindex(line, client.offset_encoding, col, false) },
    context = { triggerKind = kind },
  }
  local sent, id = client:request("textDocument/inlineCompletion", params, function(err, result)
    if number ~= sequence then
      return
    end
    pending = nil
    if err or not inserting() or vim.api.nvim_get_current_buf() ~= bufnr then
      return
    end
    local items = {}
    for _, raw in ipairs(result and (result.items or result) or {}) do
      items[#items + 1] = ghost.from_lsp(bufnr, raw, client.offset_encoding, { row, col })
    end
    offer(bufnr, items)
  end, bufnr)
  if sent then
    pending = { client = client, id = id }
  end
end

--- After anything that may have changed text, cursor or menu.
local function update()
  local bufnr = vim.api.nvim_get_current_buf()
  if not inserting() or server.left_alone(bufnr) then
    return M.stop()
  end
  local left = rest()
  if left then
    cancel()
    if keymaps.menu_open() and config.current.menu == "hide" then
      return hide()
    end
    return show(left)
  end
  if place(bufnr) == asked then
    return
  end
  forget()
  cancel()
  if config.current.auto then
    timer:start(config.current.debounce_ms, 0, vim.schedule_wrap(function()
      request(AUTOMATIC)
    end))
  end
end

---@param group integer
function M.start(group)
  vim.api.nvim_create_autocmd({ "InsertEnter", "TextChangedI", "TextChangedP", "CursorMovedI", "CompleteChanged", "CompleteDone" }, {
    group = group,
    -- CompleteChanged forbids changes of the text's surroundings: after it.
    callback = function(event)
      if event.event == "CompleteChanged" or event.event == "InsertEnter" then
        vim.schedule(update)
      else
        update()
      end
    end,
  })
  vim.api.nvim_create_autocmd({ "BufLeave", "WinLeave", "RecordingEnter" }, { group = group, callback = M.stop })
  -- Also <C-c>, which InsertLeave does not see.
  vim.api.nvim_create_autocmd("ModeChanged", { group = group, pattern = "i*:[^i]*", callback = M.stop })
  -- A server that has just started is asked about the place where the user waits.
  vim.api.nvim_create_autocmd("LspAttach", {
    group = group,
    callback = function(event)
      local client = vim.lsp.get_client_by_id(event.data.client_id)
      if client and client.name == "lacuna" then
        asked = nil
        vim.schedule(update)
      end
    end,
  })
end

--- Takes everything off the screen and cancels what was asked.
function M.stop()
  cancel()
  forget()
  asked = nil
end

---@return boolean
function M.visible()
  return on_screen and rest() ~= nil
end

---@param kind "all"|"word"|"line"
---@return boolean
function M.accept(kind)
  local left = rest()
  if not left or not inserting() then
    return false
  end
  local s = assert(shown)
  local item = s.items[s.index]
  local piece = ghost.piece(left, kind)
  local client = server.client(s.bufnr)
  if piece == left then
    forget()
    ghost.insert(piece)
    if client and item.raw.command then
      client:exec_cmd(item.raw.command, { bufnr = s.bufnr })
    end
  else
    ghost.insert(piece)
    if client then
      local accepted = item.text:sub(1, #item.text - #left + #piece)
      client:notify("textDocument/didPartiallyAcceptCompletion", {
        item = item.raw,
        acceptedLength = vim.str_utfindex(accepted, "utf-16"),
      })
    end
  end
  update()
  return true
end

---@param step integer
function M.cycle(step)
  if not rest() then
    return
  end
  local s = assert(shown)
  if #s.items == 1 then
    return request(INVOKED)
  end
  for _ = 1, #s.items do
    s.index = (s.index - 1 + step) % #s.items + 1
    local left = rest()
    if left then
      return show(left)
    end
  end
end

function M.dismiss()
  if shown and rest() then
    for index in pairs(shown.told) do
      server.dismissed(shown.bufnr, shown.items[index].raw)
    end
  end
  cancel()
  forget()
  -- Not asked again until something changes.
  asked = place(vim.api.nvim_get_current_buf())
end

function M.trigger()
  request(INVOKED)
end

return M
