//! The physical limits of this machine, to print beside every figure: how fast memory can be read,
//! how fast integers multiply.
//!
//! Both are measured with the threads that the kernels use, by loops that do nothing else. Decoding
//! a token cannot be faster than reading the weights once ([`read_bandwidth`]); a product cannot be
//! faster than its multiply-adds ([`integer_peak`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::isa::Isa;
use crate::pages::{HugeSlice, Plain};
use crate::team;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);
const _: () = assert!(size_of::<Line>() == 64);

// SAFETY: eight integers: no padding, every bit pattern is a value.
unsafe impl Plain for Line {}

/// Gigabytes (10⁹ bytes) a second that `threads` threads read at best from `bytes` of memory on
/// huge pages: the best of `rounds` rounds over several numbers of streams and prefetch distances.
///
/// Take several times the last cache's size, or the cache is measured. Panics: 0 threads, less than
/// 64 KB a thread, 0 rounds.
pub fn read_bandwidth(threads: usize, bytes: usize, rounds: usize) -> f64 {
    assert!(
        threads > 0 && rounds > 0 && bytes / threads >= 1 << 16,
        "{bytes} bytes, {threads} threads, {rounds} rounds"
    );
    let mut lines = HugeSlice::<Line>::zeroed(bytes / size_of::<Line>());
    // Pages that were never written are all the same one.
    for (i, line) in lines.iter_mut().enumerate() {
        *line = Line([i as u64; 8]);
    }
    let lines = &*lines;
    let kernel = kernel();
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        for streams in STREAMS {
            for ahead in AHEAD {
                let sum = AtomicU64::new(0);
                let start = Instant::now();
                team::run(threads, threads, &|part| {
                    let part =
                        &lines[lines.len() * part / threads..lines.len() * (part + 1) / threads];
                    // SAFETY: `kernel` chose it for this CPU.
                    sum.fetch_add(unsafe { kernel(part, streams, ahead) }, Ordering::Relaxed);
                });
                best = best.min(start.elapsed().as_secs_f64());
                std::hint::black_box(sum);
            }
        }
    }
    std::mem::size_of_val(lines) as f64 / best / 1e9
}

/// Places of a thread's part that are read side by side.
const STREAMS: [usize; 3] = [1, 4, 8];
/// Bytes that are prefetched ahead of a stream, a line before each that is read (several at once
/// hold up the loads behind them); 0: none.
const AHEAD: [usize; 4] = [0, 2048, 4096, 9216];

/// Reads `lines` as so many `streams`, with a prefetch so many bytes `ahead` of each; the sum of
/// all words.
type Kernel = unsafe fn(lines: &[Line], streams: usize, ahead: usize) -> u64;

fn kernel() -> Kernel {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return x86::read_avx512;
        }
        if is_x86_feature_detected!("avx2") {
            return x86::read_avx2;
        }
    }
    read_body
}

/// Body of every [`Kernel`]: plain Rust that vectorises.
#[inline(always)]
fn read_body(lines: &[Line], streams: usize, ahead: usize) -> u64 {
    match streams {
        8 => read_streams::<8>(lines, ahead),
        4 => read_streams::<4>(lines, ahead),
        _ => read_streams::<1>(lines, ahead),
    }
}

#[inline(always)]
fn read_streams<const S: usize>(lines: &[Line], ahead: usize) -> u64 {
    let length = lines.len() / S;
    let mut sums = [[0u64; 8]; S];
    for at in (0..length / 4 * 4).step_by(4) {
        for s in 0..S {
            let four: &[Line; 4] = lines[s * length + at..].first_chunk().expect("four lines");
            for line in four {
                if ahead > 0 {
                    prefetch(line.0.as_ptr().wrapping_byte_add(ahead));
                }
                for word in 0..8 {
                    sums[s][word] = sums[s][word].wrapping_add(line.0[word]);
                }
            }
        }
    }
    sums.iter().flatten().fold(0, |a, b| a.wrapping_add(*b))
}

#[inline(always)]
fn prefetch(address: *const u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch touches nothing; any address will do.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast())
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Integer operations (a multiply and an add are two) in units of 10¹² a second, that `threads`
/// threads reach at best in `time` with the multiply-add of `isa` and nothing but registers.
/// `None`: the CPU lacks it, or there is none to measure here.
///
/// What is counted: `vpdpbusd` for the VNNI rows; for AVX2, per eight `vpmaddubsw` the additions
/// that keep their sums exact (seven `vpaddw`, one `vpmaddwd`, one `vpaddd`); `tdpbssd` for AMX;
/// `pmaddwd` and `paddd`, which x86-64 always has, for the scalar row. Panics: 0 threads.
pub fn integer_peak(isa: Isa, threads: usize, time: Duration) -> Option<f64> {
    assert!(threads > 0, "0 threads");
    let (kernel, ops) = multiply_adds(isa)?;
    // The first loops tell how many fit into a fifth of the time; five repeats, the best counts.
    let run = |loops: usize| {
        let start = Instant::now();
        // SAFETY: `multiply_adds` chose it for this CPU.
        team::run(threads, threads, &|_| unsafe { kernel(loops) });
        start.elapsed().as_secs_f64()
    };
    let trial = 20_000;
    run(trial);
    let a_loop = run(trial) / trial as f64;
    let loops = ((time.as_secs_f64() / 5.0 / a_loop) as usize).max(trial);
    let best = (0..5).map(|_| run(loops)).fold(f64::INFINITY, f64::min);
    Some(threads as f64 * loops as f64 * ops / best / 1e12)
}

