//! `lacuna config`: the settings as other programs read them.

use std::io::Write;

use lacuna_config::{reference, schema};

use crate::Answer;

/// Settings as other programs read them
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print the JSON schema of lacuna.toml and of the settings an editor sends
    Schema,
    /// Print docs/settings.md: every setting with meaning, values and default
    Docs,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    match args.command {
        Command::Schema => {
            writeln!(
                std::io::stdout().lock(),
                "{}",
                serde_json::to_string_pretty(&schema::schema())?
            )?;
            Ok(Answer::Yes)
        }
        Command::Docs => {
            write!(std::io::stdout().lock(), "{}", reference::markdown())?;
            Ok(Answer::Yes)
        }
    }
}
