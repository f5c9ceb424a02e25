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
  local doctor = vim.system({ path, "doctor" }, { text = true, timeout = 60000 }):wait()
  if doctor.code == 0 then
    vim.health.ok("lacuna doctor: the self-test passed")
  else
    vim.health.error("lacuna doctor failed:\n" .. vim.trim((doctor.stdout or "") .. (doctor.stderr or "")))
  end
  local state = server.state()
  if state == "running" then
    vim.health.ok("the server is running")
  elseif status.down() then
    vim.health.warn("the server is down: " .. status.down(), { "`:Lacuna log` shows what it said, `:Lacuna restart` starts it" })
  else
    vim.health.info("the server is " .. state .. "; it starts with the first ordinary buffer")
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
  check_server()
  check_keys()
end

return M
