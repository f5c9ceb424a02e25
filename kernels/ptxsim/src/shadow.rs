//! Who wrote and who read each piece of memory last, to find accesses that nothing orders.

/// An access to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    /// Of the grid.
    pub(crate) warp: u32,
    pub(crate) time: u32,
    /// Instruction.
    pub(crate) pc: u32,
    /// Of the warp, or [`MANY`].
    pub(crate) lane: u8,
}

/// Several lanes.
pub(crate) const MANY: u8 = u8::MAX;
const NOBODY: Access = Access { warp: u32::MAX, time: 0, pc: 0, lane: 0 };

/// Two accesses that are not ordered.
#[derive(Debug)]
pub(crate) struct Conflict {
    /// The earlier one.
    pub(crate) with: Access,
    pub(crate) written: bool,
    pub(crate) in_flight: bool,
    /// Where, in bytes.
    pub(crate) byte: usize,
}

/// How memory is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Plain,
    /// Does not conflict with its like.
    Atomic,
    /// By an asynchronous copy, some time between now and [`Shadow::land`].
    InFlight,
}

#[derive(Debug, Clone)]
struct Cell {
    writer: Access,
    manner: Manner,
    /// At most one entry a warp.
    readers: Readers,
}

#[derive(Debug, Clone)]
enum Readers {
    One(Access),
    Several(Vec<Access>),
}

const CLEAN: Cell = Cell { writer: NOBODY, manner: Manner::Plain, readers: Readers::One(NOBODY) };

/// The accesses to a piece of memory, page by page: a launch touches little of what there is.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    pages: Vec<Option<Box<Page>>>,
}

/// Bytes of a page: no aligned access reaches into two.
const PAGE: usize = 256;

/// The accesses to a page, in cells as fine as the narrowest access seen.
#[derive(Debug)]
struct Page {
    /// Bytes of a cell: 4, 2 or 1.
    grain: usize,
    cells: Vec<Cell>,
}

impl Page {
    fn new() -> Page {
        Page { grain: 4, cells: vec![CLEAN; PAGE / 4] }
    }

    /// Cuts the cells into pieces of `bytes`.
    fn refine(&mut self, bytes: usize) {
        let pieces = self.grain / bytes;
        let cells = self.cells.iter().flat_map(|cell| std::iter::repeat_n(cell, pieces));
        (self.cells, self.grain) = (cells.cloned().collect(), bytes);
    }
}

impl Shadow {
    pub(crate) fn new(len: usize) -> Shadow {
        let mut pages = Vec::new();
        pages.resize_with(len.div_ceil(PAGE), || None);
        Shadow { pages }
    }

    /// Forgets all accesses.
    pub(crate) fn clear(&mut self) {
        for page in self.pages.iter_mut().flatten() {
            page.cells.fill(CLEAN);
        }
    }

    /// The cells of some bytes, each with its first byte.
    fn cells(&mut self, start: usize, bytes: usize) -> impl Iterator<Item = (usize, &mut Cell)> {
        let page = self.pages[start / PAGE].get_or_insert_with(|| Box::new(Page::new()));
        if bytes < page.grain {
            page.refine(bytes);
        }
        let (grain, first) = (page.grain, start % PAGE / page.grain);
        let cells = page.cells[first..].iter_mut().take(bytes.div_ceil(grain));
        cells.enumerate().map(move |(i, cell)| (start / grain * grain + i * grain, cell))
    }

    /// A read. `ordered` says whether an earlier access is known to the reader.
    #[inline]
    pub(crate) fn read(
        &mut self,
        start: usize,
        bytes: usize,
        who: Access,
        ordered: impl Fn(&Access) -> bool,
    ) -> Result<(), Conflict> {
        for (byte, cell) in self.cells(start, bytes) {
            let in_flight = cell.manner == Manner::InFlight;
            if in_flight || (cell.writer != NOBODY && !ordered(&cell.writer)) {
                return Err(Conflict { with: cell.writer, written: true, in_flight, byte });
            }
            match &mut cell.readers {
                Readers::One(one) if one.warp == who.warp => merge(one, who, &ordered),
                Readers::One(one) if *one == NOBODY || ordered(one) => *one = who,
                Readers::One(one) => cell.readers = Readers::Several(vec![*one, who]),
                Readers::Several(several) => {
                    match several.iter_mut().find(|reader| reader.warp == who.warp) {
                        Some(reader) => merge(reader, who, &ordered),
                        None => several.push(who),
                    }
                }
            }
        }
        Ok(())
    }

