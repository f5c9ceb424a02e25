-- Defines `:Lacuna`; nothing else is loaded until it is used or `require("lacuna").setup()` is called.
if vim.g.loaded_lacuna then
  return
end
vim.g.loaded_lacuna = true

vim.api.nvim_create_user_command("Lacuna", function(opts)
  require("lacuna.command").run(opts.fargs)
end, {
  nargs = "*",
  desc = "Lacuna: status, why, pause, resume, log, restart",
  complete = function(lead, line)
    return require("lacuna.command").complete(lead, line)
  end,
})
