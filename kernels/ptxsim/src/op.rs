//! Decoded instructions: registers by number, constants spread over the lanes, functions looked up.

use crate::spaces::Space;
use crate::value::Lanes;

/// Number of a register; those from `parse::FIRST_CONSTANT` on are the kernel's constants.
pub(crate) type Reg = u32;
/// Number of a predicate register.
pub(crate) type Pred = u32;

/// A function on whole registers. Takes up to four operands.
pub(crate) type Alu = Box<dyn Fn(&[&Lanes; 4], &mut Lanes) + Send + Sync>;
/// A comparison of whole registers: a mask of lanes.
pub(crate) type Compare = Box<dyn Fn(&Lanes, &Lanes) -> u32 + Send + Sync>;
/// The value that an atomic leaves, of the old one and its operands.
pub(crate) type Update = Box<dyn Fn(u64, u64, u64) -> u64 + Send + Sync>;

pub(crate) struct Instr {
    /// Only lanes where this predicate is true (or false: `negated`) take part.
    pub(crate) guard: Option<Guard>,
    pub(crate) op: Op,
    pub(crate) place: crate::fault::Place,
    pub(crate) opcode: String,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard {
    pub(crate) pred: PredSrc,
    pub(crate) negated: bool,
}

/// A predicate that is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PredSrc {
    Reg(Pred),
    /// For all lanes.
    Const(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

impl Logic {
    pub(crate) fn of(self, a: u32, b: u32) -> u32 {
        match self {
            Logic::And => a & b,
            Logic::Or => a | b,
            Logic::Xor => a ^ b,
        }
    }
}

/// `[base + offset]` of a space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) space: Space,
    pub(crate) base: Reg,
    pub(crate) offset: i64,
}

/// How an access takes part in the order between blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Not at all.
    Weak,
    Relaxed,
    Acquire,
    Release,
    AcquireRelease,
}

impl Order {
    pub(crate) fn acquires(self) -> bool {
        matches!(self, Order::Acquire | Order::AcquireRelease)
    }

    pub(crate) fn releases(self) -> bool {
        matches!(self, Order::Release | Order::AcquireRelease)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uniform,
    Ballot,
}

/// Where an instruction writes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dst {
    Reg(Reg),
    Pred(Pred),
    /// `_`
    Nowhere,
}

/// A matrix product `d[16,8] = a[16,k] · b[k,8] + c[16,8]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) k: usize,
    pub(crate) a: Element,
    pub(crate) b: Element,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    U8,
    S8,
}

pub(crate) enum Op {
    Nop,
    Alu {
        f: Alu,
        dst: Reg,
        src: [Reg; 4],
    },
    Compare {
        f: Compare,
        dst: Dst,
        inverse: Dst,
        src: [Reg; 2],
        with: Option<(Logic, Guard)>,
    },
    Select {
        dst: Reg,
        yes: Reg,
        no: Reg,
        by: Guard,
    },
    /// Predicates from predicates; `mov` and `not` are `or` with false and `xor` with true.
    Logic {
        f: Logic,
        dst: Pred,
        a: PredSrc,
        b: PredSrc,
    },
    /// One register of several, the first lowest, `bits` each.
    Pack {
        dst: Reg,
        src: Vec<Reg>,
        bits: u32,
    },
    Unpack {
        dst: Vec<Dst>,
        src: Reg,
        bits: u32,
    },
    /// `widen`: bits of the registers that a signed value fills.
    Load {
        from: Address,
        bytes: u32,
        dst: Vec<Dst>,
        widen: Option<u32>,
        order: Order,
    },
    Store {
        to: Address,
        bytes: u32,
        src: Vec<Reg>,
        order: Order,
    },
    Atomic {
        at: Address,
        bytes: u32,
        dst: Dst,
        f: Update,
        a: Reg,
        b: Reg,
        order: Order,
    },
    Branch {
        target: u32,
    },
    Exit,
    Trap,
    /// `count`: threads; all of the block if none is said.
    Barrier {
        id: Reg,
        count: Option<Reg>,
        wait: bool,
    },
    WarpBarrier {
        mask: Reg,
    },
    Fence,
    Shuffle {
        mode: ShuffleMode,
        dst: Dst,
        valid: Dst,
        src: Reg,
        by: Reg,
        clamp: Reg,
        mask: Reg,
    },
    Vote {
        mode: VoteMode,
        dst: Dst,
        src: Guard,
        mask: Reg,
    },
    /// Which lanes hold the same value; `all`: whether all do, too.
    Match {
        all: bool,
        dst: Dst,
        pred: Dst,
        src: Reg,
        bits: u32,
        mask: Reg,
    },
    Reduce {
        f: Update,
        dst: Reg,
        src: Reg,
        mask: Reg,
    },
    ActiveMask {
        dst: Reg,
    },
    Mma {
        product: Product,
        d: Vec<Dst>,
        a: Vec<Reg>,
        b: Vec<Reg>,
        c: Vec<Reg>,
    },
    LoadMatrix {
        from: Address,
        dst: Vec<Dst>,
        transposed: bool,
    },
    /// `valid`: bytes that are copied; zeros follow.
    Copy {
        to: Address,
        from: Address,
        bytes: u32,
        valid: Option<Reg>,
    },
    CopyCommit,
    /// All groups but the last `keep`; `open`: the group that is not closed, too.
    CopyWait {
        keep: u32,
        open: bool,
    },
}
