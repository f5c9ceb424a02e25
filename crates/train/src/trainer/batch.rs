//! From packed rows of tokens to a batch of documents.
//!
//! A row holds whole documents back to back, each ending with the end token, then padding.
//! Documents do not see each other, so a batch is simply the documents one after another: padding
//! and the end tokens (which predict nothing) are left out of the inputs, and attention never
//! computes what a mask would throw away.

use super::error::TrainError;
use crate::markers::Markers;

/// Inputs with their targets; every position carries loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Input token ids.
    pub inputs: Vec<u32>,
    /// The token after each input, inside its document.
    pub targets: Vec<u32>,
    /// Weight of each position's loss.
    pub weights: Vec<f32>,
    /// Whether the target belongs to the middle (its end token included).
    pub middle: Vec<bool>,
    /// Length of each document, in inputs; their sum is the length of the batch.
    pub documents: Vec<usize>,
}

impl Batch {
    /// Appends the documents of a row, the targets of their middles weighted by `middle_weight`,
    /// other targets by 1.
    pub fn push_row(&mut self, row: &[u16], markers: Markers, middle_weight: f32) {
        let mut rest = row;
        while let Some(stop) = rest.iter().position(|&t| t == markers.end || t == markers.pad) {
            // A document that padding cuts off has no end token to predict.
            let length = if rest[stop] == markers.end { stop + 1 } else { stop };
            self.push_document(&rest[..length], markers.middle, middle_weight);
            rest = &rest[stop + 1..];
        }
        self.push_document(rest, markers.middle, middle_weight);
    }

    fn push_document(&mut self, tokens: &[u16], middle_id: u16, middle_weight: f32) {
        if tokens.len() < 2 {
            return;
        }
        let mut middle = false;
        for pair in tokens.windows(2) {
            middle |= pair[0] == middle_id;
            self.inputs.push(u32::from(pair[0]));
            self.targets.push(u32::from(pair[1]));
            self.weights.push(if middle { middle_weight } else { 1.0 });
            self.middle.push(middle);
        }
        self.documents.push(tokens.len() - 1);
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.inputs.clear();
        self.targets.clear();
        self.weights.clear();
        self.middle.clear();
        self.documents.clear();
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Sum of the weights.
    pub fn weight(&self) -> f64 {
        self.weights.iter().map(|&w| f64::from(w)).sum()
    }

    /// Refuses a batch that would index outside a vocabulary or the positions.
    pub(crate) fn check(&self, vocab: usize, max_document: usize) -> Result<(), TrainError> {
        let n = self.len();
        let lengths = [
            self.targets.len(),
            self.weights.len(),
            self.middle.len(),
            self.documents.iter().sum(),
        ];
        if lengths.iter().any(|&l| l != n) {
            return Err(TrainError::Config(format!(
                "the parts of a batch of {n} differ in length: {lengths:?}"
            )));
        }
        if let Some(id) = self.inputs.iter().chain(&self.targets).find(|&&id| id as usize >= vocab)
        {
            return Err(TrainError::Config(format!(
                "token id {id} is outside the vocabulary of {vocab}"
            )));
        }
        if let Some(length) = self.documents.iter().find(|&&l| l > max_document || l == 0) {
            return Err(TrainError::Config(format!(
                "a document of {length} tokens: 1 to {max_document} are possible"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_cut_at_end_and_padding() {
        let mut batch = Batch::default();
        batch.push_row(&[10, 11, 2, 12, 0, 20, 21, 0, 4, 4, 4], Markers::default(), 2.0);
        assert_eq!(batch.inputs, [10, 11, 2, 12, 20, 21]);
        assert_eq!(batch.targets, [11, 2, 12, 0, 21, 0]);
        assert_eq!(batch.weights, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0]);
        assert_eq!(batch.middle, [false, false, true, true, false, false]);
        assert_eq!(batch.documents, [4, 2]);
        assert_eq!(batch.weight(), 8.0);
    }

    #[test]
    fn markers_are_those_of_the_tokenizer() {
        let mut batch = Batch::default();
        // One token both ends a document and fills the row.
        batch.push_row(
            &[0, 4, 9, 12, 3, 20, 21, 3, 3, 3],
            Markers { end: 3, middle: 9, pad: 3 },
            2.0,
        );
        assert_eq!(batch.targets, [4, 9, 12, 3, 21, 3]);
        assert_eq!(batch.middle, [false, false, true, true, false, false]);
        assert_eq!(batch.documents, [4, 2]);
    }

    #[test]
    fn odd_rows_give_no_nonsense() {
        let mut batch = Batch::default();
        for row in [&[0u16, 0, 0][..], &[4; 5], &[], &[7], &[7, 4, 4], &[4, 4, 0, 9]] {
            batch.push_row(row, Markers::default(), 2.0);
        }
        assert!(batch.is_empty() && batch.documents.is_empty());
        batch.push_row(&[5, 6, 4, 7, 8, 9], Markers::default(), 2.0);
        assert_eq!(
            (batch.inputs.as_slice(), batch.targets.as_slice()),
            (&[5, 7, 8][..], &[6, 8, 9][..])
        );
        assert_eq!(batch.documents, [1, 2]);
        assert!(
            batch.check(10, 2).is_ok() && batch.check(9, 2).is_err() && batch.check(10, 1).is_err()
        );
    }
}
