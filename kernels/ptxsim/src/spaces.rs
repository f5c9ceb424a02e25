//! Address spaces, and where they lie among generic addresses.

use crate::memory::WINDOW_BITS;

/// Module variables (`.const`, `.global` with an initialiser).
pub(crate) const MODULE_BASE: u64 = 1 << 59;
pub(crate) const SHARED_BASE: u64 = 1 << 60;
pub(crate) const LOCAL_BASE: u64 = 1 << 61;
/// Bytes of the windows of shared and local memory.
const SMALL_WINDOW: u64 = 1 << 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// Any of the others, by the address.
    Generic,
    Global,
    Shared,
    Local,
    Const,
    Param,
}

impl Space {
    pub(crate) fn parse(word: &str) -> Option<Space> {
        Some(match word {
            "global" => Space::Global,
            // `.shared::cta` is the plain one; other blocks' shared memory (`::cluster`) is not
            // known.
            "shared" | "shared::cta" => Space::Shared,
            "local" => Space::Local,
            "const" => Space::Const,
            "param" | "param::entry" => Space::Param,
            _ => return None,
        })
    }

    /// What `cvta` adds to an address of the space.
    pub(crate) fn base(self) -> u64 {
        match self {
            Space::Shared => SHARED_BASE,
            Space::Local => LOCAL_BASE,
            Space::Generic | Space::Global | Space::Const | Space::Param => 0,
        }
    }
}

/// A place in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// Number of the buffer, byte in it.
    Buffer(usize, usize),
    /// Byte of the module's variables.
    Module(usize),
    Shared(usize),
    Local(usize),
    Nowhere,
}

/// Where an address of a space points.
#[inline]
pub(crate) fn home(space: Space, address: u64) -> Home {
    match space {
        Space::Shared => Home::Shared(address as usize),
        Space::Local => Home::Local(address as usize),
        Space::Param => Home::Nowhere,
        Space::Generic if (SHARED_BASE..SHARED_BASE + SMALL_WINDOW).contains(&address) => {
            Home::Shared((address - SHARED_BASE) as usize)
        }
        Space::Generic if (LOCAL_BASE..LOCAL_BASE + SMALL_WINDOW).contains(&address) => {
            Home::Local((address - LOCAL_BASE) as usize)
        }
        Space::Generic | Space::Global | Space::Const => {
            let (window, byte) =
                (address >> WINDOW_BITS, (address & ((1 << WINDOW_BITS) - 1)) as usize);
            if window == MODULE_BASE >> WINDOW_BITS {
                Home::Module(byte)
            } else if window == 0 {
                Home::Nowhere
            } else {
                Home::Buffer(window as usize - 1, byte)
            }
        }
    }
}
