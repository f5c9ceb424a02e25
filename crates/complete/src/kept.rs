//! Keys and values of excerpts, once for each text: computed alone, in the background, and moved to
//! wherever a prompt shows the text.
//!
//! Only where text may be moved ([`lacuna_engine::Reuse`]); what that costs is in
//! `docs/bench/kv-quality.md`. The caches lie in the pool like those of documents, so the least
//! recently used one goes first.

use std::hash::{DefaultHasher, Hash, Hasher};

use lacuna_context::Excerpt;
use lacuna_engine::{Cancel, PrefillOptions, Reuse, prefill_with};
use lacuna_prompt::excerpts::as_shown;
use lacuna_prompt::{Sentinels, Tokenizer};

use crate::core::Core;

/// Not the start of any document's key, which is a number, a URI or a path.
const KEY: &str = "excerpt\0";

/// An excerpt's place in the pool and the tokens that its cache holds.
pub(crate) struct Kept {
    pub key: String,
    /// What stands before text in a prompt, then the excerpt as it stands there.
    ids: Vec<u32>,
}

impl Kept {
    pub fn of(tokenizer: &Tokenizer, sentinels: &Sentinels, excerpt: &Excerpt) -> Kept {
        // The first tokens of a sequence draw much attention, whatever they are: they must not be
        // the excerpt's.
        let mut ids: Vec<u32> = sentinels.bos.into_iter().chain([sentinels.prefix]).collect();
        ids.extend(tokenizer.encode_incremental(&as_shown(&excerpt.text)));
        let mut hash = DefaultHasher::new();
        ids.hash(&mut hash);
        Kept { key: format!("{KEY}{:016x}", hash.finish()), ids }
    }

    pub fn is_key(key: &str) -> bool {
        key.starts_with(KEY)
    }
}

/// Computes what is not there yet; `cancel` ends it within a layer.
pub(crate) fn keep(core: &Core, excerpts: &[Excerpt], cancel: &Cancel) {
    if core.settings.reuse == Reuse::Exact {
        return;
    }
    for excerpt in excerpts {
        let kept = Kept::of(&core.tokenizer, &core.sentinels, excerpt);
        let Some(mut lease) = core.pool.try_lease(&kept.key) else { continue };
        if lease.ids() != kept.ids
            && (lease.reserve(&kept.ids, 0).is_err()
                || prefill_with(
                    &core.model,
                    &mut lease,
                    &kept.ids,
                    &PrefillOptions::default(),
                    cancel,
                )
                .is_err())
        {
            return;
        }
    }
}
