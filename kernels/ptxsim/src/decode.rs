//! Makes an instruction of a statement. What is not known in full is an error.

use crate::alu;
use crate::fault::Place;
use crate::op::{
    Address, Dst, Element, Guard, Instr, Logic, Op, Order, PredSrc, Product, Reg, ShuffleMode,
    Update, VoteMode,
};
use crate::parse::{Operand, Parser};
use crate::spaces::Space;
use crate::text::arguments;
use crate::value::{bits_of, f32_of, half_bits, half_of, low, signed};

/// A type of PTX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    Pred,
    B8,
    B16,
    B32,
    B64,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
}

impl Ty {
    pub(crate) fn parse(name: &str) -> Option<Ty> {
        Some(match name {
            "pred" => Ty::Pred,
            "b8" => Ty::B8,
            "b16" => Ty::B16,
            "b32" => Ty::B32,
            "b64" => Ty::B64,
            "u8" => Ty::U8,
            "u16" => Ty::U16,
            "u32" => Ty::U32,
            "u64" => Ty::U64,
            "s8" => Ty::S8,
            "s16" => Ty::S16,
            "s32" => Ty::S32,
            "s64" => Ty::S64,
            "f16" => Ty::F16,
            "f16x2" => Ty::F16x2,
            "bf16" => Ty::Bf16,
            "bf16x2" => Ty::Bf16x2,
            "f32" => Ty::F32,
            "f64" => Ty::F64,
            _ => return None,
        })
    }

    pub(crate) fn bits(self) -> u32 {
        match self {
            Ty::Pred => 1,
            Ty::B8 | Ty::U8 | Ty::S8 => 8,
            Ty::B16 | Ty::U16 | Ty::S16 | Ty::F16 | Ty::Bf16 => 16,
            Ty::B32 | Ty::U32 | Ty::S32 | Ty::F32 | Ty::F16x2 | Ty::Bf16x2 => 32,
            Ty::B64 | Ty::U64 | Ty::S64 | Ty::F64 => 64,
        }
    }

    pub(crate) fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Ty::S8 | Ty::S16 | Ty::S32 | Ty::S64)
    }

    /// Of the types that dot products take.
    pub(crate) fn is_signed32(self) -> Option<bool> {
        match self {
            Ty::S32 => Some(true),
            Ty::U32 => Some(false),
            _ => None,
        }
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Ty::F16 | Ty::F16x2 | Ty::Bf16 | Ty::Bf16x2 | Ty::F32 | Ty::F64)
    }

    /// Least and largest value of an integer type.
    pub(crate) fn range(self) -> (i128, i128) {
        let bits = self.bits();
        if self.is_signed() {
            (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        } else {
            (0, (1 << bits) - 1)
        }
    }
}

type Result<T> = std::result::Result<T, &'static str>;
const UNKNOWN: &str = "an unknown opcode";
const OPERANDS: &str = "other operands than known";

/// A statement taken apart.
struct Statement<'p, 'a> {
    parser: &'p mut Parser<'a>,
    name: String,
    /// Modifiers that are no types.
    mods: Vec<String>,
    types: Vec<Ty>,
    args: Vec<Operand>,
}

