--- A second pair of eyes: attaches to the child as a terminal would and keeps what every flush shows.
---
--- Marks read back by the editor's API say what should be drawn; only the UI protocol says what a user saw, and when.

local UI = {}
UI.__index = UI

---@class UI
---@field frames string[][]  the rows at each flush

--- Attaches to a child over a socket of its own.
---@param child Child
---@param columns integer
---@param rows integer
---@return UI
function UI.attach(child, columns, rows)
  local address = child:lua("return vim.fn.serverstart()")
  local ui = setmetatable({ frames = {}, pipe = assert(vim.uv.new_pipe(false)), grid = {}, columns = columns, rows = rows }, UI)
  ui:blank()
  local unpacker = vim.mpack.Unpacker({ ext = setmetatable({}, {
    __index = function()
      return function(_, data)
        return data
      end
    end,
  }) })
  local buffer = ""
  local connected = false
  ui.pipe:connect(address, function(err)
    assert(not err, err)
    connected = true
  end)
  assert(vim.wait(10000, function()
    return connected
  end, 2))
  ui.pipe:read_start(function(err, data)
    assert(not err, err)
    buffer = buffer .. (data or "")
    local position = 1
    while position <= #buffer do
      local message, next_position = unpacker(buffer, position)
      position = next_position
      if message == nil then
        break
      end
      if message[1] == 2 and message[2] == "redraw" then
        ui:redraw(message[3])
      end
    end
    -- The unpacker keeps what it has seen of an incomplete message.
    buffer = ""
  end)
  ui:send({ 0, 1, "nvim_ui_attach", { columns, rows, { ext_linegrid = true, rgb = true } } })
  assert(vim.wait(10000, function()
    return #ui.frames > 0
  end, 2), "no flush")
  return ui
end

function UI:send(message)
  self.pipe:write(vim.mpack.encode(message))
end

function UI:blank()
  for row = 1, self.rows do
    self.grid[row] = {}
    for column = 1, self.columns do
      self.grid[row][column] = " "
    end
  end
end

---@param batches table[] of the UI protocol (|ui-linegrid|)
function UI:redraw(batches)
  for _, batch in ipairs(batches) do
    local name = batch[1]
    for i = 2, #batch do
      local event = self[name]
      if event then
        event(self, unpack(batch[i]))
      end
    end
  end
end

function UI:grid_clear()
  self:blank()
end

function UI:grid_resize(_, columns, rows)
  self.columns, self.rows = columns, rows
  self:blank()
end

function UI:grid_line(_, row, column, cells)
  for _, cell in ipairs(cells) do
    for _ = 1, cell[3] or 1 do
      column = column + 1
      self.grid[row + 1][column] = cell[1]
    end
  end
end

function UI:grid_scroll(_, top, bottom, left, right, rows)
  local first, last, step = top + 1, bottom - rows, 1
  if rows < 0 then
    first, last, step = bottom, top + 1 - rows, -1
  end
  for row = first, last, step do
    for column = left + 1, right do
      self.grid[row][column] = self.grid[row + rows][column]
    end
  end
end

function UI:flush()
  local rows = {}
  for row = 1, self.rows do
    rows[row] = (table.concat(self.grid[row]):gsub("%s+$", ""))
  end
  table.insert(self.frames, rows)
end

--- Waits until a flush shows what `seen` looks for, from frame number `from` on; returns the number of that frame.
---@param from integer
---@param seen fun(rows: string[]): boolean
---@return integer
function UI:await(from, seen)
  local number
  local ok = vim.wait(30000, function()
    for i = from, #self.frames do
      if seen(self.frames[i]) then
        number = i
        return true
      end
    end
    return false
  end, 2)
  if not ok then
    local last = self.frames[#self.frames]
    error("never seen; the last frame:\n" .. table.concat(last, "\n"), 2)
  end
  return number
end

function UI:detach()
  self.pipe:close()
end

return UI
