//! Memory of a GPU that has an owner.

use std::sync::Arc;

use super::{Gpu, GpuError};

/// A number as a GPU and this machine both hold it.
pub trait Plain: Copy + Default {}
impl Plain for u8 {}
impl Plain for i8 {}
impl Plain for u32 {}
impl Plain for i32 {}
impl Plain for u64 {}
impl Plain for f32 {}
impl Plain for half::f16 {}

/// The bytes of some numbers.
fn bytes<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: the types of `Plain` have no padding, and the slice is all of it.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// Memory on a GPU, given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    gpu: Arc<dyn Gpu>,
    address: u64,
    bytes: usize,
}

/// A piece of a [`Room`].
#[derive(Debug, Clone, Copy)]
pub struct View {
    address: u64,
    bytes: usize,
}

impl Room {
    /// With nothing in it.
    pub fn new(gpu: &Arc<dyn Gpu>, bytes: usize) -> Result<Room, GpuError> {
        let address = gpu.alloc(bytes.max(1))?;
        Ok(Room { gpu: Arc::clone(gpu), address, bytes })
    }

    pub fn zeroed(gpu: &Arc<dyn Gpu>, bytes: usize) -> Result<Room, GpuError> {
        let room = Room::new(gpu, bytes)?;
        if bytes > 0 {
            gpu.zero(room.address, bytes)?;
        }
        Ok(room)
    }

    /// With these numbers in it.
    pub fn of<T: Plain>(gpu: &Arc<dyn Gpu>, values: &[T]) -> Result<Room, GpuError> {
        let room = Room::new(gpu, size_of_val(values))?;
        room.view().write(&**gpu, values)?;
        Ok(room)
    }

    pub fn gpu(&self) -> &Arc<dyn Gpu> {
        &self.gpu
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn view(&self) -> View {
        View { address: self.address, bytes: self.bytes }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.gpu.free(self.address);
    }
}

impl View {
    /// What an argument is when there is nothing.
    pub const NONE: View = View { address: 0, bytes: 0 };

    pub fn bytes(self) -> usize {
        self.bytes
    }

    /// What lies behind the first `bytes`. Panics: there are not so many.
    pub fn skip(self, bytes: usize) -> View {
        assert!(bytes <= self.bytes, "{bytes} of {}", self.bytes);
        View { address: self.address + bytes as u64, bytes: self.bytes - bytes }
    }

    /// The address of `n` numbers. Panics: there are not so many.
    pub fn of<T: Plain>(self, n: usize) -> u64 {
        let wanted = n * size_of::<T>();
        assert!(wanted <= self.bytes, "{wanted} bytes of {}", self.bytes);
        self.address
    }

    /// The address, or 0 for [`View::NONE`] alone.
    pub fn if_any<T: Plain>(self, n: usize) -> u64 {
        if self.address == 0 { 0 } else { self.of::<T>(n) }
    }

    pub fn write<T: Plain>(self, gpu: &dyn Gpu, values: &[T]) -> Result<(), GpuError> {
        if values.is_empty() {
            return Ok(());
        }
        gpu.write(self.of::<T>(values.len()), bytes(values))
    }

    pub fn read<T: Plain>(self, gpu: &dyn Gpu, values: &mut [T]) -> Result<(), GpuError> {
        if values.is_empty() {
            return Ok(());
        }
        let address = self.of::<T>(values.len());
        // SAFETY: as in `bytes`; any bits are a number of these types, and the borrow is exclusive.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values))
        };
        gpu.read(address, bytes)
    }

    /// Copies the first `bytes` to `to`.
    pub fn copy(self, gpu: &dyn Gpu, to: View, bytes: usize) -> Result<(), GpuError> {
        if bytes == 0 {
            return Ok(());
        }
        gpu.copy(self.of::<u8>(bytes), to.of::<u8>(bytes), bytes)
    }
}