pub(crate) fn instruction(parser: &mut Parser<'_>, text: &str, place: Place) -> Result<Instr> {
    let (guard, text) = match text.strip_prefix('@') {
        Some(rest) => {
            let (pred, rest) = rest.split_once(char::is_whitespace).ok_or("a guard")?;
            let Operand::Pred(pred, negated) = parser.operand(pred)? else { return Err("a guard") };
            (Some(Guard { pred: PredSrc::Reg(pred), negated }), rest.trim())
        }
        None => (None, text),
    };
    let (opcode, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let mut parts = opcode.split('.');
    let name = parts.next().unwrap_or("").to_owned();
    let (mut mods, mut types) = (Vec::new(), Vec::new());
    for part in parts {
        match Ty::parse(part) {
            Some(ty) => types.push(ty),
            None => mods.push(part.to_owned()),
        }
    }
    let args = arguments(rest).into_iter().map(|arg| parser.operand(arg)).collect::<Result<_>>()?;
    let op = Statement { parser, name, mods, types, args }.decode()?;
    Ok(Instr { guard, op, place, opcode: opcode.to_owned() })
}

impl Statement<'_, '_> {
    fn decode(mut self) -> Result<Op> {
        let mods: Vec<String> = self.mods.clone();
        let mods: Vec<&str> = mods.iter().map(String::as_str).collect();
        let name = self.name.clone();
        match (name.as_str(), mods.as_slice()) {
            ("bra", [] | ["uni"]) => match self.args.as_slice() {
                [Operand::Name(label)] => {
                    let label = label.clone();
                    self.parser.branch(label);
                    Ok(Op::Branch { target: 0 })
                }
                _ => Err(OPERANDS),
            },
            ("ret" | "exit", [] | ["uni"]) => Ok(Op::Exit),
            ("trap", []) => Ok(Op::Trap),
            ("nanosleep" | "prefetch" | "discard" | "applypriority", _) => Ok(Op::Nop),
            ("mov", []) => self.mov(),
            ("cvta", _) => self.cvta(&mods),
            ("setp", _) => self.setp(&mods),
            ("selp", []) => {
                let bits = self.only_type()?.bits();
                let by = self.guard(3)?;
                Ok(Op::Select {
                    dst: self.reg(0)?,
                    yes: self.src(1, bits)?,
                    no: self.src(2, bits)?,
                    by,
                })
            }
            ("and" | "or" | "xor" | "not", []) if self.types == [Ty::Pred] => self.logic(),
            ("ld" | "ldu", _) => self.load(&mods),
            ("st", _) => self.store(&mods),
            ("atom" | "red", _) => self.atomic(&mods),
            ("membar", _) | ("fence", [_] | [_, _]) => Ok(Op::Fence),
            ("bar" | "barrier", _) => self.barrier(&mods),
            ("shfl", ["sync", mode]) => self.shuffle(mode),
            ("vote", ["sync", mode]) => self.vote(mode),
            ("match", ["any", "sync"]) | ("match", ["all", "sync"]) => {
                self.matching(mods[0] == "all")
            }
            ("redux", ["sync", update]) => {
                let ty = self.only_type()?;
                let f = self.update(update, ty)?;
                Ok(Op::Reduce {
                    f,
                    dst: self.reg(0)?,
                    src: self.src(1, 32)?,
                    mask: self.src(2, 32)?,
                })
            }
            ("activemask", []) => Ok(Op::ActiveMask { dst: self.reg(0)? }),
            ("mma", ["sync", "aligned", shape, "row", "col"]) => self.mma(shape),
            ("ldmatrix", ["sync", "aligned", "m8n8", count, rest @ ..]) => {
                self.ldmatrix(count, rest)
            }
            ("cp", ["async", "commit_group"]) => Ok(Op::CopyCommit),
            ("cp", ["async", "wait_all"]) => Ok(Op::CopyWait { keep: 0, open: true }),
            ("cp", ["async", "wait_group"]) => match self.args.as_slice() {
                [Operand::Imm(keep)] => Ok(Op::CopyWait { keep: *keep as u32, open: false }),
                _ => Err(OPERANDS),
            },
            ("cp", ["async", "ca" | "cg", "shared" | "shared::cta", "global", hints @ ..])
                if hints.iter().all(|hint| is_hint(hint)) =>
            {
                self.copy()
            }
            (name, mods) => {
                let entry = alu::find(name, mods, &self.types).ok_or(UNKNOWN)?;
                if self.args.len() != entry.operands.len() + 1 {
                    return Err(OPERANDS);
                }
                let mut src = [self.parser.constant(0); 4];
                for (at, bits) in entry.operands.iter().enumerate() {
                    src[at] = self.src(at + 1, *bits)?;
                }
                Ok(Op::Alu { f: entry.f, dst: self.reg(0)?, src })
            }
        }
    }

    fn only_type(&self) -> Result<Ty> {
        match self.types.as_slice() {
            [ty] => Ok(*ty),
            _ => Err(UNKNOWN),
        }
    }

    fn arg(&self, at: usize) -> Result<Operand> {
        self.args.get(at).cloned().ok_or(OPERANDS)
    }

    /// A register that is written.
    fn reg(&self, at: usize) -> Result<Reg> {
        match self.args.get(at) {
            Some(Operand::Reg(reg, _)) => Ok(*reg),
            _ => Err(OPERANDS),
        }
    }

    fn source(&mut self, operand: &Operand, bits: u32) -> Result<Reg> {
        Ok(match operand {
            Operand::Reg(reg, _) => *reg,
            Operand::Imm(value) | Operand::Variable(value) => {
                self.parser.constant(low(*value, bits))
            }
            Operand::Special(special) => self.parser.special(*special),
            _ => return Err(OPERANDS),
        })
    }

    /// A value that is read.
    fn src(&mut self, at: usize, bits: u32) -> Result<Reg> {
        let operand = self.arg(at)?;
        self.source(&operand, bits)
    }

    fn dst(operand: &Operand) -> Result<Dst> {
        Ok(match operand {
            Operand::Reg(reg, _) => Dst::Reg(*reg),
            Operand::Pred(pred, false) => Dst::Pred(*pred),
            Operand::Sink => Dst::Nowhere,
            _ => return Err(OPERANDS),
        })
    }

    /// A predicate that is read, or a constant in its place.
    fn guard(&self, at: usize) -> Result<Guard> {
        Ok(match self.args.get(at) {
            Some(Operand::Pred(pred, negated)) => {
                Guard { pred: PredSrc::Reg(*pred), negated: *negated }
            }
            Some(Operand::Imm(value)) => {
                Guard { pred: PredSrc::Const(*value != 0), negated: false }
            }
            _ => return Err(OPERANDS),
        })
    }

    /// The parts of a vector, or the one operand.
    fn parts(operand: &Operand) -> &[Operand] {
        match operand {
            Operand::Vector(parts) => parts,
            one => std::slice::from_ref(one),
        }
    }

    fn dsts(&self, at: usize) -> Result<Vec<Dst>> {
        Self::parts(self.args.get(at).ok_or(OPERANDS)?).iter().map(Self::dst).collect()
    }

    fn srcs(&mut self, at: usize, bits: u32) -> Result<Vec<Reg>> {
        let operand = self.arg(at)?;
        Self::parts(&operand).iter().map(|part| self.source(part, bits)).collect()
    }

    fn address(&mut self, at: usize, space: Space) -> Result<Address> {
        match self.arg(at)? {
            Operand::Address(base, offset) => {
                let base = match (&*base, space) {
                    (Operand::Param(start), Space::Param) => self.parser.constant(*start),
                    (Operand::Param(_), _) => return Err("the address of a parameter"),
                    (base, _) => self.source(base, 64)?,
                };
                Ok(Address { space, base, offset })
            }
            _ => Err(OPERANDS),
        }
    }

    fn mov(&mut self) -> Result<Op> {
        let ty = self.only_type()?;
        let (dst, src) = (self.arg(0)?, self.arg(1)?);
        match (&dst, &src) {
            (Operand::Pred(dst, false), Operand::Pred(..) | Operand::Imm(_)) => {
                let Guard { pred, negated } = self.guard(1)?;
                Ok(Op::Logic { f: Logic::Xor, dst: *dst, a: pred, b: PredSrc::Const(negated) })
            }
            (Operand::Vector(parts), _) => {
                let dst = parts.iter().map(Self::dst).collect::<Result<Vec<_>>>()?;
                Ok(Op::Unpack {
                    bits: ty.bits() / dst.len() as u32,
                    dst,
                    src: self.src(1, ty.bits())?,
                })
            }
            (Operand::Reg(dst, _), Operand::Vector(parts)) => {
                let bits = ty.bits() / parts.len() as u32;
                Ok(Op::Pack { dst: *dst, src: self.srcs(1, bits)?, bits })
            }
            _ => {
                let bits = ty.bits();
                let whole = if bits == 64 {
                    Ty::B64
                } else if bits == 32 {
                    Ty::B32
                } else {
                    Ty::B16
                };
                let f = alu::find("mov", &[], &[whole]).ok_or(UNKNOWN)?.f;
                let zero = self.parser.constant(0);
                Ok(Op::Alu { f, dst: self.reg(0)?, src: [self.src(1, bits)?, zero, zero, zero] })
            }
        }
    }

    fn cvta(&mut self, mods: &[&str]) -> Result<Op> {
        let (to, space) = match mods {
            ["to", space] => (true, space),
            [space] => (false, space),
            _ => return Err(UNKNOWN),
        };
        let base = Space::parse(space).ok_or(UNKNOWN)?.base();
        let bits = self.only_type()?.bits();
        let base = self.parser.constant(base);
        let f = alu::find(if to { "sub" } else { "add" }, &[], &[Ty::B64]).ok_or(UNKNOWN)?.f;
        let zero = self.parser.constant(0);
        Ok(Op::Alu { f, dst: self.reg(0)?, src: [self.src(1, bits)?, base, zero, zero] })
    }

    fn setp(&mut self, mods: &[&str]) -> Result<Op> {
        let ty = self.only_type()?;
        let (ftz, mods) = match mods.split_last() {
            Some((&"ftz", rest)) => (true, rest),
            _ => (false, mods),
        };
        let (name, logic) = match mods {
            [name] => (name, None),
            [name, "and"] => (name, Some(Logic::And)),
            [name, "or"] => (name, Some(Logic::Or)),
            [name, "xor"] => (name, Some(Logic::Xor)),
            _ => return Err(UNKNOWN),
        };
        let f = alu::compare(name, ty, ftz).ok_or(UNKNOWN)?;
        // `p|q` has a second result.
        let results = self
            .args
            .len()
            .checked_sub(2 + usize::from(logic.is_some()))
            .filter(|n| (1..=2).contains(n))
            .ok_or(OPERANDS)?;
        let inverse = if results == 2 { Self::dst(&self.arg(1)?)? } else { Dst::Nowhere };
        let with = match logic {
            Some(logic) => Some((logic, self.guard(results + 2)?)),
            None => None,
        };
        let src = [self.src(results, ty.bits())?, self.src(results + 1, ty.bits())?];
        Ok(Op::Compare { f, dst: Self::dst(&self.arg(0)?)?, inverse, src, with })
    }

    fn logic(&mut self) -> Result<Op> {
        let Operand::Pred(dst, false) = self.arg(0)? else { return Err(OPERANDS) };
        let plain = |guard: Guard| if guard.negated { Err(OPERANDS) } else { Ok(guard.pred) };
        let a = plain(self.guard(1)?)?;
        let (f, b) = match self.name.as_str() {
            "not" => (Logic::Xor, PredSrc::Const(true)),
            "and" => (Logic::And, plain(self.guard(2)?)?),
            "or" => (Logic::Or, plain(self.guard(2)?)?),
            _ => (Logic::Xor, plain(self.guard(2)?)?),
        };
        Ok(Op::Logic { f, dst, a, b })
    }

    /// Space, order and vector of a load or store; hints to the caches are let pass.
    fn access(mods: &[&str]) -> Result<(Space, Order, usize)> {
        let (mut space, mut order, mut vector) = (Space::Generic, Order::Weak, 1);
        for m in mods {
            match *m {
                "weak" => {}
                "volatile" | "relaxed" => order = Order::Relaxed,
                "acquire" => order = Order::Acquire,
                "release" => order = Order::Release,
                "acq_rel" => order = Order::AcquireRelease,
                "cta" | "gpu" | "sys" => {}
                "v2" => vector = 2,
                "v4" => vector = 4,
                hint if is_hint(hint) => {}
                other => space = Space::parse(other).ok_or(UNKNOWN)?,
            }
        }
        Ok((space, order, vector))
    }

    fn load(&mut self, mods: &[&str]) -> Result<Op> {
        let (space, order, vector) = Self::access(mods)?;
        let ty = self.only_type()?;
        let dst = self.dsts(0)?;
        if dst.len() != vector || self.args.len() != 2 {
            return Err(OPERANDS);
        }
        let widen = match Self::parts(&self.arg(0)?).first() {
            Some(Operand::Reg(_, bits)) if ty.is_signed() => Some(*bits),
            _ => None,
        };
        Ok(Op::Load { from: self.address(1, space)?, bytes: ty.bytes(), dst, widen, order })
    }

    fn store(&mut self, mods: &[&str]) -> Result<Op> {
        let (space, order, vector) = Self::access(mods)?;
        let ty = self.only_type()?;
        let src = self.srcs(1, ty.bits())?;
        if src.len() != vector || self.args.len() != 2 {
            return Err(OPERANDS);
        }
        Ok(Op::Store { to: self.address(0, space)?, bytes: ty.bytes(), src, order })
    }

    fn atomic(&mut self, mods: &[&str]) -> Result<Op> {
        let (mut space, mut order, mut name) = (Space::Generic, Order::Relaxed, None);
        for m in mods {
            match *m {
                "relaxed" | "cta" | "gpu" | "sys" | "noftz" => {}
                "acquire" => order = Order::Acquire,
                "release" => order = Order::Release,
                "acq_rel" => order = Order::AcquireRelease,
                other => match Space::parse(other) {
                    Some(known) => space = known,
                    None if name.is_none() => name = Some(other),
                    None => return Err(UNKNOWN),
                },
            }
        }
        let name = name.ok_or(UNKNOWN)?;
        let ty = self.only_type()?;
        let f = self.update(name, ty)?;
        // `red` has no result.
        let first = usize::from(self.name == "atom");
        let dst = if first == 1 { Self::dst(&self.arg(0)?)? } else { Dst::Nowhere };
        let a = self.src(first + 1, ty.bits())?;
        let b = if name == "cas" { self.src(first + 2, ty.bits())? } else { a };
        Ok(Op::Atomic { at: self.address(first, space)?, bytes: ty.bytes(), dst, f, a, b, order })
    }

    fn update(&self, name: &str, ty: Ty) -> Result<Update> {
        let n = ty.bits();
        let float = |f: fn(f32, f32) -> f32| -> Update {
            Box::new(move |old, a, _| bits_of(f(f32_of(old), f32_of(a))))
        };
        Ok(match (name, ty) {
            ("add", Ty::F32) => float(|a, b| a + b),
            ("add", Ty::F64) => {
                Box::new(|old, a, _| (f64::from_bits(old) + f64::from_bits(a)).to_bits())
            }
            ("add", Ty::F16) => Box::new(|old, a, _| half_bits(half_of(old) + half_of(a))),
            ("add", Ty::F16x2) => Box::new(|old, a, _| {
                half_bits(half_of(old) + half_of(a))
                    | half_bits(half_of(old >> 16) + half_of(a >> 16)) << 16
            }),
            (_, ty) if ty.is_float() => return Err(UNKNOWN),
            ("add", _) => Box::new(move |old, a, _| low(old.wrapping_add(a), n)),
            ("and", _) => Box::new(|old, a, _| old & a),
            ("or", _) => Box::new(|old, a, _| old | a),
            ("xor", _) => Box::new(|old, a, _| old ^ a),
            ("exch", _) => Box::new(|_, a, _| a),
            ("cas", _) => Box::new(|old, a, b| if old == a { b } else { old }),
            ("inc", Ty::U32) => Box::new(|old, a, _| if old >= a { 0 } else { old + 1 }),
            ("dec", Ty::U32) => Box::new(|old, a, _| if old == 0 || old > a { a } else { old - 1 }),
            ("min", ty) if ty.is_signed() => {
                Box::new(move |old, a, _| if signed(a, n) < signed(old, n) { a } else { old })
            }
            ("max", ty) if ty.is_signed() => {
                Box::new(move |old, a, _| if signed(a, n) > signed(old, n) { a } else { old })
            }
            ("min", _) => Box::new(|old, a, _| old.min(a)),
            ("max", _) => Box::new(|old, a, _| old.max(a)),
            _ => return Err(UNKNOWN),
        })
    }

    fn barrier(&mut self, mods: &[&str]) -> Result<Op> {
        match mods {
            ["warp", "sync"] => return Ok(Op::WarpBarrier { mask: self.src(0, 32)? }),
            ["sync" | "arrive"]
            | ["sync" | "arrive", "aligned"]
            | ["cta", "sync" | "arrive"]
            | ["cta", "sync" | "arrive", "aligned"] => {}
            _ => return Err(UNKNOWN),
        }
        let wait = mods.contains(&"sync");
        let count = if self.args.len() > 1 { Some(self.src(1, 32)?) } else { None };
        if self.args.len() > 2 || (!wait && count.is_none()) {
            return Err(OPERANDS);
        }
        Ok(Op::Barrier { id: self.src(0, 32)?, count, wait })
    }

    fn shuffle(&mut self, mode: &str) -> Result<Op> {
        let mode = match mode {
            "up" => ShuffleMode::Up,
            "down" => ShuffleMode::Down,
            "bfly" => ShuffleMode::Butterfly,
            "idx" => ShuffleMode::Index,
            _ => return Err(UNKNOWN),
        };
        let first =
            self.args.len().checked_sub(4).filter(|n| (1..=2).contains(n)).ok_or(OPERANDS)?;
        let valid = if first == 2 { Self::dst(&self.arg(1)?)? } else { Dst::Nowhere };
        let dst = Self::dst(&self.arg(0)?)?;
        let mut src = |at: usize| self.src(first + at, 32);
        Ok(Op::Shuffle {
            mode,
            dst,
            valid,
            src: src(0)?,
            by: src(1)?,
            clamp: src(2)?,
            mask: src(3)?,
        })
    }

    fn vote(&mut self, mode: &str) -> Result<Op> {
        let mode = match (mode, self.only_type()?) {
            ("all", Ty::Pred) => VoteMode::All,
            ("any", Ty::Pred) => VoteMode::Any,
            ("uni", Ty::Pred) => VoteMode::Uniform,
            ("ballot", Ty::B32) => VoteMode::Ballot,
            _ => return Err(UNKNOWN),
        };
        Ok(Op::Vote {
            mode,
            dst: Self::dst(&self.arg(0)?)?,
            src: self.guard(1)?,
            mask: self.src(2, 32)?,
        })
    }

    fn matching(&mut self, all: bool) -> Result<Op> {
        let bits = self.only_type()?.bits();
        let first =
            self.args.len().checked_sub(2).filter(|n| (1..=2).contains(n)).ok_or(OPERANDS)?;
        let pred = if first == 2 { Self::dst(&self.arg(1)?)? } else { Dst::Nowhere };
        Ok(Op::Match {
            all,
            dst: Self::dst(&self.arg(0)?)?,
            pred,
            src: self.src(first, bits)?,
            bits,
            mask: self.src(first + 1, 32)?,
        })
    }

    fn mma(&mut self, shape: &str) -> Result<Op> {
        let product = match (shape, self.types.as_slice()) {
            ("m16n8k8", [Ty::F32, Ty::F16, Ty::F16, Ty::F32]) => {
                Product { k: 8, a: Element::F16, b: Element::F16 }
            }
            ("m16n8k16", [Ty::F32, Ty::F16, Ty::F16, Ty::F32]) => {
                Product { k: 16, a: Element::F16, b: Element::F16 }
            }
            ("m16n8k8", [Ty::F32, Ty::Bf16, Ty::Bf16, Ty::F32]) => {
                Product { k: 8, a: Element::Bf16, b: Element::Bf16 }
            }
            ("m16n8k16", [Ty::F32, Ty::Bf16, Ty::Bf16, Ty::F32]) => {
                Product { k: 16, a: Element::Bf16, b: Element::Bf16 }
            }
            (
                "m16n8k16" | "m16n8k32",
                [Ty::S32, a @ (Ty::U8 | Ty::S8), b @ (Ty::U8 | Ty::S8), Ty::S32],
            ) => {
                let of = |ty: &Ty| if ty.is_signed() { Element::S8 } else { Element::U8 };
                Product { k: if shape == "m16n8k16" { 16 } else { 32 }, a: of(a), b: of(b) }
            }
            _ => return Err(UNKNOWN),
        };
        let (d, a, b, c) = (self.dsts(0)?, self.srcs(1, 32)?, self.srcs(2, 32)?, self.srcs(3, 32)?);
        // A register of `a` covers 8 rows, one of `b` as many columns; each lane of a row holds 4
        // bytes.
        let n = product.k * product.a.bytes() / 16;
        if (d.len(), a.len(), b.len(), c.len()) != (4, 2 * n, n, 4) {
            return Err(OPERANDS);
        }
        Ok(Op::Mma { product, d, a, b, c })
    }

    fn ldmatrix(&mut self, count: &str, rest: &[&str]) -> Result<Op> {
        let count = match count {
            "x1" => 1,
            "x2" => 2,
            "x4" => 4,
            _ => return Err(UNKNOWN),
        };
        let (transposed, space) = match rest {
            ["trans", space] => (true, space),
            [space] => (false, space),
            _ => return Err(UNKNOWN),
        };
        let space = Space::parse(space).filter(|space| *space == Space::Shared).ok_or(UNKNOWN)?;
        let dst = self.dsts(0)?;
        if dst.len() != count || self.types != [Ty::B16] {
            return Err(OPERANDS);
        }
        Ok(Op::LoadMatrix { from: self.address(1, space)?, dst, transposed })
    }

    fn copy(&mut self) -> Result<Op> {
        let Operand::Imm(bytes @ (4 | 8 | 16)) = self.arg(2)? else { return Err(OPERANDS) };
        let valid = if self.args.len() > 3 { Some(self.src(3, 32)?) } else { None };
        let (to, from) = (self.address(0, Space::Shared)?, self.address(1, Space::Global)?);
        Ok(Op::Copy { to, from, bytes: bytes as u32, valid })
    }
}

impl Element {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Element::F16 | Element::Bf16 => 2,
            Element::U8 | Element::S8 => 1,
        }
    }
}

/// Hints to the caches, which change nothing that is computed.
fn is_hint(word: &str) -> bool {
    matches!(word, "nc" | "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt")
        || word.starts_with("L1::")
        || word.starts_with("L2::")
}
