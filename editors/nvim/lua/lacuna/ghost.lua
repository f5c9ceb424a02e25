--- One suggestion and what is left of it: text only, no screen and no server.

local M = {}

--- Rows that may lie between the start of a suggestion and the cursor while it is typed through.
local MAX_ROWS = 200

---@class lacuna.Item
---@field row integer   0-based row where `text` begins
---@field col integer   byte column where `text` begins
---@field text string   restates what was typed from there, then goes on
---@field tail string   what stood right of the cursor
---@field raw table     the item as the server sent it

--- The server's item, in bytes of this buffer. nil: it is not for this buffer any more.
---@param bufnr integer
---@param raw table lsp.InlineCompletionItem
---@param encoding "utf-8"|"utf-16"|"utf-32"
---@param cursor integer[] 0-based row and byte column of the request
---@return lacuna.Item?
function M.from_lsp(bufnr, raw, encoding, cursor)
  local text = type(raw.insertText) == "table" and raw.insertText.value or raw.insertText
  if type(text) ~= "string" then
    return nil
  end
  local row, col, stop = cursor[1], cursor[2], cursor[2]
  local line
  if raw.range then
    row = raw.range.start.line
    line = vim.api.nvim_buf_get_lines(bufnr, row, row + 1, false)[1]
    if not line or raw.range["end"].line ~= row then
      return nil
    end
    col = vim.str_byteindex(line, encoding, raw.range.start.character, false)
    stop = vim.str_byteindex(line, encoding, raw.range["end"].character, false)
  else
    line = vim.api.nvim_buf_get_lines(bufnr, row, row + 1, false)[1]
    if not line then
      return nil
    end
  end
  return { row = row, col = col, text = (text:gsub("\r\n?", "\n")), tail = line:sub(stop + 1), raw = raw }
end

--- What is left of an item at a cursor: nil where the buffer disagrees with it, "" where all of it has been typed.
---@param bufnr integer
---@param item lacuna.Item
---@param row integer 0-based
---@param col integer bytes
---@return string?
function M.rest(bufnr, item, row, col)
  if row < item.row or row - item.row > MAX_ROWS or (row == item.row and col < item.col) then
    return nil
  end
  local line = vim.api.nvim_buf_get_lines(bufnr, row, row + 1, false)[1]
  local first = vim.api.nvim_buf_get_lines(bufnr, item.row, item.row + 1, false)[1]
  if not line or line:sub(col + 1) ~= item.tail or #first < item.col then
    return nil
  end
  local typed = table.concat(vim.api.nvim_buf_get_text(bufnr, item.row, item.col, row, col, {}), "\n")
  if not vim.startswith(item.text, typed) then
    return nil
  end
  return item.text:sub(#typed + 1)
end

--- The part of a rest that one key accepts.
---@param rest string
---@param kind "all"|"word"|"line"
---@return string
function M.piece(rest, kind)
  if kind == "word" then
    -- White space, then a run of letters or a run of anything else: what `w` would pass over.
    local piece = vim.fn.matchstr(rest, [=[^\_s*\%(\k\+\|[^[:keyword:][:space:]]\+\)\?]=])
    return piece ~= "" and piece or rest
  end
  if kind == "line" then
    -- At a line's end, the whole next line.
    local stop = rest:find("\n", rest:sub(1, 1) == "\n" and 2 or 1, true)
    return stop and rest:sub(1, stop - 1) or rest
  end
  return rest
end

--- Inserts text at the cursor of the current window, literally, as an undo step of its own that `.` repeats.
---@param text string
function M.insert(text)
  -- Setting 'undolevels' closes the undo block (|undo-break|): what was typed before stays when this is undone.
  vim.bo.undolevels = vim.bo.undolevels
  -- As a paste: unlike other changes by API it goes to the redo buffer, and no indentation, abbreviation or mapping meddles with it.
  vim.api.nvim_paste(text, false, -1)
  vim.bo.undolevels = vim.bo.undolevels
end

return M
