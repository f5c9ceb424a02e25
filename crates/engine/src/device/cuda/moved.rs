//! Text that is moved: as on the CPU ([`MovedText`] says what, `cpu/moved` why), on the blocks of a
//! GPU.

use std::ops::Range;

use lacuna_kernels::cuda::store::BLOCK;
use lacuna_kernels::cuda::{GpuError, Room, launch};

use super::{Blocks, Buffers, Cuda, Rows};
use crate::batch::Batch;
use crate::device::{MovedText, farthest};

impl MovedText for Cuda {
    fn move_run(
        &self,
        target: &mut Blocks,
        at: usize,
        source: &Blocks,
        run: Range<usize>,
    ) -> Result<(), GpuError> {
        let gpu = &self.gpu;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        self.rope.fill_distance(at as i64 - run.start as i64, &mut cos, &mut sin);
        let pairs: Vec<f32> = cos.iter().zip(&sin).flat_map(|(cos, sin)| [*cos, *sin]).collect();
        let cos_sin = Room::of(gpu, &pairs)?;
        let positions: Vec<usize> = (at..at + run.len()).collect();
        let layers: Vec<usize> =
            (0..self.layers.len()).filter(|layer| source.holds(*layer)).collect();
        for layer in &layers {
            target.prepare(*layer, &positions)?;
        }
        let addresses = |blocks: &Blocks, until: usize| -> Result<Room, GpuError> {
            Room::of(gpu, &blocks.addresses().take(until.div_ceil(BLOCK)).collect::<Vec<_>>())
        };
        let from = addresses(source, run.end)?;
        let to = addresses(target, at + run.len())?;
        for layer in layers {
            let (from, to) = ((from.view(), run.start), (to.view(), at));
            let layout = target.layout();
            launch::move_kv(&**gpu, layout, layer, from, to, run.len(), cos_sin.view())?;
        }
        Ok(())
    }

    fn repair_half(
        &self,
        batch: &mut Batch,
        moves: &[u8],
        ratio: f32,
        kv: &mut Blocks,
        x: &mut Rows,
        buffers: &mut Buffers,
    ) -> Result<(), GpuError> {
        let (gpu, layer) = (&self.gpu, Self::CHECK_LAYER);
        self.project(layer, x, buffers)?;
        let (places, heads) = self.places(layer, batch, &mut [&mut *kv], buffers)?;
        let is_moved = |row: &u32| moves[batch.positions[*row as usize]] > 0;
        let moved: Vec<u32> = (0..batch.len() as u32).filter(is_moved).collect();
        let mut distances = vec![0f32; moved.len()];
        if !moved.is_empty() {
            let room = Room::new(gpu, size_of_val(&distances[..]))?;
            let (rows, n) = (Room::of(gpu, &moved)?, moved.len());
            launch::value_distance(&**gpu, &heads, &places, (rows.view(), n), room.view())?;
            room.view().read(&**gpu, &mut distances)?;
        }
        // They are asked for in their order.
        let mut next = distances.into_iter();
        let chosen = farthest(&batch.positions, moves, ratio, |_| next.next().unwrap_or_default());
        self.append(layer, &heads, &places, buffers)?;
        let mut kept = launch::Queries::default();
        kept.resize(gpu, &heads, chosen.len())?;
        kept.gather(&**gpu, &heads, &buffers.queries, batch.len(), &chosen)?;
        buffers.queries = kept;
        batch.keep(&chosen);
        x.keep(&chosen)?;
        let (places, heads) = self.places(layer, batch, &mut [kv], buffers)?;
        self.attend(layer, &heads, &places, x, buffers)
    }
}
