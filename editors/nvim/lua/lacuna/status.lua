--- What the server last said about itself (`lacuna/status`, docs/protocol.md), pauses, and the statusline.

local M = {}

---@type table<integer, table> reports by client id
local reports = {}
--- Pauses by their argument as JSON, so that a restarted server can be told again.
---@type table<string, table>
local pauses = {}
--- When the snooze ends, in seconds since 1970.
---@type number?
local snoozed_until
---@type string? why the server is down
local down

local function changed()
  vim.api.nvim_exec_autocmds("User", { pattern = "LacunaStatus", modeline = false })
  vim.cmd.redrawstatus()
end

---@param client_id integer
---@param report table
function M.keep(client_id, report)
  reports[client_id] = report
  changed()
end

---@param client_id integer
function M.forget(client_id)
  reports[client_id] = nil
end

---@param why string
function M.set_down(why)
  down = why
  changed()
end

function M.set_up()
  down = nil
  changed()
end

---@return string?
function M.down()
  return down
end

local function clients()
  return vim.lsp.get_clients({ name = "lacuna" })
end

--- Whether a server tells reasons and knows pauses; one that is older than this plugin may not.
---@param client vim.lsp.Client
---@return boolean
function M.supported(client)
  return vim.tbl_get(client.server_capabilities or {}, "experimental", "lacunaStatus") == true
end

---@param client vim.lsp.Client
---@param command string
---@param argument table
local function execute(client, command, argument)
  if not M.supported(client) then
    vim.notify("lacuna: the server is older than this plugin and knows no pauses; update it", vim.log.levels.WARN)
    return
  end
  local arguments = vim.tbl_isempty(argument) and {} or { argument }
  client:request("workspace/executeCommand", { command = command, arguments = arguments }, function(err)
    if err then
      vim.notify("lacuna: " .. err.message, vim.log.levels.ERROR)
    end
  end)
end

--- Pauses in a scope: {} everywhere, { language = id }, { uri = uri }.
---@param scope table
function M.pause(scope)
  pauses[vim.json.encode(scope)] = scope
  for _, client in ipairs(clients()) do
    execute(client, "lacuna.pause", scope)
  end
end

---@param scope table {} ends every pause
function M.resume(scope)
  if vim.tbl_isempty(scope) then
    pauses = {}
  end
  pauses[vim.json.encode(scope)] = nil
  for _, client in ipairs(clients()) do
    execute(client, "lacuna.resume", scope)
  end
end

--- A server that has just started knows no pauses.
---@param client vim.lsp.Client
function M.pause_again(client)
  for _, scope in pairs(pauses) do
    execute(client, "lacuna.pause", scope)
  end
end

--- Nothing is suggested unasked for some minutes; 0 ends that.
---@param minutes number
function M.snooze(minutes)
  snoozed_until = minutes > 0 and os.time() + minutes * 60 or nil
  for _, client in ipairs(clients()) do
    execute(client, "lacuna.snooze", { minutes = minutes })
  end
end

--- A server that has just started knows of no snooze.
---@param client vim.lsp.Client
function M.snooze_again(client)
  local left = (snoozed_until or 0) - os.time()
  if left > 0 then
    execute(client, "lacuna.snooze", { minutes = left / 60 })
  end
end

--- When the snooze ends, as the clock on the wall shows it; nil: there is none.
---@param report table
---@return string?
function M.snoozed(report)
  local ends = report.snoozedUntil
  -- The server says nothing when it ends.
  if type(ends) == "number" and ends / 1000 > os.time() then
    return os.date("%H:%M", math.floor(ends / 1000)) --[[@as string]]
  end
end

--- Asks the server about a buffer; `answer` gets the report or nil.
---@param bufnr integer
---@param answer fun(report: table?)
function M.ask(bufnr, answer)
  local client = vim.lsp.get_clients({ name = "lacuna", bufnr = bufnr })[1]
  if not client or not client.initialized then
    return answer(nil)
  end
  local params = { textDocument = { uri = vim.uri_from_bufnr(bufnr) } }
  client:request("lacuna/status", params, function(err, report)
    answer(not err and report or nil)
  end, bufnr)
end

--- Reasons of docs/protocol.md whose code alone says little in a statusline.
local WORDS = {
  empty = "nothing to add here",
  deadline = "not in time",
  ["low-confidence"] = "not sure enough",
  ["blank-file"] = "blank file",
  ["finished-file"] = "nothing follows",
  ["after-undo"] = "taken back",
  ["dismissed-before"] = "dismissed here",
  ["in-comment"] = "not in comments",
  ["in-doc-comment"] = "not in documentation",
  ["in-string"] = "not in strings",
  ["repeats-suffix"] = "already there",
  repetition = "the same over and over",
  ["parses-worse"] = "would break the syntax",
  ["ignored-path"] = "ignored file",
  ["long-line"] = "line too long",
  ["over-budget"] = "out of memory for prompts",
}

--- How likely the last suggestion was right, shown or not, as a sentence with a blank before it.
---@param last table
---@return string
function M.likely(last)
  return type(last.probability) == "number" and (" Likely right: %.0f %%."):format(100 * last.probability) or ""
end

--- What the running servers have to say about the settings.
---@return string[]
function M.notices()
  local told = {}
  for _, report in pairs(reports) do
    for _, notice in ipairs(report.notices or {}) do
      if not vim.list_contains(told, notice) then
        told[#told + 1] = notice
      end
    end
  end
  return told
end

---@param report table
---@return string
function M.describe(report)
  local last = report.last
  if report.state == "paused" then
    return "paused"
  end
  local ends = M.snoozed(report)
  if ends then
    return "snoozed until " .. ends
  end
  if last == nil or last == vim.NIL then
    return "ready"
  end
  if last.outcome == "silence" and last.reason == "snoozed" then
    return "ready"
  end
  if last.outcome == "silence" then
    return WORDS[last.reason] or (last.reason:gsub("-", " "))
  end
  return ("%.0f ms, %d tokens cached, %d new"):format(last.ms, last.tokens.cached, last.tokens.new)
end

--- The text of |lacuna.statusline()|.
---@param bufnr integer
---@return string
function M.line(bufnr)
  if down then
    return "lacuna: not running"
  end
  local client = vim.lsp.get_clients({ name = "lacuna", bufnr = bufnr })[1]
  if not client then
    return ""
  end
  if not client.initialized then
    return "lacuna: loading"
  end
  local report = reports[client.id]
  local last = report and report.last
  if not report or (type(last) == "table" and last.uri ~= vim.uri_from_bufnr(bufnr)) then
    return "lacuna"
  end
  return "lacuna: " .. M.describe(report)
end

return M
