//! Operations among the lanes of a warp: shuffles, votes, matches, reductions.

use crate::exec::{set, set_dst, set_pred};
use crate::fault::Kind;
use crate::machine::{Run, Trouble, Warp, trouble};
use crate::op::{Op, Reg, ShuffleMode, VoteMode};
use crate::value::{Lanes, WARP, lanes, low};

impl Run<'_> {
    /// Lanes that name each other work together; several such groups may be `active` at once.
    pub(crate) fn collective(
        &mut self,
        warp: &mut Warp,
        pc: u32,
        active: u32,
    ) -> Result<(), Trouble> {
        let kernel = self.kernel;
        let op = &kernel.code[pc as usize].op;
        let (Op::Shuffle { mask, .. }
        | Op::Vote { mask, .. }
        | Op::Match { mask, .. }
        | Op::Reduce { mask, .. }) = op
        else {
            unreachable!("no operation among lanes")
        };
        let mut rest = active;
        while rest != 0 {
            let group = self.group(warp, *mask, active, rest.trailing_zeros() as usize)?;
            self.together(warp, op, group)?;
            rest &= !group;
        }
        Ok(())
    }

    fn together(&self, warp: &mut Warp, op: &Op, active: u32) -> Result<(), Trouble> {
        match op {
            Op::Shuffle { mode, dst, valid, src, by, clamp, .. } => {
                let (value, by, clamp) =
                    (self.reg(warp, *src), self.reg(warp, *by), self.reg(warp, *clamp));
                let (mut out, mut valid_mask) = ([0; WARP], 0);
                for lane in lanes(active) {
                    let from = source(*mode, lane as u32, by[lane] as u32, clamp[lane] as u32);
                    valid_mask |= u32::from(from.is_some()) << lane;
                    let from = from.unwrap_or(lane as u32) as usize;
                    if active >> from & 1 == 0 {
                        return trouble(
                            Kind::DivergentWarp {
                                detail: format!("the value of lane {from}, which takes no part"),
                            },
                            lane,
                        );
                    }
                    out[lane] = value[from];
                }
                set_dst(warp, *dst, &out, active);
                set_pred(warp, *valid, valid_mask, active);
            }
            Op::Vote { mode, dst, src, .. } => {
                let votes = self.guard(warp, *src) & active;
                let found = match mode {
                    VoteMode::Ballot => {
                        set_dst(warp, *dst, &[u64::from(votes); WARP], active);
                        return Ok(());
                    }
                    VoteMode::All => votes == active,
                    VoteMode::Any => votes != 0,
                    VoteMode::Uniform => votes == active || votes == 0,
                };
                set_pred(warp, *dst, if found { u32::MAX } else { 0 }, active);
            }
            Op::Match { all, dst, pred, src, bits, .. } => {
                let value = self.reg(warp, *src).map(|v| low(v, *bits));
                let alike = |lane: usize| {
                    lanes(active)
                        .filter(|other| value[*other] == value[lane])
                        .fold(0u32, |mask, other| mask | 1 << other)
                };
                let first = active.trailing_zeros() as usize;
                let everyone = alike(first) == active;
                let mut out: Lanes = [0; WARP];
                lanes(active).for_each(|lane| {
                    out[lane] = if *all {
                        if everyone { active.into() } else { 0 }
                    } else {
                        alike(lane).into()
                    }
                });
                set_dst(warp, *dst, &out, active);
                set_pred(warp, *pred, if everyone { u32::MAX } else { 0 }, active);
            }
            Op::Reduce { f, dst, src, .. } => {
                let value = self.reg(warp, *src);
                let total =
                    lanes(active).map(|lane| value[lane]).reduce(|a, b| f(a, b, 0)).unwrap_or(0);
                set(warp, *dst, &[total; WARP], active);
            }
            _ => unreachable!("no operation among lanes"),
        }
        Ok(())
    }

    /// The lanes that `lane` names and that have not ended: all must be here, and name the same.
    fn group(&self, warp: &Warp, mask: Reg, active: u32, lane: usize) -> Result<u32, Trouble> {
        let named = self.reg(warp, mask);
        let group = named[lane] as u32 & warp.live;
        let here = group & active == group && group >> lane & 1 == 1;
        if here && lanes(group).all(|other| named[other] == named[lane]) {
            return Ok(group);
        }
        trouble(
            Kind::DivergentWarp {
                detail: format!("lane {lane} names {:#010x}, here are {active:#010x}", named[lane]),
            },
            lane,
        )
    }
}

/// The lane that a shuffle reads from, if it is in range.
fn source(mode: ShuffleMode, lane: u32, by: u32, clamp: u32) -> Option<u32> {
    let (by, bound, segment) = (by & 31, clamp & 31, clamp >> 8 & 31);
    let (least, most) = (lane & segment, (lane & segment) | (bound & !segment));
    match mode {
        ShuffleMode::Up => lane.checked_sub(by).filter(|from| *from >= most),
        ShuffleMode::Down => Some(lane + by).filter(|from| *from <= most),
        ShuffleMode::Butterfly => Some(lane ^ by).filter(|from| *from <= most),
        ShuffleMode::Index => Some(least | (by & !segment)).filter(|from| *from <= most),
    }
}
