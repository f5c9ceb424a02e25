//! Counters in Prometheus' text format. No text, no path and no name of the user's is in them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lacuna_complete::{Completer, Filled};

/// Upper bounds of the latency buckets, seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Default)]
pub struct Metrics {
    /// By route and status.
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    latency: Mutex<BTreeMap<String, Histogram>>,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    prefilled_tokens: AtomicU64,
    generated_tokens: AtomicU64,
}

#[derive(Default)]
struct Histogram {
    counts: [u64; BUCKETS.len()],
    sum: f64,
    n: u64,
}

impl Metrics {
    pub fn filled(&self, filled: &Filled) {
        let add = |counter: &AtomicU64, n: usize| counter.fetch_add(n as u64, Ordering::Relaxed);
        add(&self.prompt_tokens, filled.tokens.prompt);
        add(&self.cached_tokens, filled.tokens.cached);
        add(&self.prefilled_tokens, filled.tokens.prefilled);
        add(&self.generated_tokens, filled.tokens.generated);
    }

    pub fn answered(&self, route: &str, status: u16, seconds: f64) {
        *self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry((route.to_owned(), status))
            .or_default() += 1;
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = latency.entry(route.to_owned()).or_default();
        for (count, bound) in histogram.counts.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= bound);
        }
        histogram.sum += seconds;
        histogram.n += 1;
    }

    /// `completer`: once it is there.
    pub fn text(&self, completer: Option<&Completer>) -> String {
        let mut out = String::new();
        head(&mut out, "lacuna_requests_total", "counter", "Requests by route and status.");
        for ((route, status), n) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ =
                writeln!(out, "lacuna_requests_total{{route=\"{route}\",status=\"{status}\"}} {n}");
        }
        head(&mut out, "lacuna_request_seconds", "histogram", "Time to the head of the answer.");
        for (route, histogram) in &*self.latency.lock().unwrap_or_else(PoisonError::into_inner) {
            for (count, bound) in histogram.counts.iter().zip(BUCKETS) {
                let _ = writeln!(
                    out,
                    "lacuna_request_seconds_bucket{{route=\"{route}\",le=\"{bound}\"}} {count}"
                );
            }
            let (n, sum) = (histogram.n, histogram.sum);
            let _ =
                writeln!(out, "lacuna_request_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {n}");
            let _ = writeln!(out, "lacuna_request_seconds_sum{{route=\"{route}\"}} {sum}");
            let _ = writeln!(out, "lacuna_request_seconds_count{{route=\"{route}\"}} {n}");
        }
        for (name, help, counter) in [
            ("lacuna_prompt_tokens_total", "Tokens of prompts.", &self.prompt_tokens),
            (
                "lacuna_cached_tokens_total",
                "Tokens of prompts that were still warm.",
                &self.cached_tokens,
            ),
            (
                "lacuna_prefilled_tokens_total",
                "Tokens of prompts that were computed.",
                &self.prefilled_tokens,
            ),
            (
                "lacuna_generated_tokens_total",
                "Tokens that were generated.",
                &self.generated_tokens,
            ),
        ] {
            head(&mut out, name, "counter", help);
            let _ = writeln!(out, "{name} {}", counter.load(Ordering::Relaxed));
        }
        if let Some(completer) = completer {
            let kv = completer.kv();
            for (name, kind, help, value) in [
                ("lacuna_kv_bytes", "gauge", "Memory of keys and values.", kv.bytes as u64),
                ("lacuna_kv_budget_bytes", "gauge", "Its limit.", kv.budget as u64),
                (
                    "lacuna_kv_evicted_bytes_total",
                    "counter",
                    "What was dropped to stay below it.",
                    kv.evicted_bytes,
                ),
            ] {
                head(&mut out, name, kind, help);
                let _ = writeln!(out, "{name} {value}");
            }
        }
        out
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
