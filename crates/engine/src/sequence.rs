//! Tokens with what has been computed for them, and what of it other tokens can take over.

use crate::device::{KeysValues, Kv};
use crate::route::Route;

/// Tokens with their keys and values.
#[derive(Clone)]
pub(crate) struct Sequence {
    pub(crate) ids: Vec<u32>,
    /// How often the keys and values of each token were moved since they were computed.
    pub(crate) moves: Vec<u8>,
    /// Leading tokens whose keys and values are what a cold prefill computes.
    pub(crate) exact: usize,
    /// In the layers of the route.
    pub(crate) kv: Kv,
    pub(crate) route: Route,
}

impl Sequence {
    /// How many leading tokens of `ids` are held; those that are exact, if only these are wanted.
    pub(crate) fn common_prefix(&self, ids: &[u32], exact_only: bool) -> usize {
        let common = self.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
        if exact_only { common.min(self.exact) } else { common }
    }

    /// How many leading tokens of `ids` can be taken over for work along `route`: not the last one,
    /// which is computed for its logits.
    pub(crate) fn usable(&self, ids: &[u32], route: &Route, exact_only: bool) -> usize {
        let is_same = self.route == *route;
        if is_same { self.common_prefix(ids, exact_only).min(ids.len() - 1) } else { 0 }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        self.moves.truncate(len);
        self.exact = self.exact.min(len);
    }

    pub(crate) fn push(&mut self, id: u32) {
        self.exact += usize::from(self.exact == self.ids.len());
        self.ids.push(id);
        self.moves.push(0);
    }

    /// A second sequence that holds the first `len` tokens of this one, on the same blocks, ready
    /// to be written from there on.
    pub(crate) fn branch(&self, len: usize) -> Sequence {
        let mut branch = self.clone();
        branch.truncate(len);
        branch.kv.rewrite(len);
        branch
    }
}
