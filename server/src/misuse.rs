//! A mistake on the command line, told in one line that names the argument and where help is.

use clap::error::ErrorKind;

/// What was wrong, then the hints, then how the command is called. `None` where the whole help is
/// the answer.
pub fn told(error: &clap::Error) -> Option<String> {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    let text = error.to_string();
    let (mut what, mut usage) = (String::new(), None);
    // Paragraphs: the mistake with its arguments on lines of their own, tips, the usage, where help
    // is.
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = line.trim_start_matches("error: ");
        if line.starts_with("For more information") {
            break;
        } else if let Some(call) = line.strip_prefix("Usage: ") {
            usage = Some(call);
        } else if usage.is_none() {
            let mark = match what.chars().last() {
                None => "",
                Some(':') => " ",
                _ if line.starts_with('-') || line.starts_with('<') => ", ",
                _ => "; ",
            };
            what += mark;
            what += line.trim_start_matches("tip: ");
        }
    }
    let usage = usage.map(|call| format!("; usage: {call}")).unwrap_or_default();
    Some(format!("{what}{usage}; see --help"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Cli;

    #[test]
    fn every_mistake_names_its_argument_and_the_way_out() {
        for (line, parts) in [
            ("complete a.py", &["--at <LINE:COL>", "usage: lacuna complete"][..]),
            ("complete", &["--at <LINE:COL>, <FILE>"]),
            ("telemetry experiment start", &["<NAME>", "usage: lacuna telemetry experiment start"]),
            ("telemetry experiment report", &["<NAME>"]),
            ("finetune mine", &["--out <OUT>", "--sources <DIR>"]),
            ("complete a.py --at", &["--at <LINE:COL>", "a value is required"]),
            ("complete a.py --at 0:1", &["--at <LINE:COL>", "'0:1'", "from 1"]),
            ("complete a.py --att 1:1", &["'--att'", "'--at'"]),
            ("doctr", &["'doctr'", "'doctor'"]),
            ("lsp --attach --no-attach", &["--attach", "--no-attach", "cannot be used with"]),
            ("complete a.py --at 1:1 -n 9", &["'9'", "-n <N>"]),
        ] {
            let error = Cli::try_parse_from(["lacuna"].into_iter().chain(line.split(' ')))
                .err()
                .unwrap_or_else(|| panic!("{line}"));
            let told = told(&error).unwrap();
            assert!(parts.iter().all(|part| told.contains(part)), "{line}: {told}");
            assert!(
                told.ends_with("see --help") && !told.contains('\n') && !told.contains(":;"),
                "{told}"
            );
        }
        assert!(Cli::try_parse_from(["lacuna"]).is_err_and(|e| told(&e).is_none()));
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
