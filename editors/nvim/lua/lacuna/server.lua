--- The server's process: start, attach to buffers, restart after a crash.

local config = require("lacuna.config")
local status = require("lacuna.status")

local M = {}

--- Milliseconds before each restart in a row; after the last one the server stays down until `:Lacuna restart`.
M.backoff_ms = { 200, 1000, 5000, 15000, 60000 }
--- A server that lived this long starts the row anew.
local HEALTHY_MS = 60000
--- Larger buffers are not sent: the server would not complete them.
local MAX_BYTES = 4 * 1024 * 1024

--- Vim's name of a file type where LSP has another.
local LANGUAGE_IDS = {
  [""] = "plaintext",
  sh = "shellscript",
  cs = "csharp",
  tex = "latex",
  text = "plaintext",
  objc = "objective-c",
  objcpp = "objective-cpp",
}

--- Language ids as the server knows them, by buffer.
---@type table<integer, string>
local languages = {}

local state = {
  crashes = 0,
  started_at = 0,
  gave_up = false,
  stopping = false,
  told_missing = false,
}

---@param bufnr? integer
---@return vim.lsp.Client?
function M.client(bufnr)
  return vim.lsp.get_clients({ name = "lacuna", bufnr = bufnr })[1]
end

---@param bufnr integer
---@return string
function M.language_id(bufnr)
  local filetype = vim.bo[bufnr].filetype
  return LANGUAGE_IDS[filetype] or filetype
end

--- Why a buffer is left alone, as a reason of docs/protocol.md; nil if it is not.
---@param bufnr integer
---@return string? code
---@return string? meaning
function M.left_alone(bufnr)
  local bo = vim.bo[bufnr]
  if bo.buftype ~= "" then
    return "not-this-editor", ("Buffers with buftype=%s are left alone."):format(bo.buftype)
  end
  if not bo.modifiable or bo.readonly then
    return "not-this-editor", "The buffer is read-only."
  end
  if bufnr == vim.api.nvim_get_current_buf() and vim.wo.diff then
    return "not-this-editor", "Windows in diff mode are left alone."
  end
  if vim.fn.reg_recording() ~= "" or vim.fn.reg_executing() ~= "" then
    return "not-this-editor", "Nothing is offered while a macro is recorded or runs: at another place something else would be."
  end
  local wanted = config.current.filetypes[bo.filetype]
  if wanted == nil then
    wanted = config.current.filetypes["*"] ~= false
  end
  if not wanted then
    return "language-off", ("The option filetypes turns %q off."):format(bo.filetype)
  end
  if vim.api.nvim_buf_get_offset(bufnr, vim.api.nvim_buf_line_count(bufnr)) > MAX_BYTES then
    return "file-too-large", "The buffer is larger than 4 MiB."
  end
end

--- What of the settings says where suggestions are.
---@return { languages?: string[], disabled_languages?: string[] }
function M.kept_languages()
  local show = config.current.settings.show or {}
  return { languages = show.languages, disabled_languages = show.disabled_languages }
end

