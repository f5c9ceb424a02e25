//! Keys and values of a sequence: blocks of 256 positions, each with all layers, shared until one
//! writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lacuna_kernels::cuda::store::{BLOCK, Layout};
use lacuna_kernels::cuda::{Gpu, GpuError, Room, View};

use crate::device::{KeysValues, KvDtype};

/// Counts the bytes of blocks, each once however many sequences share it.
#[derive(Clone, Default)]
pub(crate) struct BlockMemory(Arc<AtomicUsize>);

impl BlockMemory {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

struct Block {
    room: Room,
    memory: BlockMemory,
}

impl Block {
    fn new(gpu: &Arc<dyn Gpu>, bytes: usize, memory: &BlockMemory) -> Result<Block, GpuError> {
        let room = Room::new(gpu, bytes)?;
        memory.0.fetch_add(bytes, Ordering::Relaxed);
        Ok(Block { room, memory: memory.clone() })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.room.bytes(), Ordering::Relaxed);
    }
}

#[derive(Clone)]
pub(crate) struct Blocks {
    gpu: Arc<dyn Gpu>,
    layout: Layout,
    memory: BlockMemory,
    blocks: Vec<Arc<Block>>,
    /// Whether anything was put into a layer: one that a route leaves out holds nothing.
    holds: Vec<bool>,
}

impl Blocks {
    pub(super) fn new(
        gpu: &Arc<dyn Gpu>,
        layout: Layout,
        layers: usize,
        memory: &BlockMemory,
    ) -> Blocks {
        let (gpu, memory) = (Arc::clone(gpu), memory.clone());
        Blocks { gpu, layout, memory, blocks: Vec::new(), holds: vec![false; layers] }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn holds(&self, layer: usize) -> bool {
        self.holds[layer]
    }

    /// Where each block lies.
    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        self.blocks.iter().map(|block| block.room.view().of::<u8>(1))
    }

    fn block_bytes(&self) -> usize {
        self.holds.len() * self.layout.layer_bytes()
    }

    /// Makes room for these positions (ascending) of a layer, in blocks that nobody else reads.
    pub(super) fn prepare(&mut self, layer: usize, positions: &[usize]) -> Result<(), GpuError> {
        self.holds[layer] = true;
        let bytes = self.block_bytes();
        let mut done = 0;
        for position in positions {
            let block = position / BLOCK;
            if block < done {
                continue;
            }
            done = block + 1;
            while self.blocks.len() <= block {
                self.blocks.push(Arc::new(Block::new(&self.gpu, bytes, &self.memory)?));
            }
            if Arc::strong_count(&self.blocks[block]) > 1 {
                let copy = Block::new(&self.gpu, bytes, &self.memory)?;
                let from: View = self.blocks[block].room.view();
                from.copy(&*self.gpu, copy.room.view(), bytes)?;
                self.blocks[block] = Arc::new(copy);
            }
        }
        Ok(())
    }
}

impl KeysValues for Blocks {
    type Memory = BlockMemory;

    fn counted(memory: &BlockMemory) -> usize {
        memory.bytes()
    }

    fn layers(&self) -> usize {
        self.holds.len()
    }

    fn dtype(&self) -> KvDtype {
        self.layout.dtype
    }

    fn bytes(&self) -> usize {
        self.blocks.len() * self.block_bytes()
    }

    fn block(&self) -> (usize, usize) {
        (BLOCK, self.block_bytes())
    }

    fn rewrite(&mut self, from: usize) {
        // A shared block is copied when it is written to; what lies behind need not be.
        let first = from.div_ceil(BLOCK);
        let shared = |block: &Arc<Block>| Arc::strong_count(block) > 1;
        if let Some(n) = self.blocks.iter().skip(first).position(shared) {
            self.blocks.truncate(first + n);
        }
    }

    fn shrink(&mut self, tokens: usize) {
        self.blocks.truncate(tokens.div_ceil(BLOCK));
        if self.blocks.is_empty() {
            self.holds.fill(false);
        }
    }
}
