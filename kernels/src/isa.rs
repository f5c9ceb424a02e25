//! Which instruction set runs: detection, the `LACUNA_ISA` override and the table of function
//! pointers.
//!
//! Owns the choice and nothing numeric. The table is filled once per process ([`selected`]); tests
//! ask for a given row with [`row`]. Start reading at [`Row`].

use std::fmt;
use std::sync::OnceLock;

use crate::int4;
use crate::ops;

/// The environment variable that forces a row (tests, bug reports).
pub const ISA_VARIABLE: &str = "LACUNA_ISA";

/// An instruction set for which kernels exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Portable Rust; no assumption about the CPU.
    Scalar,
    /// AVX2 + FMA + F16C.
    Avx2,
    /// 256-bit VNNI (AVX-VNNI, or AVX-512 VL) + FMA + F16C.
    AvxVnni,
    /// AVX-512 F/BW/VL/VNNI + F16C.
    Avx512Vnni,
    /// AVX-512 VNNI and, for many tokens, AMX INT8.
    Amx,
    /// The same with tile products in plain Rust: slow, for tests of the AMX row on any CPU with
    /// AVX-512 VNNI. Never chosen by itself.
    AmxEmulated,
}

impl Isa {
    /// Every instruction set, slowest first.
    pub const ALL: [Isa; 5] = [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni, Isa::Amx];

    /// The name that `LACUNA_ISA` takes and `doctor` prints.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Amx => "amx",
            Isa::AmxEmulated => "amx-emulated",
        }
    }

    /// Whether this CPU (and operating system) can run it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => int4::avx2::is_available(),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => int4::avxvnni::is_available() || int4::avx512vl::is_available(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni | Isa::AmxEmulated => int4::avx512vnni::is_available(),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => int4::amx::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `LACUNA_ISA` names a row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IsaError {
    /// Not one of the names.
    Unknown(String),
    /// A name we know, on a CPU that lacks it.
    Unsupported(Isa),
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IsaError::Unknown(value) => {
                write!(
                    f,
                    "{ISA_VARIABLE}={value:?} is not a kernel row; use scalar, avx2, avxvnni, avx512vnni or amx, or unset it"
                )
            }
            IsaError::Unsupported(isa) => {
                let best = best();
                write!(
                    f,
                    "{ISA_VARIABLE}={isa} is not supported by this CPU; the best it can run is {best}"
                )
            }
        }
    }
}

impl std::error::Error for IsaError {}

/// One row of the table: the kernels of one instruction set.
///
/// The pointers are `unsafe` because their functions assume the instruction set; a `Row` can only
/// be had from [`row`] or [`selected`], which check it, and that is what their callers rely on.
#[derive(Clone, Copy)]
pub struct Row {
    isa: Isa,
    pub(crate) int4_tile: int4::TileKernel,
    pub(crate) int4_panel: int4::Panels,
    /// A kernel for several, but not many, tokens, where there is one of its own.
    pub(crate) int4_few: Option<int4::SomeTokens>,
    /// How panels want their tokens, where not as tiles do.
    pub(crate) int4_coarse: Option<int4::Coarse>,
    pub(crate) quantize: int4::QuantizeKernel,
    pub(crate) ops: ops::Table,
}

impl Row {
    /// The instruction set of this row.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({})", self.isa)
    }
}

