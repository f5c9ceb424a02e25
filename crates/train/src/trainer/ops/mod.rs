//! The operations of a training pass, each file with a forward and a backward half and the check of
//! one against the other.
//!
//! An operation owns its weights as products want them ([`Linear`], [`Norm`]) and what it keeps from
//! forward to backward. Between two attentions the tokens are independent, so work there is cut into
//! parts of [`PART`] tokens, which threads share, and a part goes through one operation after the
//! other in [`Block`]s, while they are in a core's cache: an operation's `parts()` lend what it keeps
//! of each. What order they stand in is `model.rs`'s. Sums over parts are taken in order, so no
//! result depends on the number of threads.

pub(crate) mod attention;
#[cfg(test)]
mod check;
pub(crate) mod embedding;
pub(crate) mod head;
pub(crate) mod input;
mod linear;
pub(crate) mod mlp;
mod norm;
pub(crate) mod output;
pub(crate) mod qkv;
pub(crate) mod rope;

use std::cell::RefCell;
use std::ops::Range;

use lacuna_kernels::gemm::Summands;
use rayon::prelude::*;

use linear::Linear;
use norm::Norm;

/// Tokens in a unit of parallel work.
pub(crate) const PART: usize = Summands::PART;
/// Tokens that go through a layer at a time, between one attention and the next: what it makes of
/// them stays in a core's caches.
const TOKENS: usize = 2 * Summands::BLOCK;

/// Some tokens of a part.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    first: usize,
    end: usize,
}

impl Block {
    /// The places of its elements in a buffer of `width` elements a token.
    pub(crate) fn of(self, width: usize) -> Range<usize> {
        self.first * width..self.end * width
    }

    fn tokens(self) -> usize {
        self.end - self.first
    }
}

/// The blocks of a part of `n` tokens.
pub(crate) fn blocks(n: usize) -> impl Iterator<Item = Block> {
    (0..n).step_by(TOKENS).map(move |first| Block { first, end: n.min(first + TOKENS) })
}

/// Runs `body` on each item, on all threads.
pub(crate) fn each<T: Send>(items: impl Iterator<Item = T>, body: impl Fn(T) + Sync + Send) {
    items.collect::<Vec<_>>().into_par_iter().with_max_len(1).for_each(body);
}

/// Lends buffers of so many numbers, which hold anything. They stay with the thread; a use inside of
/// another gets its own.
fn with_scratch<const N: usize>(lengths: [usize; N], f: impl FnOnce([&mut [f32]; N])) {
    thread_local! {
        static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
    }
    let mut buffer = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    buffer.resize(buffer.len().max(lengths.iter().sum()), 0.0);
    let mut rest = &mut buffer[..];
    f(lengths.map(|n| rest.split_off_mut(..n).expect("as long as all of them")));
    SCRATCH.with_borrow_mut(|kept| kept.push(buffer));
}

/// `to += from`. Panics: lengths.
fn add(to: &mut [f32], from: &[f32]) {
    lacuna_kernels::train_ops::add(to, from);
}
