--- Keys that are ours only while a suggestion is on screen.
---
--- They are buffer-local and put in place when a suggestion appears; when it goes, whatever the buffer had is put back. So a
--- key without suggestion does exactly what it did before this plugin, whoever mapped it and whenever.

local config = require("lacuna.config")

local M = {}

---@class lacuna.Armed
---@field bufnr integer
---@field saved table<string, table|false> what the buffer had, by key
local armed ---@type lacuna.Armed?

local DESC = "Lacuna: "

local ACTIONS = {
  accept = "accept",
  accept_word = "accept_word",
  accept_line = "accept_line",
  next = "next",
  prev = "prev",
  dismiss = "dismiss",
}

---@param lhs string
---@return table? the mapping of the current buffer (not a global one)
local function buffer_mapping(lhs)
  local map = vim.fn.maparg(lhs, "i", false, true)
  return map.buffer == 1 and map or nil
end

--- Whether a completion menu is open: its keys belong to it.
---@return boolean
function M.menu_open()
  if vim.fn.pumvisible() == 1 then
    return true
  end
  -- Menus that draw their own windows; asked only if the user has them loaded.
  local cmp = package.loaded["cmp"]
  if type(cmp) == "table" and cmp.visible and cmp.visible() then
    return true
  end
  local blink = package.loaded["blink.cmp"]
  return type(blink) == "table" and blink.is_menu_visible ~= nil and blink.is_menu_visible() == true
end

--- Types a key as if our mapping did not exist.
---@param lhs string
local function fall_through(lhs)
  M.disarm()
  local keys = vim.api.nvim_replace_termcodes(lhs, true, true, true)
  -- "m": with the mappings that are there now; "i": before what has been typed ahead.
  vim.api.nvim_feedkeys(keys, "mi", false)
end

---@param lhs string
---@param action string
local function press(lhs, action)
  local lacuna = require("lacuna")
  if M.menu_open() or not lacuna.visible() then
    return fall_through(lhs)
  end
  lacuna[action]()
end

--- Puts the keys in place. Does nothing if they are.
---@param bufnr integer the current buffer
function M.arm(bufnr)
  if armed and armed.bufnr == bufnr then
    return
  end
  M.disarm()
  armed = { bufnr = bufnr, saved = {} }
  for name, action in pairs(ACTIONS) do
    local lhs = config.current.keys[name]
    if lhs then
      armed.saved[lhs] = buffer_mapping(lhs) or false
      vim.keymap.set("i", lhs, function()
        press(lhs, action)
      end, { buffer = bufnr, nowait = true, desc = DESC .. action:gsub("_", " ") })
    end
  end
end

--- Puts back what was there.
function M.disarm()
  local was = armed
  armed = nil
  if not was or not vim.api.nvim_buf_is_valid(was.bufnr) then
    return
  end
  vim.api.nvim_buf_call(was.bufnr, function()
    for lhs, saved in pairs(was.saved) do
      local now = buffer_mapping(lhs)
      -- Somebody has mapped the key meanwhile: theirs stays.
      if now and vim.startswith(now.desc or "", DESC) then
        vim.keymap.del("i", lhs, { buffer = was.bufnr })
        if saved then
          vim.fn.mapset("i", false, saved)
        end
      end
    end
  end)
end

--- The key that asks is always there.
---@param lhs string|false
function M.trigger(lhs)
  if lhs then
    vim.keymap.set("i", lhs, function()
      require("lacuna").trigger()
    end, { desc = DESC .. "suggest now" })
  end
end

return M
