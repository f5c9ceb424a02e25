//! `lacuna completions` and `lacuna man`: what shells and `man` read, made from the command line's
//! own definition.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;

use crate::{Answer, Cli};

/// Print a script that completes lacuna's commands and options in your shell
///
/// bash: lacuna completions bash > ~/.local/share/bash-completion/completions/lacuna
///
/// zsh: lacuna completions zsh > "${fpath[1]}/_lacuna"
///
/// fish: lacuna completions fish > ~/.config/fish/completions/lacuna.fish
#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Write manual pages, one for each command (then `man -l DIR/lacuna.1`, or a folder of MANPATH)
#[derive(clap::Args)]
pub struct ManArgs {
    /// Folder to write; it is made
    dir: PathBuf,
}

pub fn run_completions(args: &CompletionsArgs) -> anyhow::Result<Answer> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lacuna", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Answer::Yes)
}

pub fn run_man(args: &ManArgs) -> anyhow::Result<Answer> {
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("{} cannot be made", args.dir.display()))?;
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, &args.dir)
        .with_context(|| format!("{} cannot be written", args.dir.display()))?;
    let n = std::fs::read_dir(&args.dir)?.count();
    crate::say(&format!(
        "wrote {n} pages to {}: `man -l {}/lacuna.1`",
        args.dir.display(),
        args.dir.display()
    ));
    Ok(Answer::Yes)
}
