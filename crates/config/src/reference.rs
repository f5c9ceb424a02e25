//! docs/settings.md, made from the schema.

use std::fmt::Write;

use super::schema::{Setting, areas, as_written, settings};
use super::trust::{Reach, reach};

const HEAD: &str = "\
# Settings
<!-- Made by `lacuna config docs`: change the doc comments in crates/config/src/settings.rs instead. -->

| where | applies to |
|---|---|
| `--model` and other flags | one run; wins over all below |
| editor settings (`lacuna.*` in VS Code, `settings` in `setup()` of Neovim) | that editor |
| `lacuna.toml` in the workspace | that workspace, as far as the last column allows, or wholly if your own file lists its folder under `[trust] folders` |
| `~/.config/lacuna/config.toml` (`$XDG_CONFIG_HOME/lacuna/config.toml`) | you, everywhere |

`lacuna doctor` shows every setting with its value and the file it comes from, `lacuna config schema` the same as JSON schema. A key or a
value that is not understood is left out and named with file and line: in `lacuna doctor`, in the log, and where the editor tells why
nothing is suggested. Servers go on without it; other commands end. While a file is no TOML, or its `[telemetry]` has a mistake, nothing
is recorded.

```toml
[show]
line_tokens = 32
disabled_languages = [\"markdown\"]

[telemetry]
enabled = false
```

What a workspace's `lacuna.toml` may do: **set** the value, **add** to the list, **lower** the number or switch off, or nothing (–): then
you set it in your own file or in the editor. *Own file*: not in the editor either.
";

const TAIL: &str = "
## experiment
`[experiment.NAME]` tries settings against each other: [telemetry.md](telemetry.md#experiments).
";

/// The document.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for (area, meaning) in areas() {
        let _ = write!(text, "\n## {area}\n");
        if !meaning.is_empty() {
            let _ = writeln!(text, "{meaning}\n");
        }
        text += "| setting | meaning | takes | default | workspace |\n|---|---|---|---|---|\n";
        for setting in
            settings().iter().filter(|s| s.name.split_once('.').is_some_and(|(a, _)| a == area))
        {
            text += &row(setting);
        }
    }
    text + TAIL
}

fn row(setting: &Setting) -> String {
    let may = match reach(&setting.name) {
        Reach::Sets => "set",
        Reach::Adds => "add",
        Reach::Lowers { .. } => "lower",
        Reach::Nothing => "–",
        Reach::UsersFile => "– (own file)",
    };
    let cell = |text: &str| text.replace('|', "\\|");
    let default = as_written(&setting.default);
    let default = if default == "unset" { default } else { format!("`{default}`") };
    format!(
        "| `{}` | {} | {} | {default} | {may} |\n",
        setting.name,
        cell(&setting.meaning),
        cell(&setting.wanted())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_what_the_schema_says() {
        let committed = include_str!("../../../docs/settings.md");
        assert_eq!(committed, markdown(), "run `lacuna config docs > docs/settings.md`");
        for setting in settings() {
            assert!(committed.contains(&format!("| `{}` |", setting.name)), "{}", setting.name);
        }
        assert!(committed.contains("`0.15`"), "numbers as one writes them");
    }
}
