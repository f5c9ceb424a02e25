//! What several of the commands are given: the configuration, times.

use anyhow::bail;

/// The configuration that holds here.
pub fn configuration() -> anyhow::Result<lacuna_config::Config> {
    Ok(resolved()?.config)
}

pub fn resolved() -> anyhow::Result<lacuna_config::Resolved> {
    lacuna_config::resolve_here(None)?.strict()
}

/// `2026-11-01`, `2026-11-01T08:00:00Z`, or an age: `7d`, `12h`, `30m`. Milliseconds since 1970.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let age = text.strip_suffix(['d', 'h', 'm']).and_then(|number| number.parse::<u32>().ok());
    if let Some(number) = age {
        let unit = match text.as_bytes().last() {
            Some(b'd') => 86_400_000,
            Some(b'h') => 3_600_000,
            _ => 60_000,
        };
        return Ok(lacuna_telemetry::system_ms() - i64::from(number) * unit);
    }
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    let date = text.parse::<chrono::NaiveDate>().map_err(
        |_| "give a date (2026-11-01), a time (2026-11-01T08:00:00Z) or an age (7d, 12h, 30m)",
    )?;
    let midnight =
        date.and_hms_opt(0, 0, 0).and_then(|t| t.and_local_timezone(chrono::Local).earliest());
    midnight
        .map(|t| t.timestamp_millis())
        .ok_or_else(|| format!("{text} has no midnight in this time zone"))
}

/// The experiment of that name in the configuration.
pub fn configured<'a>(
    config: &'a lacuna_config::Config,
    name: &str,
) -> anyhow::Result<&'a lacuna_telemetry::experiment::Definition> {
    match config.experiment.get(name) {
        Some(definition) => Ok(definition),
        None if config.experiment.is_empty() => {
            bail!("experiment {name} is not configured: add [experiment.{name}] to lacuna.toml")
        }
        None => {
            let known: Vec<&str> = config.experiment.keys().map(String::as_str).collect();
            bail!("experiment {name} is not configured: there are {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(parse_time("1970-01-02T00:00:00Z"), Ok(86_400_000));
        let now = lacuna_telemetry::system_ms();
        for (text, age) in [("7d", 7 * 86_400_000), ("12h", 12 * 3_600_000), ("30m", 30 * 60_000)] {
            assert!((now - age - parse_time(text).unwrap()).abs() < 5_000, "{text}");
        }
        assert!(parse_time("2026-11-01").is_ok());
        for text in ["", "d", "yesterday", "2026-13-01", "-3d", "99999999999d"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
