--- `:checkhealth lacuna`

local config = require("lacuna.config")
local server = require("lacuna.server")
local status = require("lacuna.status")

local M = {}

local function check_editor()
  if vim.fn.has("nvim-0.11") == 1 then
    vim.health.ok(("Neovim %s, suggestions drawn by %s"):format(vim.version(), config.builtin() and "the editor" or "this plugin"))
  else
    vim.health.error("Neovim 0.11 or newer is needed")
  end
end

---@param path string
local function check_doctor(path)
  local doctor = vim.system({ path, "doctor", "--json" }, { text = true, timeout = 60000 }):wait()
  local decoded, found = pcall(vim.json.decode, doctor.stdout or "")
  if not decoded then
    vim.health.error("lacuna doctor failed:\n" .. vim.trim((doctor.stdout or "") .. (doctor.stderr or "")))
    return
  end
  local silent = vim.tbl_filter(function(tried)
    return type(tried.suggestion) ~= "string"
  end, found.self_test)
  if #silent == 0 then
    vim.health.ok("lacuna doctor: the self-test passed")
  else
    vim.health.error(("lacuna doctor: the self-test had nothing to suggest at %d of %d places"):format(#silent, #found.self_test))
  end
  for _, problem in ipairs(found.problems) do
    vim.health.warn("settings: " .. problem, { "`lacuna doctor` shows all settings, docs/settings.md says what each means" })
  end
  if type(found.not_trusted) == "string" then
    vim.health.warn(found.not_trusted)
  end
  local recording = found.telemetry
  vim.health.info(
    recording.enabled and ("telemetry is recorded on this machine only: " .. tostring(recording.store)) or "telemetry is not recorded"
  )
end

--- Without setup() no buffer is ever attached, and everything else looks well.
local function check_setup()
  if require("lacuna").is_set_up then
    vim.health.ok("setup() was called")
  else
    vim.health.error("setup() was never called, so nothing is suggested", {
      "Call require('lacuna').setup() in your init.lua",
      'With lazy.nvim: { dir = "…/editors/nvim", event = "InsertEnter", opts = {} }',
    })
  end
end

local function check_server()
  local cmd = config.current.cmd
  local path = vim.fn.exepath(cmd[1])
  if path == "" then
    vim.health.error(cmd[1] .. " is not an executable", { "Put lacuna into PATH, or set cmd = { \"/path/to/lacuna\", \"lsp\" } in setup()" })
    return
  end
  local version = vim.system({ path, "--version" }, { text = true, timeout = 10000 }):wait()
  if version.code == 0 then
    vim.health.ok(("%s (%s)"):format(vim.trim(version.stdout), path))
  else
    vim.health.error(("%s --version failed: %s"):format(path, vim.trim(version.stderr or "")))
    return
  end
  check_doctor(path)
  local state = server.state()
  if state == "running" then
    vim.health.ok("the server is running")
    for _, notice in ipairs(status.notices()) do
      vim.health.warn(notice)
    end
  elseif status.down() then
    vim.health.warn("the server is down: " .. status.down(), { "`:Lacuna log` shows what it said, `:Lacuna restart` starts it" })
  else
    local when = require("lacuna").is_set_up and "; it starts with the first ordinary buffer" or ""
    vim.health.info("the server is " .. state .. when)
  end
end

local function check_keys()
  for name, lhs in pairs(config.current.keys) do
    if lhs and name ~= "trigger" then
      local map = vim.fn.maparg(lhs, "i", false, true)
      if not vim.tbl_isempty(map) and not vim.startswith(map.desc or "", "Lacuna") then
        vim.health.info(("%s (%s) is mapped to %s where no suggestion is shown"):format(lhs, name, map.desc or map.rhs or "a function"))
      end
    end
  end
  for _, menu in ipairs({ "cmp", "blink.cmp" }) do
    if package.loaded[menu] then
      vim.health.info(menu .. " is loaded: while its menu is open the keys belong to it")
    end
  end
end

function M.check()
  vim.health.start("lacuna")
  check_editor()
  check_setup()
  check_server()
  check_keys()
end

return M
