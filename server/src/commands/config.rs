//! `lacuna config`: the settings as other programs read them.

use std::io::Write;

use schemars::generate::SchemaSettings;

use crate::{Answer, config::Config};

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
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    match args.command {
        Command::Schema => {
            // Without references: editors copy the properties of an area one by one.
            let settings = SchemaSettings::draft07().with(|s| {
                s.inline_subschemas = true;
            });
            let schema = settings.into_generator().into_root_schema_for::<Config>();
            writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&schema)?)?;
            Ok(Answer::Yes)
        }
    }
}
