//! From a request, whatever its dialect, to text: on a thread of its own, stopped when nobody waits
//! for it any more.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna_complete::{Ended, Fill, Filled, Shape};
use lacuna_engine::{Cancel, Sampling};
use lacuna_serving::RaiseOnDrop;

use super::error::ApiError;
use super::state::Shared;

/// However much a client allows, an answer takes no longer.
const LONGEST: Duration = Duration::from_secs(120);
/// Clients without a connection identity share this many KV caches, chosen by what they ask for.
const SLOTS: u64 = 16;

/// What is to be filled, owned: it moves to another thread.
pub struct Job {
    /// Names the KV cache and the turn among clients.
    pub slot: u64,
    pub path: Option<String>,
    pub excerpts: Vec<String>,
    pub prefix: String,
    pub suffix: String,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    pub time: Option<Duration>,
    pub shape: Shape,
    /// Alternatives; each further one is sampled with a seed of its own.
    pub n: usize,
}

/// Temperature of further alternatives of a greedy request: equal answers serve nobody.
const ALTERNATIVE_TEMPERATURE: f32 = 0.8;

impl Job {
    /// A slot for clients that name none: the same beginning of a file comes to the same cache.
    pub fn slot_of(prefix: &str, suffix: &str) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        let head = if prefix.is_empty() { suffix } else { prefix };
        head.lines().next().hash(&mut hasher);
        hasher.finish() % SLOTS
    }

    fn sampling(&self, i: usize) -> Sampling {
        let mut sampling = self.sampling.clone();
        if i > 0 {
            sampling.seed = sampling.seed.wrapping_add(i as u64);
            if sampling.temperature <= 0.0 {
                sampling.temperature = ALTERNATIVE_TEMPERATURE;
            }
        }
        sampling
    }
}

/// Receives text of an alternative as it is generated.
pub type OnText = Box<dyn FnMut(usize, &str) -> ControlFlow<()> + Send>;

/// Runs the job. When the returned future is dropped, because the client went away, generation ends
/// within a layer.
///
/// Errors: loading, too many requests, a prompt that the engine refuses.
pub async fn run(
    shared: &Arc<Shared>,
    job: Job,
    mut on_text: OnText,
) -> Result<(String, Vec<Filled>), ApiError> {
    let engine = shared.engine()?;
    let place = shared.place()?;
    let cancel = Cancel::new();
    let raise = RaiseOnDrop(cancel.clone());
    let shared = Arc::clone(shared);
    let filled = tokio::task::spawn_blocking(move || {
        let _place = place;
        let key = format!("http:{}", job.slot);
        let excerpts: Vec<&str> = job.excerpts.iter().map(String::as_str).collect();
        let deadline = Instant::now() + job.time.unwrap_or(LONGEST).min(LONGEST);
        let mut all = Vec::with_capacity(job.n);
        for i in 0..job.n {
            let fill = Fill {
                key: &key,
                client: job.slot,
                path: job.path.as_deref(),
                excerpts: &excerpts,
                prefix: &job.prefix,
                suffix: &job.suffix,
                sampling: job.sampling(i),
                stop: &job.stop,
                deadline: Some(deadline),
                shape: job.shape,
            };
            let filled = engine.completer.fill(&fill, &cancel, &mut |text| on_text(i, text))?;
            shared.metrics.filled(&filled);
            let ended = matches!(filled.ended, Ended::Cancelled | Ended::Deadline);
            all.push(filled);
            if ended {
                break;
            }
        }
        Ok::<_, ApiError>((engine.name.clone(), all))
    })
    .await?;
    drop(raise);
    filled
}

/// A listener for those who want the whole text only.
pub fn nobody() -> OnText {
    Box::new(|_, _| ControlFlow::Continue(()))
}
