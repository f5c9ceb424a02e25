//! Rows of the residual stream, and small lists, in a GPU's memory.

use std::sync::Arc;

use lacuna_kernels::cuda::launch::grow;
use lacuna_kernels::cuda::{Gpu, GpuError, Plain, Room, View};

use crate::device::States;

/// `[rows, width]`, the width filled up.
#[derive(Default)]
pub(crate) struct Rows {
    room: Option<Room>,
    rows: usize,
    width: usize,
}

impl Rows {
    pub(super) fn resize(
        &mut self,
        gpu: &Arc<dyn Gpu>,
        rows: usize,
        width: usize,
    ) -> Result<(), GpuError> {
        (self.rows, self.width) = (0, width);
        grow(gpu, &mut self.room, rows * width * size_of::<f32>())?;
        self.rows = rows;
        Ok(())
    }

    pub(super) fn view(&self) -> View {
        self.room.as_ref().map_or(View::NONE, Room::view)
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    fn row_bytes(&self) -> usize {
        self.width * size_of::<f32>()
    }

    /// Only these rows (ascending), in their order.
    pub(super) fn keep(&mut self, rows: &[usize]) -> Result<(), GpuError> {
        let Some(room) = &self.room else { return Ok(()) };
        let (gpu, bytes) = (Arc::clone(room.gpu()), self.row_bytes());
        // Copies go one after the other, and none reaches a row that is still to be copied.
        for (to, from) in rows.iter().enumerate().filter(|(to, from)| to != *from) {
            let view = room.view();
            view.skip(from * bytes).copy(&*gpu, view.skip(to * bytes), bytes)?;
        }
        self.rows = rows.len();
        Ok(())
    }
}

impl States for Rows {
    fn bytes(&self) -> usize {
        self.rows * self.row_bytes()
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
    }

    fn push(&mut self, other: &Rows, row: usize) -> Result<(), GpuError> {
        let Some(source) = &other.room else { return Ok(()) };
        let (gpu, bytes) = (source.gpu(), other.row_bytes());
        let is_here = self.room.as_ref().is_some_and(|room| Arc::ptr_eq(room.gpu(), gpu));
        if !is_here || self.width != other.width {
            (self.room, self.rows, self.width) = (None, 0, other.width);
        }
        let wanted = (self.rows + 1) * bytes;
        if self.room.as_ref().is_none_or(|room| room.bytes() < wanted) {
            let more = Room::new(gpu, 2 * wanted)?;
            self.view().copy(&**gpu, more.view(), self.rows * bytes)?;
            self.room = Some(more);
        }
        let to = self.view().skip(self.rows * bytes);
        source.view().skip(row * bytes).copy(&**gpu, to, bytes)?;
        self.rows += 1;
        Ok(())
    }
}

/// A list that is written only when it is another than before.
pub(super) struct Uploaded<T> {
    values: Vec<T>,
    room: Option<Room>,
}

impl<T> Default for Uploaded<T> {
    fn default() -> Self {
        Uploaded { values: Vec::new(), room: None }
    }
}

impl<T: Plain + PartialEq> Uploaded<T> {
    pub(super) fn set(&mut self, gpu: &Arc<dyn Gpu>, values: &[T]) -> Result<View, GpuError> {
        let is_here = self.room.as_ref().is_some_and(|room| Arc::ptr_eq(room.gpu(), gpu));
        if !is_here || self.values != values {
            self.values.clear();
            grow(gpu, &mut self.room, size_of_val(values))?;
            self.room.as_ref().map_or(View::NONE, Room::view).write(&**gpu, values)?;
            self.values.extend_from_slice(values);
        }
        Ok(self.room.as_ref().map_or(View::NONE, Room::view))
    }
}