--- Turns suggestions in a language on or off, in the settings of this session and in the servers that run.
---@param id string LSP language id
---@param on boolean
function M.set_language(id, on)
  local show = config.current.settings.show or {}
  local function without(list)
    return vim.tbl_filter(function(other)
      return other ~= id and not (on and other == "*")
    end, list)
  end
  local disabled = without(show.disabled_languages or {})
  if on then
    local listed = show.languages or { "trained" }
    if not vim.list_contains(listed, id) and not vim.list_contains(listed, "*") then
      show.languages = vim.list_extend({ id }, listed)
    end
  else
    table.insert(disabled, id)
  end
  -- An empty list is no empty table: the server would hear nothing of it.
  show.disabled_languages = (#disabled > 0 or show.disabled_languages) and disabled or nil
  config.current.settings.show = show
  for filetype, wanted in pairs(config.current.filetypes) do
    if on and wanted == false and (LANGUAGE_IDS[filetype] or filetype) == id then
      config.current.filetypes[filetype] = true
    end
  end
  for _, client in ipairs(vim.lsp.get_clients({ name = "lacuna" })) do
    client:notify("workspace/didChangeConfiguration", { settings = { lacuna = config.current.settings } })
  end
end

local function capabilities()
  return vim.tbl_deep_extend("force", vim.lsp.protocol.make_client_capabilities(), {
    textDocument = { inlineCompletion = { dynamicRegistration = false } },
    experimental = { lacunaStatus = true },
  })
end

--- The command, with the model of the settings: it is loaded before the server is told any setting.
---@return string[]
local function command()
  local cmd = config.current.cmd
  local model = vim.tbl_get(config.current.settings, "model", "path")
  if type(model) ~= "string" or model == "" or vim.list_contains(cmd, "--model") then
    return cmd
  end
  return vim.list_extend(vim.list_slice(cmd), { "--model", vim.fs.normalize(model) })
end

local function on_exit(code, signal, client_id)
  vim.schedule(function()
    status.forget(client_id)
    -- Given up already: another project's server may still have been on its way down.
    if state.stopping or state.gave_up then
      return
    end
    -- Ended without being asked to, whatever the exit code.
    if vim.uv.now() - state.started_at > HEALTHY_MS then
      state.crashes = 0
    end
    state.crashes = state.crashes + 1
    local delay = M.backoff_ms[state.crashes]
    if not delay then
      state.gave_up = true
      status.set_down(("it ended %d times in a row (exit code %d, signal %d)"):format(state.crashes, code, signal))
      vim.notify("lacuna: the server keeps ending; `:Lacuna log` shows why, `:Lacuna restart` tries again", vim.log.levels.ERROR)
      return
    end
    status.set_down(("it ended (exit code %d, signal %d) and is being started again"):format(code, signal))
    vim.defer_fn(function()
      if not state.stopping and not state.gave_up then
        M.attach(vim.api.nvim_get_current_buf(), "InsertEnter")
      end
    end, delay)
  end)
end

--- Starts the server if need be and tells it about the buffer. A buffer without name is nobody's file until text goes in.
---@param bufnr integer
---@param event? string
function M.attach(bufnr, event)
  if event ~= "InsertEnter" and vim.api.nvim_buf_get_name(bufnr) == "" then
    return
  end
  local attached = M.client(bufnr)
  if attached and languages[bufnr] and languages[bufnr] ~= M.language_id(bufnr) then
    -- The server learns a document's language only when it is opened.
    vim.lsp.buf_detach_client(bufnr, attached.id)
  end
  if state.gave_up or not vim.api.nvim_buf_is_loaded(bufnr) or M.left_alone(bufnr) or M.client(bufnr) then
    return
  end
  local cmd = config.current.cmd
  if vim.fn.executable(cmd[1]) == 0 then
    status.set_down(("%s is not an executable: put it into PATH or set the option cmd"):format(cmd[1]))
    if not state.told_missing then
      state.told_missing = true
      vim.notify(("lacuna: %s is not an executable; see :checkhealth lacuna"):format(cmd[1]), vim.log.levels.WARN)
    end
    return
  end
  state.stopping = false
  local running = #vim.lsp.get_clients({ name = "lacuna" }) > 0
  if not running then
    state.started_at = vim.uv.now()
  end
  vim.lsp.start({
    name = "lacuna",
    cmd = command(),
    root_dir = vim.fs.root(bufnr, config.current.root_markers),
    capabilities = capabilities(),
    init_options = { lacuna = vim.tbl_isempty(config.current.settings) and vim.empty_dict() or config.current.settings },
    get_language_id = function(buffer)
      languages[buffer] = M.language_id(buffer)
      return languages[buffer]
    end,
    handlers = {
      ["lacuna/status"] = function(_, report, ctx)
        status.keep(ctx.client_id, report)
      end,
    },
    on_init = function(client)
      status.set_up()
      status.pause_again(client)
      status.snooze_again(client)
    end,
    on_exit = on_exit,
  }, { bufnr = bufnr, silent = true })
end

--- Tells that an item was turned down: it is not offered again at its place until the line changes.
---@param bufnr integer
---@param item table lsp.InlineCompletionItem
function M.dismissed(bufnr, item)
  local client = M.client(bufnr)
  if client then
    client:notify("lacuna/didDismissCompletion", { item = item })
  end
end

--- Ends the server and forgets its crashes; the next insert starts it again.
function M.restart()
  M.stop()
  state.crashes, state.gave_up, state.told_missing = 0, false, false
  local bufnr = vim.api.nvim_get_current_buf()
  vim.wait(1000, function()
    return M.client() == nil
  end, 10)
  state.stopping = false
  M.attach(bufnr, "InsertEnter")
end

--- Ends the server.
function M.stop()
  state.stopping = true
  for _, client in ipairs(vim.lsp.get_clients({ name = "lacuna" })) do
    client:stop(true)
  end
end

--- For `:checkhealth` and `:Lacuna why`.
---@return "running"|"loading"|"not-running"
function M.state()
  local client = M.client()
  if not client then
    return "not-running"
  end
  return client.initialized and "running" or "loading"
end

return M
