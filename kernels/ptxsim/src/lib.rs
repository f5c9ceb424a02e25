//! Runs PTX on the CPU, for kernels that must be right before a GPU has seen them.
//!
//! What is interpreted is the very text that ships: PTX as NVRTC 12.4 writes it (version 8.4,
//! sm_80), inline assembly included. Every launch is checked for data races (in shared and in
//! global memory), reads of what an asynchronous copy has not brought yet, accesses out of bounds,
//! misaligned or uninitialised, and barriers that not all threads reach; the first fault ends the
//! launch and names the line of the source. What runs through is counted: instructions, 32-byte
//! sectors asked for and needed, bank conflicts.
//!
//! Not done: time, caches, SASS, the rounding inside a tensor core (sums of f16 products are exact
//! here, then rounded once), the last bits of the `.approx` functions, calls of functions that were
//! not inlined. An opcode that is not known is an error with its line.
//!
//! ```
//! use lacuna_ptxsim::{Launch, Memory, Module, Param};
//!
//! let module = Module::parse(
//!     ".version 8.4\n.target sm_80\n.address_size 64\n
//!      .visible .entry twice(.param .u64 x, .param .u64 y) {
//!        .reg .b32 %r<3>; .reg .b64 %rd<6>;
//!        ld.param.u64 %rd1, [x];
//!        ld.param.u64 %rd2, [y];
//!        mov.u32 %r1, %tid.x;
//!        mul.wide.u32 %rd3, %r1, 4;
//!        add.s64 %rd4, %rd1, %rd3;
//!        add.s64 %rd5, %rd2, %rd3;
//!        ld.global.u32 %r2, [%rd4];
//!        add.s32 %r2, %r2, %r2;
//!        st.global.u32 [%rd5], %r2;
//!        ret;
//!      }",
//! )?;
//! let mut memory = Memory::default();
//! let x = memory.input("x", &[1u32, 2, 3, 4]);
//! let y = memory.output::<u32>("y", 4);
//! let counts = module.kernel("twice")?.launch(&Launch::new(1, 4), &[Param::from(x), Param::from(y)], &mut memory)?;
//! assert_eq!(memory.read::<u32>(y), [2, 4, 6, 8]);
//! assert_eq!(counts.loads.sectors, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where to start reading: `text` cuts PTX into statements, `parse` knows modules and names,
//! `decode` (with the tables of `alu`) makes an [`op::Op`] of a statement, `machine` runs blocks
//! and warps, `exec` one instruction; `shadow` and `clock` judge accesses.

mod alu;
mod clock;
mod collective;
mod copies;
mod counts;
mod decode;
mod exec;
mod fault;
mod gpu;
mod machine;
mod matrix;
mod memory;
mod op;
mod parse;
mod shadow;
mod spaces;
mod text;
mod value;

pub use counts::{Buffers, Counts, Line, Shared, Traffic};
pub use fault::{Fault, Kind, ParseError, Place};
pub use gpu::Simulated;
pub use machine::{Launch, Param};
pub use memory::{Memory, Ptr, Scalar};
pub use parse::{Kernel, Module};
