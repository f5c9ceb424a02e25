//! Global memory as the caller sees it: named buffers, each in a window of its own, so that an
//! access past an end is always seen.

use half::f16;

/// Bits of an address below its buffer's number.
pub(crate) const WINDOW_BITS: u32 = 32;

/// An address in global memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ptr(pub(crate) u64);

impl Ptr {
    /// The address `bytes` behind this one.
    pub fn offset(self, bytes: u64) -> Ptr {
        Ptr(self.0 + bytes)
    }

    pub(crate) fn buffer(self) -> usize {
        ((self.0 >> WINDOW_BITS) as usize).wrapping_sub(1)
    }

    fn start(self) -> usize {
        (self.0 & ((1 << WINDOW_BITS) - 1)) as usize
    }
}

/// A number as it lies in memory, little-endian.
pub trait Scalar: Copy {
    /// Bytes of one.
    const SIZE: usize;
    fn put(self, bytes: &mut Vec<u8>);
    /// Of exactly [`Self::SIZE`] bytes.
    fn take(bytes: &[u8]) -> Self;
}

macro_rules! scalar {
    ($($t:ty),*) => {$(
        impl Scalar for $t {
            const SIZE: usize = size_of::<$t>();
            fn put(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }
            fn take(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("as many bytes as the type has"))
            }
        }
    )*};
}
scalar!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, f16);

/// Global memory: buffers that are read, and buffers that are written and read.
#[derive(Debug, Default)]
pub struct Memory {
    pub(crate) buffers: Vec<Buffer>,
}

#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Which bytes were ever written; none for a buffer that kernels may only read.
    pub(crate) written: Option<Bits>,
}

impl Memory {
    /// A buffer that kernels may only read.
    pub fn input<T: Scalar>(&mut self, name: &str, values: &[T]) -> Ptr {
        self.push(name, to_bytes(values), false)
    }

    /// A buffer of `len` values that kernels may write; to read what was not written before is a
    /// fault.
    pub fn output<T: Scalar>(&mut self, name: &str, len: usize) -> Ptr {
        self.push(name, vec![0xa5; len * T::SIZE], true)
    }

    /// A buffer that kernels may read and write.
    pub fn inout<T: Scalar>(&mut self, name: &str, values: &[T]) -> Ptr {
        let ptr = self.output::<T>(name, values.len());
        self.write(ptr, values);
        ptr
    }

    fn push(&mut self, name: &str, bytes: Vec<u8>, writable: bool) -> Ptr {
        assert!(bytes.len() < 1 << WINDOW_BITS, "{name}: a buffer is smaller than 4 GiB");
        let written = writable.then(|| Bits::new(bytes.len()));
        self.buffers.push(Buffer { name: name.to_owned(), bytes, written });
        Ptr((self.buffers.len() as u64) << WINDOW_BITS)
    }

    /// Writes from the host.
    ///
    /// Panics: outside of a buffer.
    pub fn write<T: Scalar>(&mut self, at: Ptr, values: &[T]) {
        let (bytes, start) = (to_bytes(values), at.start());
        let buffer = &mut self.buffers[at.buffer()];
        buffer.bytes[start..start + bytes.len()].copy_from_slice(&bytes);
        if let Some(written) = &mut buffer.written {
            written.set(start, bytes.len());
        }
    }

    /// All values from `at` to the end of its buffer.
    ///
    /// Panics: outside of a buffer.
    pub fn read<T: Scalar>(&self, at: Ptr) -> Vec<T> {
        self.buffers[at.buffer()].bytes[at.start()..].chunks_exact(T::SIZE).map(T::take).collect()
    }

    /// Reads to the host. What nobody has written is read as it is.
    ///
    /// Panics: outside of a buffer.
    pub fn read_bytes(&self, at: Ptr, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.buffers[at.buffer()].bytes[at.start()..][..bytes.len()]);
    }

    /// Copies bytes; those that nobody has written stay so.
    ///
    /// Panics: outside of a buffer.
    pub fn copy(&mut self, from: Ptr, to: Ptr, len: usize) {
        let source = &self.buffers[from.buffer()];
        let bytes = source.bytes[from.start()..][..len].to_vec();
        let is_written = |at: usize| source.written.as_ref().is_none_or(|bits| bits.all(at, 1));
        let written: Vec<bool> = (from.start()..from.start() + len).map(is_written).collect();
        let target = &mut self.buffers[to.buffer()];
        target.bytes[to.start()..][..len].copy_from_slice(&bytes);
        if let Some(bits) = &mut target.written {
            for (at, _) in (to.start()..).zip(written).filter(|(_, is_written)| *is_written) {
                bits.set(at, 1);
            }
        }
    }

    /// Gives a buffer back: whoever touches it from now on is out of bounds. Returns its bytes.
    ///
    /// Panics: there is no such buffer.
    pub fn free(&mut self, at: Ptr) -> usize {
        let buffer = &mut self.buffers[at.buffer()];
        buffer.written = Some(Bits::default());
        buffer.name = format!("{}, given back", buffer.name);
        std::mem::take(&mut buffer.bytes).len()
    }

    /// Bytes of the buffer that nobody ever wrote.
    pub fn unwritten(&self, at: Ptr) -> usize {
        let buffer = &self.buffers[at.buffer()];
        buffer.written.as_ref().map_or(0, |written| {
            (0..buffer.bytes.len()).filter(|byte| !written.all(*byte, 1)).count()
        })
    }
}

fn to_bytes<T: Scalar>(values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * T::SIZE);
    values.iter().for_each(|value| value.put(&mut bytes));
    bytes
}

/// A bit a byte of memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn new(len: usize) -> Bits {
        Bits(vec![0; len.div_ceil(64)])
    }

    /// `len` at most 16 where it matters for speed; any is right.
    pub(crate) fn set(&mut self, start: usize, len: usize) {
        for bit in start..start + len {
            self.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    pub(crate) fn all(&self, start: usize, len: usize) -> bool {
        // Aligned accesses of at most 16 bytes lie in one word.
        if len <= 16 && start % 64 + len <= 64 {
            let mask = ((1u64 << len) - 1) << (start % 64);
            return self.0[start / 64] & mask == mask;
        }
        (start..start + len).all(|bit| self.0[bit / 64] >> (bit % 64) & 1 == 1)
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(crate) fn clear(&mut self) {
        self.0.fill(0);
    }
}
