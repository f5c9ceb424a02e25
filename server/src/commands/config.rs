//! `lacuna config`: the settings as other programs read them.

use std::io::Write;

use schemars::generate::SchemaSettings;

use crate::{Answer, config::Config, trust};

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
            let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
            say_reach(&mut schema);
            writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&schema)?)?;
            Ok(Answer::Yes)
        }
    }
}

/// Adds to every setting what the `lacuna.toml` of a folder that is not trusted may do with it.
fn say_reach(schema: &mut serde_json::Value) {
    let areas = schema["properties"].as_object_mut().into_iter().flatten();
    for (area, properties) in areas {
        for (key, setting) in properties["properties"].as_object_mut().into_iter().flatten() {
            setting["x-workspace"] = trust::reach(&format!("{area}.{key}")).name().into();
        }
    }
}
