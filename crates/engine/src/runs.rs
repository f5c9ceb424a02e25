//! Equal runs of tokens between a prompt and sequences that are held, at whatever positions.
//!
//! Every window of `min_run` tokens of the held sequences is hashed; the prompt is walked from left
//! to right, and where a window of it is known the run is extended as far as tokens agree. Several
//! runs of one prompt are independent of each other: none changes where the next is looked for
//! (llama.cpp's PR 12161 mended exactly that).

use std::ops::Range;

use crate::sequence::Sequence;

/// Tokens whose keys were moved this often are not moved again: each time they are rounded once
/// more.
pub(crate) const MAX_MOVES: u8 = 8;
/// Places of one window that are tried: repetitive text has a great many.
const MAX_CANDIDATES: usize = 16;

/// `len` tokens of the prompt from `at` on that stand at `from` in a held sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) at: usize,
    /// Index of the sequence.
    pub(crate) donor: usize,
    pub(crate) from: usize,
    pub(crate) len: usize,
}

impl Run {
    /// Positions in the prompt.
    pub(crate) fn target(&self) -> Range<usize> {
        self.at..self.at + self.len
    }

    /// Positions in the held sequence.
    pub(crate) fn source(&self) -> Range<usize> {
        self.from..self.from + self.len
    }
}

/// Runs of at least `min_run` (and one) tokens inside `range` of `ids`, ascending, apart from each
/// other.
pub(crate) fn find_runs(
    ids: &[u32],
    range: Range<usize>,
    donors: &[&Sequence],
    min_run: usize,
) -> Vec<Run> {
    let n = min_run.max(1);
    if range.len() < n {
        return Vec::new();
    }
    let mut windows: Vec<(u64, usize, usize)> = Vec::new();
    for (donor, sequence) in donors.iter().enumerate() {
        windows
            .extend(hashes(&sequence.ids, n).enumerate().map(|(from, hash)| (hash, donor, from)));
    }
    windows.sort_unstable();
    let of_prompt: Vec<u64> = hashes(&ids[range.clone()], n).collect();
    let mut runs: Vec<Run> = Vec::new();
    let mut at = range.start;
    while at + n <= range.end {
        let hash = of_prompt[at - range.start];
        let first = windows.partition_point(|window| window.0 < hash);
        let same =
            windows[first..].iter().take_while(|window| window.0 == hash).take(MAX_CANDIDATES);
        let extend = |donor: usize, from: usize| {
            let (known, moves) = (&donors[donor].ids[from..], &donors[donor].moves[from..]);
            let agrees = |i: &usize| known[*i] == ids[at + i] && moves[*i] < MAX_MOVES;
            (0..known.len().min(range.end - at)).take_while(agrees).count()
        };
        let runs_here = same.map(|(_, donor, from)| Run {
            at,
            donor: *donor,
            from: *from,
            len: extend(*donor, *from),
        });
        // The longest; among equals the one that stands nearest to its new place, which is most
        // likely to have known the same text.
        let best = runs_here
            .max_by_key(|run| (run.len, std::cmp::Reverse((run.from.abs_diff(at), run.donor))));
        match best.filter(|run| run.len >= n) {
            Some(run) => {
                at += run.len;
                runs.push(run);
            }
            None => at += 1,
        }
    }
    runs
}

/// Hashes of all windows of `n` tokens.
fn hashes(ids: &[u32], n: usize) -> impl Iterator<Item = u64> {
    const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
    let top = (1..n).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut hash = 0u64;
    ids.iter().enumerate().filter_map(move |(i, id)| {
        if i >= n {
            hash = hash.wrapping_sub(value(ids[i - n]).wrapping_mul(top));
        }
        hash = hash.wrapping_mul(BASE).wrapping_add(value(*id));
        (i + 1 >= n).then_some(hash)
    })
}

/// Ids are small and near each other: spread over all bits.
fn value(id: u32) -> u64 {
    let mixed = (u64::from(id) + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 29
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Kv;
    use crate::route::Route;

    fn held(text: &str) -> Sequence {
        let ids: Vec<u32> = text.bytes().map(u32::from).collect();
        Sequence {
            moves: vec![0; ids.len()],
            exact: ids.len(),
            ids,
            kv: Kv::default(),
            route: Route::default(),
        }
    }

    fn found(
        donors: &[&str],
        prompt: &str,
        from: usize,
        n: usize,
    ) -> Vec<(usize, usize, usize, usize)> {
        let donors: Vec<Sequence> = donors.iter().map(|text| held(text)).collect();
        let donors: Vec<&Sequence> = donors.iter().collect();
        let ids: Vec<u32> = prompt.bytes().map(u32::from).collect();
        find_runs(&ids, from..ids.len(), &donors, n)
            .iter()
            .map(|run| (run.at, run.donor, run.from, run.len))
            .collect()
    }

    #[test]
    fn several_shifted_runs_are_all_found() {
        // llama.cpp PR 9866's example: after the exact prefix `aaaaa`, two runs moved by different
        // distances.
        let (cached, new) = (
            "aaaaabbbbbcccccccdddddeeeeeexffggggghhhhhhhxxxxxxxxx",
            "aaaaaccccccceeeeeeffhhhhhhhyyyyyyyy",
        );
        assert_eq!(found(&[cached], new, 5, 3), [(5, 0, 10, 7), (12, 0, 22, 6), (20, 0, 36, 7)]);
        assert_eq!(found(&[cached], new, 5, 7), [(5, 0, 10, 7), (20, 0, 36, 7)]);
        assert_eq!(
            found(&[cached], new, 5, 1)[..4],
            [(5, 0, 10, 7), (12, 0, 22, 6), (18, 0, 29, 2), (20, 0, 36, 7)]
        );
        assert_eq!(found(&[cached], new, 5, 8), []);
    }

    #[test]
    fn the_longest_run_wins_then_the_nearest_place() {
        assert_eq!(found(&["xxabcd", "abcdef"], "abcdef", 0, 3), [(0, 1, 0, 6)]);
        assert_eq!(found(&["abc--abc-----abc"], "------abc", 6, 3), [(6, 0, 5, 3)]);
    }

    #[test]
    fn limits_hold() {
        assert_eq!(found(&[], "abc", 0, 2), []);
        assert_eq!(found(&["ab"], "ab", 0, 3), []);
        assert_eq!(found(&["abc"], "abc", 3, 1), []);
        assert_eq!(found(&["abc"], "abc", 0, 0), [(0, 0, 0, 3)]);
        // Text of one token: every window is the same.
        let (long, short) = ("a".repeat(5000), "a".repeat(4000));
        assert_eq!(found(&[&long], &short, 0, 32).iter().map(|run| run.3).sum::<usize>(), 4000);
        let mut tired = held("abcdefgh");
        tired.moves[4] = MAX_MOVES;
        let ids: Vec<u32> = "abcdefgh".bytes().map(u32::from).collect();
        let runs = find_runs(&ids, 0..8, &[&tired], 3);
        assert_eq!(
            runs,
            [Run { at: 0, donor: 0, from: 0, len: 4 }, Run { at: 5, donor: 0, from: 5, len: 3 }]
        );
    }
}