    /// A read that does not conflict with atomic writes, and is not remembered.
    pub(crate) fn read_atomically(
        &mut self,
        start: usize,
        bytes: usize,
        ordered: impl Fn(&Access) -> bool,
    ) -> Result<(), Conflict> {
        for (byte, cell) in self.cells(start, bytes) {
            if cell.writer != NOBODY && cell.manner != Manner::Atomic && !ordered(&cell.writer) {
                return Err(Conflict { with: cell.writer, written: true, in_flight: false, byte });
            }
        }
        Ok(())
    }

    /// A write.
    #[inline]
    pub(crate) fn write(
        &mut self,
        start: usize,
        bytes: usize,
        who: Access,
        manner: Manner,
        ordered: impl Fn(&Access) -> bool,
    ) -> Result<(), Conflict> {
        for (byte, cell) in self.cells(start, bytes) {
            let in_flight = cell.manner == Manner::InFlight;
            let harmless = manner == Manner::Atomic && cell.manner == Manner::Atomic;
            if in_flight || (cell.writer != NOBODY && !harmless && !ordered(&cell.writer)) {
                return Err(Conflict { with: cell.writer, written: true, in_flight, byte });
            }
            let reader = match &mut cell.readers {
                Readers::One(one) => std::mem::replace(one, NOBODY),
                Readers::Several(several) => {
                    let unordered = several.iter().find(|reader| !ordered(reader)).copied();
                    several.clear();
                    unordered.unwrap_or(NOBODY)
                }
            };
            if reader != NOBODY && !ordered(&reader) {
                return Err(Conflict { with: reader, written: false, in_flight: false, byte });
            }
            (cell.writer, cell.manner) = (who, manner);
        }
        Ok(())
    }

    /// An asynchronous copy has arrived: from now on it is a write of `who`.
    pub(crate) fn land(&mut self, start: usize, bytes: usize, who: Access) {
        for (_, cell) in self.cells(start, bytes) {
            (cell.writer, cell.manner) = (who, Manner::Plain);
        }
    }
}

/// Joins a read with an earlier one of the same warp.
#[inline]
fn merge(earlier: &mut Access, who: Access, ordered: impl Fn(&Access) -> bool) {
    let lane = if earlier.lane == who.lane || ordered(earlier) { who.lane } else { MANY };
    *earlier = Access { lane, ..who };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(warp: u32, lane: u8) -> Access {
        Access { warp, time: 1, pc: 0, lane }
    }

    #[test]
    fn neighbours_in_a_word_do_not_conflict() {
        let mut shadow = Shadow::new(8);
        shadow.write(0, 4, access(0, 0), Manner::Plain, |_| false).unwrap();
        shadow.write(4, 1, access(0, 0), Manner::Plain, |_| false).unwrap();
        shadow.write(5, 1, access(1, 0), Manner::Plain, |_| false).unwrap();
        let conflict = shadow.write(3, 1, access(1, 0), Manner::Plain, |_| false).unwrap_err();
        assert_eq!((conflict.byte, conflict.with), (3, access(0, 0)));
        assert_eq!(shadow.read(4, 4, access(0, 0), |a| a.warp == 0).unwrap_err().byte, 5);
    }

    #[test]
    fn every_reader_is_remembered() {
        for reader in 0..4 {
            let mut shadow = Shadow::new(4);
            (0..4).for_each(|warp| shadow.read(0, 4, access(warp, 7), |_| false).unwrap());
            let conflict =
                shadow.write(0, 4, access(9, 0), Manner::Plain, |a| a.warp != reader).unwrap_err();
            assert_eq!((conflict.with.warp, conflict.written), (reader, false));
        }
    }

    #[test]
    fn atomics_conflict_with_the_rest_only() {
        let mut shadow = Shadow::new(4);
        shadow.write(0, 4, access(0, 0), Manner::Atomic, |_| false).unwrap();
        shadow.write(0, 4, access(1, 0), Manner::Atomic, |_| false).unwrap();
        shadow.read_atomically(0, 4, |_| false).unwrap();
        assert!(shadow.read(0, 4, access(2, 0), |_| false).is_err());
        assert!(shadow.write(0, 4, access(2, 0), Manner::Plain, |_| false).is_err());
    }
}
