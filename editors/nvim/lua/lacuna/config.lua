--- Options of setup(): defaults, and errors that name the option.

local M = {}

---@class lacuna.Keys
---@field accept string|false     whole suggestion
---@field accept_word string|false
---@field accept_line string|false
---@field next string|false       next alternative
---@field prev string|false
---@field dismiss string|false
---@field trigger string|false    ask now; the only key that is mapped while nothing is shown

---@class lacuna.Config
---@field cmd string[]            command that starts the server
---@field settings table          settings of the server, as in lacuna.toml: { latency = { deadline_ms = 400 } }
---@field auto boolean            suggest while typing; otherwise only by the trigger key
---@field debounce_ms integer     wait after a keystroke before the server is asked
---@field filetypes table<string, boolean>  false: no suggestions; ["*"] is the rest
---@field menu "show"|"hide"      suggestions while a completion menu is open
---@field keys lacuna.Keys
---@field renderer "auto"|"own"|"builtin"  who draws: auto takes vim.lsp.inline_completion where it exists (0.12)
---@field root_markers string[]
local defaults = {
  cmd = { "lacuna", "lsp" },
  settings = {},
  auto = true,
  debounce_ms = 15,
  filetypes = { ["*"] = true },
  menu = "show",
  keys = {
    accept = "<Tab>",
    accept_word = "<M-Right>",
    accept_line = "<M-l>",
    next = "<M-]>",
    prev = "<M-[>",
    dismiss = "<C-]>",
    trigger = "<M-Bslash>",
  },
  renderer = "auto",
  root_markers = { "lacuna.toml", ".git" },
}

---@type lacuna.Config
M.current = vim.deepcopy(defaults)

local function one_of(...)
  local allowed = { ... }
  return function(value)
    return vim.list_contains(allowed, value), "one of " .. table.concat(allowed, ", ")
  end
end

local function key(value)
  return value == false or (type(value) == "string" and value ~= ""), "a key or false"
end

--- Merges the user's options. An unknown name or a wrong value is an error that names it.
---@param options? table
---@return lacuna.Config
function M.apply(options)
  options = options or {}
  vim.validate("options", options, "table")
  for name in pairs(options) do
    if defaults[name] == nil then
      error(("lacuna: unknown option %q; known: %s"):format(name, table.concat(vim.fn.sort(vim.tbl_keys(defaults)), ", ")), 0)
    end
  end
  vim.validate("keys", options.keys, "table", true)
  for name in pairs(options.keys or {}) do
    if defaults.keys[name] == nil then
      error(("lacuna: unknown option %q; known: %s"):format("keys." .. name, table.concat(vim.fn.sort(vim.tbl_keys(defaults.keys)), ", ")), 0)
    end
  end
  local merged = vim.tbl_deep_extend("force", defaults, options)
  -- Lists replace, they do not merge.
  merged.cmd = options.cmd or defaults.cmd
  merged.root_markers = options.root_markers or defaults.root_markers
  vim.validate("cmd", merged.cmd, function(cmd)
    return vim.islist(cmd) and type(cmd[1]) == "string", "a list: the program and its arguments"
  end)
  vim.validate("settings", merged.settings, "table")
  vim.validate("auto", merged.auto, "boolean")
  vim.validate("debounce_ms", merged.debounce_ms, function(ms)
    return type(ms) == "number" and ms >= 0 and ms <= 10000, "milliseconds from 0 to 10000"
  end)
  vim.validate("filetypes", merged.filetypes, "table")
  vim.validate("menu", merged.menu, one_of("show", "hide"))
  vim.validate("renderer", merged.renderer, one_of("auto", "own", "builtin"))
  for name, lhs in pairs(merged.keys) do
    vim.validate("keys." .. name, lhs, key)
  end
  M.current = merged
  return merged
end

--- Whether the editor's own inline completion is used. It cannot be asked by key alone, so not where `auto` is off.
---@return boolean
function M.builtin()
  return vim.lsp.inline_completion ~= nil and M.current.renderer ~= "own" and M.current.auto
end

return M
