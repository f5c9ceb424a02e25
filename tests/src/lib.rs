//! Support for the tests of the real binary: building and running it, talking LSP to it, and models
//! made in code.
//!
//! Nothing here links against Lacuna: what a test sees is what a user or an editor sees. Start
//! reading at [`run`] for the command line and at [`Client`] for the language server.

mod binary;
mod client;
mod process;
mod random;
mod tiny;

pub use binary::{binary, workspace};
pub use client::{Client, Message};
pub use process::{HANG, Home, Output, run};
pub use random::Random;
pub use tiny::{Container, ModelDir, TinyModel};

/// Value below which the share `p` (0–1) of the sorted `values` lies, by the nearest rank; 0 of
/// nothing.
pub fn percentile(sorted: &[f64], p: f64) -> f64 {
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).or(sorted.last()).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            [0.0, 0.5, 0.95, 0.99, 1.0].map(|p| percentile(&values, p)),
            [1.0, 100.0, 190.0, 198.0, 200.0]
        );
        assert_eq!((percentile(&[], 0.5), percentile(&[7.0], 0.01)), (0.0, 7.0));
    }
}
