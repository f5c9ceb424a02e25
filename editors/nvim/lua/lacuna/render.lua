--- Draws a suggestion: the first line as inline virtual text at the cursor, the others as virtual lines below.

local M = {}

M.namespace = vim.api.nvim_create_namespace("lacuna")
--- One mark, moved and replaced in place: between two drawings nothing is ever missing.
local MARK = 1

--- Tabs as spaces up to the next stop, since virtual text does not expand them.
---@param text string
---@param column integer display column where the text begins
---@param tabstop integer
---@return string
function M.expand_tabs(text, column, tabstop)
  local out = {}
  for before, tab in text:gmatch("([^\t]*)(\t?)") do
    out[#out + 1] = before
    column = column + vim.fn.strdisplaywidth(before)
    if tab ~= "" then
      local width = tabstop - column % tabstop
      out[#out + 1] = (" "):rep(width)
      column = column + width
    end
  end
  return table.concat(out)
end

---@param bufnr integer
---@param row integer 0-based
---@param col integer bytes
---@param rest string
---@param note? string shown behind the first line, e.g. "2/3"
function M.draw(bufnr, row, col, rest, note)
  local tabstop = vim.bo[bufnr].tabstop
  local lines = vim.split(rest, "\n", { plain = true })
  local line = vim.api.nvim_buf_get_lines(bufnr, row, row + 1, true)[1]
  local first = M.expand_tabs(lines[1], vim.fn.strdisplaywidth(line:sub(1, col)), tabstop)
  local chunks = { { first, "LacunaGhost" } }
  if note then
    chunks[#chunks + 1] = { "  " .. note, "LacunaGhost" }
  end
  local below = {}
  for i = 2, #lines do
    below[i - 1] = { { M.expand_tabs(lines[i], 0, tabstop), "LacunaGhost" } }
  end
  vim.api.nvim_buf_set_extmark(bufnr, M.namespace, row, col, {
    id = MARK,
    virt_text = chunks,
    virt_text_pos = "inline",
    virt_lines = #below > 0 and below or nil,
    hl_mode = "combine",
    undo_restore = false,
  })
end

---@param bufnr integer
function M.clear(bufnr)
  if vim.api.nvim_buf_is_valid(bufnr) then
    vim.api.nvim_buf_del_extmark(bufnr, M.namespace, MARK)
  end
end

return M