static SCALAR: Row = Row {
    isa: Isa::Scalar,
    int4_tile: int4::scalar::tile,
    int4_panel: int4::Panels { kernel: int4::scalar::panel, tiles: 1 },
    int4_few: None,
    int4_coarse: None,
    quantize: int4::scalar::quantize,
    ops: ops::SCALAR,
};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Isa, Row, int4, ops};

    pub(super) static AVX2: Row = Row {
        isa: Isa::Avx2,
        int4_tile: int4::avx2::tile,
        int4_panel: int4::Panels { kernel: int4::avx2::panel, tiles: 1 },
        int4_few: None,
        int4_coarse: None,
        quantize: int4::avx2_quantize,
        ops: ops::AVX2,
    };
    pub(super) static AVXVNNI: Row = Row {
        isa: Isa::AvxVnni,
        int4_tile: int4::avxvnni::tile,
        int4_panel: int4::Panels { kernel: int4::avxvnni::panel, tiles: 1 },
        ..AVX2
    };
    /// The same instructions as AVX-512 encodes them, where the short encoding is missing.
    pub(super) static AVX512VL: Row = Row {
        int4_tile: int4::avx512vl::tile,
        int4_panel: int4::Panels { kernel: int4::avx512vl::panel, tiles: 1 },
        ..AVXVNNI
    };
    pub(super) static AVX512VNNI: Row = Row {
        isa: Isa::Avx512Vnni,
        int4_tile: int4::avx512vnni::tile,
        int4_panel: int4::Panels {
            kernel: int4::avx512vnni::panel,
            tiles: int4::avx512vnni::PANEL_TILES,
        },
        int4_few: None,
        int4_coarse: None,
        quantize: int4::avx512vnni::quantize,
        ops: ops::AVX512,
    };
    const COARSE: int4::Coarse = int4::Coarse {
        block: int4::amx::BLOCK,
        tile_tokens: int4::amx::TILE_TOKENS,
        quantize: int4::amx::quantize,
    };
    const SOME: int4::SomeTokens = int4::SomeTokens {
        kernel: int4::amx_few::few_emulated,
        least: int4::amx_few::LEAST,
        padded: int4::amx_few::padded,
    };
    pub(super) static AMX: Row = Row {
        isa: Isa::Amx,
        int4_panel: int4::Panels { kernel: int4::amx::panel, tiles: int4::amx::PANEL_TILES },
        int4_few: Some(int4::SomeTokens { kernel: int4::amx_few::few, ..SOME }),
        int4_coarse: Some(COARSE),
        ..AVX512VNNI
    };
    pub(super) static AMX_EMULATED: Row = Row {
        isa: Isa::AmxEmulated,
        int4_panel: int4::Panels {
            kernel: int4::amx::panel_emulated,
            tiles: int4::amx::PANEL_TILES,
        },
        ..AMX
    };
}

/// The kernels of `isa`, or `None` when this CPU cannot run them.
pub fn row(isa: Isa) -> Option<&'static Row> {
    if !isa.is_available() {
        return None;
    }
    match isa {
        Isa::Scalar => Some(&SCALAR),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Some(&x86::AVX2),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => {
            Some(if int4::avxvnni::is_available() { &x86::AVXVNNI } else { &x86::AVX512VL })
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => Some(&x86::AVX512VNNI),
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => Some(&x86::AMX),
        #[cfg(target_arch = "x86_64")]
        Isa::AmxEmulated => Some(&x86::AMX_EMULATED),
        #[cfg(not(target_arch = "x86_64"))]
        _ => None,
    }
}

/// What this CPU has but this process may not use, and why: for `doctor`.
pub fn withheld() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    if crate::amx::cpu_has(crate::amx::Element::Int8) && !Isa::Amx.is_available() {
        return Some(
            "the CPU has AMX, but the system does not let this process use it (an old kernel or a container's seccomp profile)",
        );
    }
    None
}

/// The fastest instruction set of this CPU.
pub fn best() -> Isa {
    Isa::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Isa::Scalar)
}

/// The row named by the value of `LACUNA_ISA` (`None` or empty: the best one).
pub fn choose(value: Option<&str>) -> Result<&'static Row, IsaError> {
    let isa = match value.map(str::trim) {
        None | Some("") => best(),
        Some(name) => Isa::ALL
            .into_iter()
            .chain([Isa::AmxEmulated])
            .find(|isa| isa.name() == name)
            .ok_or_else(|| IsaError::Unknown(name.to_owned()))?,
    };
    row(isa).ok_or(IsaError::Unsupported(isa))
}

/// The row in use in this process; `LACUNA_ISA` is read once, at the first call.
///
/// Errors: the variable names an unknown or unsupported row. Loading a model reports it; see
/// [`active`].
pub fn selected() -> Result<&'static Row, &'static IsaError> {
    static CHOICE: OnceLock<Result<&'static Row, IsaError>> = OnceLock::new();
    CHOICE
        .get_or_init(|| {
            choose(
                std::env::var_os(ISA_VARIABLE).map(|v| v.to_string_lossy().into_owned()).as_deref(),
            )
        })
        .as_ref()
        .map(|row| *row)
}

/// The row in use; the scalar one where [`selected`] is an error (the caller that loads a model
/// reports that error).
pub fn active() -> &'static Row {
    selected().unwrap_or(&SCALAR)
}
