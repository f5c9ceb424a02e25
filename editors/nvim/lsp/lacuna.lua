-- For `vim.lsp.enable("lacuna")` without the plugin's setup(): the server alone, shown by the editor's own means (0.12 and newer).
---@type vim.lsp.Config
return {
  cmd = { "lacuna", "lsp" },
  root_markers = { "lacuna.toml", ".git" },
}
