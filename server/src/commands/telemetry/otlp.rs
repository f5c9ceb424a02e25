//! Sending rows to an OpenTelemetry collector that the user named. The only place of telemetry that
//! opens a connection.

use std::time::Duration;

use anyhow::{Context, bail};
use lacuna_telemetry::exchange::otlp_logs;
use lacuna_telemetry::store::{Store, Window};
use lacuna_telemetry::{Columns, Event, Names};
use serde_json::Value;

/// Rows of one request.
const BATCH: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Tries for a request that the collector says it cannot take just now.
const TRIES: u32 = 4;

/// Sends all rows of the window in order; returns how many. Stops at the first request that is
/// refused.
pub fn send(store: &Store, window: &Window, url: &str) -> anyhow::Result<usize> {
    let endpoint = endpoint(url)?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .build()
        .into();
    let (mut names, mut batch, mut sent) = (Names::default(), Vec::with_capacity(BATCH), 0);
    let mut result = Ok(());
    let mut flush = |batch: &mut Vec<Event>, names: &Names| -> anyhow::Result<()> {
        if !batch.is_empty() {
            post(&agent, &endpoint, &otlp_logs(batch, names))?;
            sent += batch.len();
            batch.clear();
        }
        Ok(())
    };
    store.scan(&(i64::MIN..i64::MAX), window, &Columns::ALL, &mut names, |event, names| {
        if result.is_ok() {
            batch.push(*event);
            if batch.len() == BATCH {
                result = flush(&mut batch, names);
            }
        }
    })?;
    result?;
    flush(&mut batch, &names)?;
    Ok(sent)
}

/// `…/v1/logs` below a collector's address, unless the address ends so already.
fn endpoint(url: &str) -> anyhow::Result<String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        bail!("--to {url}: give an http:// or https:// address, e.g. http://127.0.0.1:4318");
    }
    let url = url.trim_end_matches('/');
    Ok(if url.ends_with("/v1/logs") { url.to_owned() } else { format!("{url}/v1/logs") })
}

fn post(agent: &ureq::Agent, endpoint: &str, body: &Value) -> anyhow::Result<()> {
    let body = body.to_string();
    for attempt in 1..=TRIES {
        let sent = agent.post(endpoint).header("Content-Type", "application/json").send(&body);
        let mut response =
            sent.with_context(|| format!("{endpoint}: is the collector running?"))?;
        let status = response.status().as_u16();
        if matches!(status, 429 | 502 | 503 | 504) && attempt < TRIES {
            // What the protocol calls retryable, after as long as the collector asks for.
            let asked = response
                .headers()
                .get("Retry-After")
                .and_then(|v| v.to_str().ok())
                .and_then(|v| v.parse().ok());
            std::thread::sleep(Duration::from_millis(
                asked.map_or(250 << attempt, |s: u64| (s * 1000).min(30_000)),
            ));
            continue;
        }
        let answer = response.body_mut().read_to_string().unwrap_or_default();
        if !(200..300).contains(&status) {
            bail!(
                "{endpoint}: the collector answered {status}: {}",
                answer.chars().take(200).collect::<String>()
            );
        }
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let refused = &answer["partialSuccess"]["rejectedLogRecords"];
        let refused =
            refused.as_str().and_then(|s| s.parse::<i64>().ok()).or(refused.as_i64()).unwrap_or(0);
        if refused > 0 {
            bail!(
                "{endpoint}: the collector refused {refused} rows: {}",
                answer["partialSuccess"]["errorMessage"].as_str().unwrap_or("")
            );
        }
        return Ok(());
    }
    bail!("{endpoint}: the collector had no time for us in {TRIES} tries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for url in
            ["http://127.0.0.1:4318", "http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/logs"]
        {
            assert_eq!(endpoint(url).unwrap(), "http://127.0.0.1:4318/v1/logs");
        }
        assert!(endpoint("localhost:4318").is_err());
    }
}