/// A loop of multiply-adds in registers, run so many times.
type Loop = unsafe fn(usize);

/// The loop for an instruction set this CPU has, and the operations of one turn of it.
#[cfg(target_arch = "x86_64")]
fn multiply_adds(isa: Isa) -> Option<(Loop, f64)> {
    if !isa.is_available() {
        return None;
    }
    match isa {
        Isa::Scalar => Some((x86::pmaddwd, 12.0 * 16.0)),
        Isa::Avx2 => Some((x86::vpmaddubsw, 8.0 * 64.0)),
        Isa::AvxVnni if x86::has_avxvnni() => Some((x86::vpdpbusd_vex, 12.0 * 64.0)),
        Isa::AvxVnni => Some((x86::vpdpbusd_ymm, 12.0 * 64.0)),
        Isa::Avx512Vnni => Some((x86::vpdpbusd_zmm, 12.0 * 128.0)),
        Isa::Amx => Some((x86::tdpbssd, 4.0 * 16.0 * 16.0 * 64.0 * 2.0)),
        Isa::AmxEmulated => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply_adds(_isa: Isa) -> Option<(Loop, f64)> {
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The loops. Operands are whatever the registers hold: integer arithmetic takes the same time
    //! for any value.

    use std::arch::asm;

    use super::Line;
    use crate::amx::TileConfig;

    #[target_feature(enable = "avx512f")]
    pub(super) fn read_avx512(lines: &[Line], streams: usize, ahead: usize) -> u64 {
        super::read_body(lines, streams, ahead)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn read_avx2(lines: &[Line], streams: usize, ahead: usize) -> u64 {
        super::read_body(lines, streams, ahead)
    }

    /// Whether 256-bit VNNI has its own encoding here (AVX-VNNI); elsewhere it is AVX-512 VL's.
    pub(super) fn has_avxvnni() -> bool {
        is_x86_feature_detected!("avxvnni")
    }

    /// Twelve independent sums hide the latency of a multiply-add on two ports.
    macro_rules! twelve {
        ($name:ident, $line:literal, $($register:literal)*) => {
            /// # Safety
            /// The CPU has the instruction.
            pub(super) unsafe fn $name(loops: usize) {
                // SAFETY: registers only, all declared; the caller vouches for the instruction.
                unsafe {
                    asm!(
                        "2:",
                        $(concat!("vpdpbusd ", $register, ", ", $line),)*
                        "dec {n}",
                        "jnz 2b",
                        n = inout(reg) loops.max(1) => _,
                        out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
                        out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                        options(nomem, nostack)
                    );
                }
            }
        };
    }
    twelve!(vpdpbusd_zmm, "zmm14, zmm15", "zmm0" "zmm1" "zmm2" "zmm3" "zmm4" "zmm5" "zmm6" "zmm7" "zmm8" "zmm9" "zmm10" "zmm11");
    twelve!(vpdpbusd_ymm, "ymm14, ymm15", "ymm0" "ymm1" "ymm2" "ymm3" "ymm4" "ymm5" "ymm6" "ymm7" "ymm8" "ymm9" "ymm10" "ymm11");

    /// [`vpdpbusd_ymm`] as CPUs without AVX-512 encode it.
    ///
    /// # Safety
    /// The CPU has AVX-VNNI.
    pub(super) unsafe fn vpdpbusd_vex(loops: usize) {
        // SAFETY: registers only, all declared; the caller vouches for the instruction.
        unsafe {
            asm!(
                "2:",
                "{{vex}} vpdpbusd ymm0, ymm14, ymm15", "{{vex}} vpdpbusd ymm1, ymm14, ymm15", "{{vex}} vpdpbusd ymm2, ymm14, ymm15",
                "{{vex}} vpdpbusd ymm3, ymm14, ymm15", "{{vex}} vpdpbusd ymm4, ymm14, ymm15", "{{vex}} vpdpbusd ymm5, ymm14, ymm15",
                "{{vex}} vpdpbusd ymm6, ymm14, ymm15", "{{vex}} vpdpbusd ymm7, ymm14, ymm15", "{{vex}} vpdpbusd ymm8, ymm14, ymm15",
                "{{vex}} vpdpbusd ymm9, ymm14, ymm15", "{{vex}} vpdpbusd ymm10, ymm14, ymm15", "{{vex}} vpdpbusd ymm11, ymm14, ymm15",
                "dec {n}",
                "jnz 2b",
                n = inout(reg) loops.max(1) => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
                out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                options(nomem, nostack)
            );
        }
    }

    /// # Safety
    /// The CPU has AVX2.
    pub(super) unsafe fn vpmaddubsw(loops: usize) {
        // SAFETY: registers only, all declared; the caller vouches for the instructions.
        unsafe {
            asm!(
                "2:",
                "vpmaddubsw ymm0, ymm14, ymm15", "vpmaddubsw ymm1, ymm14, ymm15", "vpmaddubsw ymm2, ymm14, ymm15",
                "vpmaddubsw ymm3, ymm14, ymm15", "vpmaddubsw ymm4, ymm14, ymm15", "vpmaddubsw ymm5, ymm14, ymm15",
                "vpmaddubsw ymm6, ymm14, ymm15", "vpmaddubsw ymm7, ymm14, ymm15",
                "vpaddw ymm0, ymm0, ymm1", "vpaddw ymm2, ymm2, ymm3", "vpaddw ymm4, ymm4, ymm5", "vpaddw ymm6, ymm6, ymm7",
                "vpaddw ymm0, ymm0, ymm2", "vpaddw ymm4, ymm4, ymm6", "vpaddw ymm0, ymm0, ymm4",
                "vpmaddwd ymm0, ymm0, ymm13",
                "vpaddd ymm8, ymm8, ymm0",
                "dec {n}",
                "jnz 2b",
                n = inout(reg) loops.max(1) => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
                out("xmm7") _, out("xmm8") _,
                options(nomem, nostack)
            );
        }
    }

    /// # Safety
    /// None: every x86-64 CPU has SSE2.
    pub(super) unsafe fn pmaddwd(loops: usize) {
        // SAFETY: registers only, all declared.
        unsafe {
            asm!(
                "2:",
                "pmaddwd xmm0, xmm15", "paddd xmm12, xmm0", "pmaddwd xmm1, xmm15", "paddd xmm13, xmm1",
                "pmaddwd xmm2, xmm15", "paddd xmm14, xmm2", "pmaddwd xmm3, xmm15", "paddd xmm12, xmm3",
                "pmaddwd xmm4, xmm15", "paddd xmm13, xmm4", "pmaddwd xmm5, xmm15", "paddd xmm14, xmm5",
                "pmaddwd xmm6, xmm15", "paddd xmm12, xmm6", "pmaddwd xmm7, xmm15", "paddd xmm13, xmm7",
                "pmaddwd xmm8, xmm15", "paddd xmm14, xmm8", "pmaddwd xmm9, xmm15", "paddd xmm12, xmm9",
                "pmaddwd xmm10, xmm15", "paddd xmm13, xmm10", "pmaddwd xmm11, xmm15", "paddd xmm14, xmm11",
                "dec {n}",
                "jnz 2b",
                n = inout(reg) loops.max(1) => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
                out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _,
                out("xmm14") _,
                options(nomem, nostack)
            );
        }
    }

    /// # Safety
    /// `amx::is_available(Element::Int8)`.
    pub(super) unsafe fn tdpbssd(loops: usize) {
        // SAFETY: the caller's promise.
        let config = unsafe { TileConfig::load() };
        // SAFETY: registers only, all declared; the configuration is loaded and makes every tile 16
        // rows of 64 bytes.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                "2:",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                "dec {n}",
                "jnz 2b",
                n = inout(reg) loops.max(1) => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nomem, nostack)
            );
        }
        drop(config);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_once_whatever_the_streams() {
        let lines: Vec<Line> =
            (0..64u64).map(|i| Line(std::array::from_fn(|j| i * 8 + j as u64))).collect();
        let expected = (0..512).sum::<u64>();
        let kernel = kernel();
        for streams in STREAMS {
            for ahead in AHEAD {
                // SAFETY: `kernel` chose it for this CPU.
                let sum = unsafe { kernel(&lines, streams, ahead) };
                assert_eq!(sum, expected, "{streams} streams, {ahead} ahead");
                assert_eq!(read_body(&lines, streams, ahead), expected);
            }
        }
    }

    #[test]
    fn limits_are_positive_and_wider_registers_are_not_slower() {
        let read = read_bandwidth(1, 1 << 20, 1);
        assert!(read > 0.1 && read < 10_000.0, "{read} GB/s");
        let peak = |isa| integer_peak(isa, 1, Duration::from_millis(20));
        for isa in Isa::ALL {
            assert_eq!(
                peak(isa).is_some(),
                isa.is_available() && cfg!(target_arch = "x86_64"),
                "{isa}"
            );
            assert!(
                peak(isa).is_none_or(|tops| tops > 1e-4 && tops < 1000.0),
                "{isa}: {:?}",
                peak(isa)
            );
        }
        if let (Some(narrow), Some(wide)) = (peak(Isa::Scalar), peak(Isa::Avx512Vnni)) {
            assert!(wide > 2.0 * narrow, "{wide} TOPS in 512 bits, {narrow} in 128");
        }
    }
}
