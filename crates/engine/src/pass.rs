//! The pass through the layers. Prefills, packed prompts, decoding, drafts and beams are batches of
//! rows that go through this one loop.
//!
//! A pass is `(batch, next half of a layer, residual stream)`: it stops before any half, and goes
//! on there when it is asked again. Does not own: what is computed (`device`), which tokens are
//! evaluated and what becomes of their states (the callers).

use crate::batch::Batch;
use crate::cancel::Cancel;
use crate::device::{Device, States};
use crate::error::Stopped;
use crate::route::Route;

/// Where a pass looks at its cancel flag and lets others go first.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stops {
    /// Before each layer: what is done is thrown away.
    #[default]
    Layers,
    /// Before each half of a layer: what is done is kept.
    Halves,
}

/// A batch on its way through the layers.
pub(crate) struct Pass<D: Device> {
    pub(crate) batch: Batch,
    stops: Stops,
    /// The next half of a layer: `2 l` is the attention of layer `l`, `2 l + 1` its feed-forward
    /// half.
    pub(crate) half: usize,
    /// The residual stream; when the last half is done, the states of the rows.
    pub(crate) x: D::States,
}

impl<D: Device> Default for Pass<D> {
    fn default() -> Self {
        let (batch, stops, x) = (Batch::default(), Stops::default(), D::States::default());
        Pass { batch, stops, half: 0, x }
    }
}

impl<D: Device> Pass<D> {
    /// Starts anew with an empty batch, for the caller to fill.
    pub(crate) fn begin(&mut self, stops: Stops) -> &mut Batch {
        self.batch.clear();
        (self.stops, self.half) = (stops, 0);
        &mut self.batch
    }

    /// Goes on up to half `until`. `kv` holds the keys and values of each sequence and takes those
    /// of the rows; after a cancellation it has some of them.
    ///
    /// Errors: cancelled, and what the device did not do.
    pub(crate) fn advance(
        &mut self,
        device: &D,
        kv: &mut [&mut D::Kv],
        route: &Route,
        until: usize,
        cancel: &Cancel,
        buffers: &mut D::Buffers,
    ) -> Result<(), Stopped> {
        if self.half == 0 {
            device.embed(&self.batch.ids, &mut self.x)?;
        }
        device.place(&self.batch.positions, buffers)?;
        while self.half < until {
            let (layer, is_attention) = (self.half / 2, self.half.is_multiple_of(2));
            if (is_attention || self.stops == Stops::Halves) && cancel.checkpoint(self.half == 0) {
                return Err(Stopped::Cancelled);
            }
            match (route.takes(layer), is_attention) {
                (false, _) => {}
                (true, true) => {
                    device.attention_half(layer, &self.batch, kv, &mut self.x, buffers)?;
                }
                (true, false) => device.feed_forward_half(layer, &mut self.x, buffers)?,
            }
            self.half += 1;
        }
        Ok(())
    }

    /// Goes on through all layers.
    pub(crate) fn run(
        &mut self,
        device: &D,
        kv: &mut [&mut D::Kv],
        route: &Route,
        cancel: &Cancel,
        buffers: &mut D::Buffers,
    ) -> Result<(), Stopped> {
        self.advance(device, kv, route, 2 * device.layers(), cancel, buffers)
    }

    /// Drops all rows of a batch of one sequence but the first `rows`.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.batch.truncate(rows);
        self.x.truncate(rows);
    }
}
