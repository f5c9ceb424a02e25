--- Ghost text from the language server `lacuna`.
---
--- Start reading at `session.lua`, which decides after every keystroke what is shown; `ghost.lua` is the suggestion on screen,
--- `server.lua` the process, `builtin.lua` the path over vim.lsp.inline_completion (0.12).

local M = { is_set_up = false }

--- Starts suggesting. May be called again with other options.
---@param options? table see |lacuna-options|
function M.setup(options)
  if vim.fn.has("nvim-0.11") == 0 then
    error("lacuna: Neovim 0.11 or newer is needed", 0)
  end
  local config = require("lacuna.config").apply(options)
  M.is_set_up = true
  vim.api.nvim_set_hl(0, "LacunaGhost", { default = true, link = vim.fn.hlexists("ComplHint") == 1 and "ComplHint" or "Comment" })
  local group = vim.api.nvim_create_augroup("lacuna", {})
  vim.api.nvim_create_autocmd({ "BufEnter", "FileType", "InsertEnter" }, {
    group = group,
    callback = function(event)
      require("lacuna.server").attach(event.buf, event.event)
    end,
  })
  vim.api.nvim_create_autocmd("VimLeavePre", {
    group = group,
    callback = function()
      require("lacuna.server").stop()
    end,
  })
  require("lacuna.session").stop()
  if require("lacuna.config").builtin() then
    require("lacuna.builtin").start(group)
  else
    require("lacuna.session").start(group)
  end
  require("lacuna.keymaps").trigger(config.keys.trigger)
  require("lacuna.server").attach(vim.api.nvim_get_current_buf())
end

---@return table the module that shows suggestions
local function shower()
  return require(require("lacuna.config").builtin() and "lacuna.builtin" or "lacuna.session")
end

--- Whether a suggestion is on screen.
---@return boolean
function M.visible()
  return shower().visible()
end

--- Accepts the whole suggestion. False: there is none, nothing was done.
---@return boolean
function M.accept()
  return shower().accept("all")
end

--- Accepts up to the end of the next word.
---@return boolean
function M.accept_word()
  return shower().accept("word")
end

--- Accepts up to the end of the line.
---@return boolean
function M.accept_line()
  return shower().accept("line")
end

--- Shows the next alternative; asks the server for alternatives first if it has given only one.
function M.next()
  shower().cycle(1)
end

--- Shows the previous alternative.
function M.prev()
  shower().cycle(-1)
end

--- Takes the suggestion off the screen until the text changes.
function M.dismiss()
  shower().dismiss()
end

--- Asks now, for several alternatives.
function M.trigger()
  shower().trigger()
end

--- A short text for a statusline: model and last answer, or why there is none.
---@return string
function M.statusline()
  return require("lacuna.status").line(vim.api.nvim_get_current_buf())
end

return M
