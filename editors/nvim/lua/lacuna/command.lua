--- `:Lacuna …`

local server = require("lacuna.server")
local status = require("lacuna.status")

local M = {}

local SCOPES = { "here", "language", "all" }

---@param word? string
---@return table? scope
local function scope(word)
  local bufnr = vim.api.nvim_get_current_buf()
  if word == nil or word == "all" then
    return {}
  elseif word == "here" then
    return { uri = vim.uri_from_bufnr(bufnr) }
  elseif word == "language" then
    return { language = server.language_id(bufnr) }
  end
end

local function say(lines)
  vim.api.nvim_echo({ { table.concat(lines, "\n") } }, true, {})
end

--- Why nothing is suggested, as one sentence or two with the code.
---@param bufnr integer
---@param answer fun(text: string)
function M.why(bufnr, answer)
  local code, meaning = server.left_alone(bufnr)
  if code then
    return answer(("%s (%s)"):format(meaning, code))
  end
  local state = server.state()
  if state == "loading" then
    return answer("The server is loading its model. (loading)")
  end
  if state == "not-running" or not server.client(bufnr) then
    local why = status.down()
      or require("lacuna").is_set_up and "it starts with the first insert"
      or "`require('lacuna').setup()` was never called; see :checkhealth lacuna"
    return answer(("The server is not running: %s (not-running)"):format(why))
  end
  if require("lacuna").visible() then
    return answer("There is a suggestion at the cursor.")
  end
  if not status.supported(assert(server.client(bufnr))) then
    return answer("The server is older than this plugin and does not tell; update it. (older-server)")
  end
  status.ask(bufnr, function(report)
    local notices = report and report.notices or {}
    local say_reason = answer
    answer = function(text)
      say_reason(table.concat(vim.list_extend({ text }, notices), "\n"))
    end
    local last = report and report.last
    if type(last) ~= "table" then
      return answer("Nothing has been asked here yet: type in insert mode. (no-trigger)")
    end
    if last.outcome == "silence" then
      return answer(("%s %s%s (%s)"):format(last.meaning, last.remedy, status.likely(last), last.reason))
    end
    local text = "The last request had a suggestion; it was dismissed, or what was typed since disagrees with it."
    answer(("%s%s (no-trigger)"):format(text, status.likely(last)))
  end)
end

local commands = {}

function commands.status()
  local bufnr = vim.api.nvim_get_current_buf()
  status.ask(bufnr, function(report)
    if not report then
      return M.why(bufnr, function(text)
        say({ text })
      end)
    end
    local ends = status.snoozed(report)
    local state = report.state .. (ends and " until " .. ends or "")
    local lines = { ("lacuna %s, model %s: %s"):format(report.version, report.model, state) }
    local last = report.last
    if type(last) == "table" then
      lines[#lines + 1] = ("last answer: %s%s, %.1f ms%s"):format(
        last.outcome,
        type(last.reason) == "string" and " (" .. last.reason .. ")" or "",
        last.ms,
        last.fromMemory and ", from memory" or ""
      )
      local tokens = last.tokens
      lines[#lines + 1] = ("tokens: %d cached, %d new, %d generated"):format(tokens.cached, tokens.new, tokens.generated)
    end
    vim.list_extend(lines, report.notices or {})
    say(lines)
  end)
end

function commands.why()
  M.why(vim.api.nvim_get_current_buf(), function(text)
    say({ text })
  end)
end

function commands.pause(word)
  status.pause(assert(scope(word)))
  require("lacuna").dismiss()
end

function commands.resume(word)
  status.resume(assert(scope(word)))
end

--- Nothing unasked for so many minutes; 0 ends it.
function commands.snooze(word)
  local minutes = assert(tonumber(word or 5))
  status.snooze(minutes)
  if minutes > 0 then
    require("lacuna").dismiss()
    say({ ("lacuna: nothing unasked for %s minutes; `:Lacuna snooze 0` ends it"):format(word or "5") })
  end
end

--- Suggestions in the buffer's language, or in none of it, until Neovim ends.
function commands.language(word)
  local id = server.language_id(vim.api.nvim_get_current_buf())
  server.set_language(id, word == "on")
  if word == "off" then
    require("lacuna").dismiss()
  end
  say({ ("lacuna: %s is %s until Neovim ends; to keep it: setup({ settings = { show = %s } })"):format(id, word, vim.inspect(server.kept_languages())) })
end

function commands.log()
  vim.cmd.tabedit(vim.fn.fnameescape(vim.lsp.log.get_filename()))
  vim.cmd.normal({ "G", bang = true })
end

function commands.restart()
  server.restart()
end

---@param words string[]
function M.run(words)
  local name = words[1] or "status"
  local command = commands[name]
  if not command then
    return vim.notify(("lacuna: no command %q; there are: %s"):format(name, table.concat(M.complete("", "Lacuna "), ", ")), vim.log.levels.ERROR)
  end
  if (name == "pause" or name == "resume") and not scope(words[2]) then
    return vim.notify(("lacuna: %s %q: say here, language or all"):format(name, words[2]), vim.log.levels.ERROR)
  end
  local minutes = tonumber(words[2] or 5)
  if name == "snooze" and (not minutes or minutes < 0 or minutes > 1440) then
    return vim.notify(("lacuna: snooze %q: say minutes, 0 (ends it) to 1440"):format(words[2]), vim.log.levels.ERROR)
  end
  if name == "language" and words[2] ~= "on" and words[2] ~= "off" then
    return vim.notify("lacuna: language: say on or off", vim.log.levels.ERROR)
  end
  command(words[2])
end

---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local words = vim.split(vim.trim(line:sub(1, #line - #lead)), "%s+")
  local choices = {}
  if #words == 1 then
    choices = vim.fn.sort(vim.tbl_keys(commands))
  elseif words[2] == "pause" or words[2] == "resume" then
    choices = SCOPES
  elseif words[2] == "snooze" then
    choices = { "0", "5", "15", "60" }
  elseif words[2] == "language" then
    choices = { "off", "on" }
  end
  return vim.tbl_filter(function(choice)
    return vim.startswith(choice, lead)
  end, choices)
end

return M
