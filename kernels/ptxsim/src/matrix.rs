//! Matrix fragments: products of 16 × 8 tiles, and tiles from shared memory.

use half::bf16;

use crate::exec::set_dst;
use crate::machine::{BlockState, Run, Trouble, Warp};
use crate::op::{Address, Dst, Element, Product, Reg};
use crate::value::{ALL, Lanes, WARP, bits_of, f32_of, half_of};

/// Rows of `a`, columns of `b`, and the largest k.
const ROWS: usize = 16;
const COLUMNS: usize = 8;
const MOST_K: usize = 32;

impl Run<'_> {
    /// Sums of products of halves are exact in f64 here, with `c`, and rounded once; a tensor core
    /// rounds in between.
    pub(crate) fn mma(
        &mut self,
        warp: &mut Warp,
        product: Product,
        d: &[Dst],
        a: &[Reg],
        b: &[Reg],
        c: &[Reg],
    ) {
        self.counts.mma += 1;
        let per_reg = 4 / product.a.bytes();
        let (mut left, mut right) = ([[0f64; MOST_K]; ROWS], [[0f64; MOST_K]; COLUMNS]);
        for (r, reg) in a.iter().enumerate() {
            let value = self.reg(warp, *reg);
            for lane in 0..WARP {
                for e in 0..per_reg {
                    // Half of the row's k lies in the upper registers.
                    left[lane / 4 + 8 * (r % 2)]
                        [per_reg * (lane % 4) + 4 * per_reg * (r / 2) + e] =
                        element(product.a, value[lane], e);
                }
            }
        }
        for (r, reg) in b.iter().enumerate() {
            let value = self.reg(warp, *reg);
            for lane in 0..WARP {
                for e in 0..per_reg {
                    right[lane / 4][per_reg * (lane % 4) + 4 * per_reg * r + e] =
                        element(product.b, value[lane], e);
                }
            }
        }
        let integer = matches!(product.a, Element::U8 | Element::S8);
        for (q, dst) in d.iter().enumerate() {
            let before = *self.reg(warp, c[q]);
            let sum: Lanes = std::array::from_fn(|lane| {
                let (row, column) = (&left[lane / 4 + 8 * (q / 2)], &right[2 * (lane % 4) + q % 2]);
                let dot: f64 = row.iter().zip(column).map(|(x, y)| x * y).sum();
                if integer {
                    // Exact: at most 32 products of 16 bits.
                    u64::from((before[lane] as u32).wrapping_add(dot as i64 as u32))
                } else {
                    bits_of((f64::from(f32_of(before[lane])) + dot) as f32)
                }
            });
            set_dst(warp, *dst, &sum, ALL);
        }
    }

    /// Tiles of 8 × 8 halves: lane `8·i + row` names row `row` of tile `i`.
    pub(crate) fn load_matrix(
        &mut self,
        warp: &mut Warp,
        state: &mut BlockState,
        pc: u32,
        from: Address,
        dst: &[Dst],
        transposed: bool,
    ) -> Result<(), Trouble> {
        let addresses = self.addresses(warp, from);
        let rows = 8 * dst.len();
        let mut tiles = [[[0u8; 16]; 8]; 4];
        for lane in 0..rows {
            let place = self.check(warp, state, from.space, addresses[lane], 16, lane, false)?;
            self.order_read(warp, state, pc, place, 16, lane)?;
            tiles[lane / 8][lane % 8]
                .copy_from_slice(&self.bytes(warp, state, place, 16, lane)[..16]);
        }
        let named: Vec<_> = (0..rows).map(|lane| (lane, addresses[lane])).collect();
        self.counts.shared.request(&named, 16);
        for (tile, dst) in tiles.iter().zip(dst) {
            let half = |row: usize, column: usize| {
                u64::from(u16::from_le_bytes([tile[row][2 * column], tile[row][2 * column + 1]]))
            };
            let value: Lanes = std::array::from_fn(|lane| {
                let (long, short) = (lane / 4, 2 * (lane % 4));
                if transposed {
                    half(short, long) | half(short + 1, long) << 16
                } else {
                    half(long, short) | half(long, short + 1) << 16
                }
            });
            set_dst(warp, *dst, &value, ALL);
        }
        Ok(())
    }
}

fn element(kind: Element, register: u64, at: usize) -> f64 {
    match kind {
        Element::F16 => half_of(register >> (16 * at)),
        Element::Bf16 => bf16::from_bits((register >> (16 * at)) as u16).to_f64(),
        Element::U8 => f64::from((register >> (8 * at)) as u8),
        Element::S8 => f64::from((register >> (8 * at)) as u8 as i8),
    }
}
