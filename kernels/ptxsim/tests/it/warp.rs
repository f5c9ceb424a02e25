//! Operations of a warp, of a block, and between blocks.

use lacuna_ptxsim::{Launch, Memory, Param};

use crate::random::Random;
use crate::support::{launch, module, warp};

fn drawn(seed: u64, n: usize, below: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| random.below(below) as u32).collect()
}

#[test]
fn shuffles() {
    let x = drawn(1, 32, 1 << 32);
    let from = |f: fn(usize) -> usize| (0..32).map(|lane| x[f(lane)]).collect::<Vec<_>>();
    assert_eq!(warp("shfl.sync.bfly.b32 %r0, %r1, 5, 31, -1;", &x), from(|l| l ^ 5));
    assert_eq!(
        warp("shfl.sync.down.b32 %r0, %r1, 3, 31, -1;", &x),
        from(|l| if l + 3 < 32 { l + 3 } else { l })
    );
    assert_eq!(
        warp("shfl.sync.up.b32 %r0, %r1, 3, 0, -1;", &x),
        from(|l| l.checked_sub(3).unwrap_or(l))
    );
    assert_eq!(warp("shfl.sync.idx.b32 %r0, %r1, 7, 31, -1;", &x), from(|_| 7));
    // Segments of 8 lanes: (32 - 8) << 8 | 31.
    assert_eq!(
        warp("shfl.sync.down.b32 %r0, %r1, 1, 6175, -1;", &x),
        from(|l| if l % 8 == 7 { l } else { l + 1 })
    );
    assert_eq!(warp("shfl.sync.idx.b32 %r0, %r1, 2, 6175, -1;", &x), from(|l| l / 8 * 8 + 2));
    assert_eq!(
        warp("shfl.sync.up.b32 %r0, %r1, 1, 6144, -1;", &x),
        from(|l| if l % 8 == 0 { l } else { l - 1 })
    );
    let valid = warp("shfl.sync.down.b32 %r2|%p0, %r1, 30, 31, -1; selp.b32 %r0, 1, 0, %p0;", &x);
    assert_eq!(valid, (0..32).map(|l| u32::from(l < 2)).collect::<Vec<_>>());
}

#[test]
fn votes_matches_and_reductions() {
    let x = drawn(2, 32, 4);
    let mask = |f: &dyn Fn(u32) -> bool| (0..32).filter(|l| f(x[*l])).fold(0u32, |m, l| m | 1 << l);
    assert_eq!(
        warp("setp.eq.s32 %p0, %r1, 2; vote.sync.ballot.b32 %r0, %p0, -1;", &x),
        [mask(&|v| v == 2); 32]
    );
    for (mode, limit, expected) in
        [("all", 4, 1), ("all", 3, 0), ("any", 1, 1), ("any", 0, 0), ("uni", 4, 1), ("uni", 2, 0)]
    {
        let body = format!(
            "setp.lt.u32 %p0, %r1, {limit}; vote.sync.{mode}.pred %p1, %p0, -1; selp.b32 %r0, 1, 0, %p1;"
        );
        assert_eq!(warp(&body, &x), [expected; 32], "{mode} {limit}");
    }
    let alike: Vec<u32> = x.iter().map(|v| mask(&|w| w == *v)).collect();
    assert_eq!(warp("match.any.sync.b32 %r0, %r1, -1;", &x), alike);
    assert_eq!(warp("match.all.sync.b32 %r0|%p0, %r1, -1;", &[9; 32]), [u32::MAX; 32]);
    assert_eq!(warp("redux.sync.add.s32 %r0, %r1, -1;", &x), [x.iter().sum::<u32>(); 32]);
    let signed: Vec<u32> = x.iter().map(|v| v.wrapping_sub(2)).collect();
    assert_eq!(warp("redux.sync.min.s32 %r0, %r1, -1;", &signed), [(-2i32) as u32; 32]);
    assert_eq!(warp("redux.sync.max.u32 %r0, %r1, -1;", &signed), [u32::MAX; 32]);
    assert_eq!(
        warp("mov.u32 %r0, 0; setp.lt.u32 %p0, %t, 5; @%p0 activemask.b32 %r0;", &x)[..6],
        [31, 31, 31, 31, 31, 0]
    );
    // Both halves at once, each among its own.
    let halves = warp(
        "setp.lt.u32 %p0, %t, 16; selp.b32 %r2, 65535, -65536, %p0; redux.sync.add.u32 %r0, %r1, %r2;",
        &x,
    );
    assert_eq!((halves[3], halves[20]), (x[..16].iter().sum(), x[16..].iter().sum()));
    // A vote of a part, while the rest is elsewhere.
    let body = "setp.lt.u32 %p0, %t, 8; mov.u32 %r0, 7; @!%p0 bra rest; vote.sync.ballot.b32 %r0, 1, 255; rest:";
    assert_eq!(warp(body, &x)[..9], [255, 255, 255, 255, 255, 255, 255, 255, 7]);
}

#[test]
fn special_registers() {
    assert_eq!(warp("mov.u32 %r0, %lanemask_lt;", &[0; 64])[33], 1);
    assert_eq!(warp("mov.u32 %r0, %lanemask_ge;", &[0; 32])[31], 1 << 31);
    assert_eq!(warp("mov.u32 %r0, %warpid;", &[0; 64])[40], 1);
    let body = "mov.u32 %r0, %tid.y; mov.u32 %r1, %ctaid.y; mov.u32 %r2, %nctaid.y; mov.u32 %r3, %ntid.x; mad.lo.s32 %r4, %r1, %r2, %b;
        mul.lo.s32 %r5, %r0, %r3; add.s32 %r5, %r5, %t; mad.lo.s32 %r4, %r4, 8, %r5; mul.wide.u32 %d0, %r4, 4; add.s64 %d0, %out, %d0; st.global.u32 [%d0], %r4;";
    let outcome = launch(body, &Launch::new((2, 2), (4, 2)), &[0], 32);
    outcome.counts.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(outcome.memory.read::<u32>(outcome.output), (0..32).collect::<Vec<_>>());
}

#[test]
fn atomics() {
    let module = module(
        "mul.wide.u32 %d0, %t, 4; add.s64 %d1, %in, %d0; ld.global.u32 %r1, [%d1];
         red.global.add.u32 [%out], %r1; red.global.max.s32 [%out+4], %r1; atom.global.min.u32 %r2, [%out+8], %r1;
         atom.global.or.b32 %r3, [%out+12], %r1; atom.global.inc.u32 %r4, [%out+16], 9; red.global.add.f32 [%out+20], 0f3F000000;
         atom.global.cas.b32 %r5, [%out+24], 0, %r1; atom.global.exch.b32 %r6, [%out+28], 3; atom.global.add.u64 %d4, [%out+32], 4294967296;",
    );
    let x = drawn(3, 64, 1000).into_iter().map(|v| v + 1).collect::<Vec<_>>();
    let mut memory = Memory::default();
    let (input, out) =
        (memory.input("in", &x), memory.inout("out", &[0u32, 0, u32::MAX, 0, 0, 0, 0, 0, 0, 0]));
    let counts = module
        .kernel("t")
        .unwrap()
        .launch(&Launch::new(1, 64), &[input.into(), out.into()], &mut memory)
        .unwrap();
    let sum = x.iter().sum();
    let or = x.iter().fold(0, |a, b| a | b);
    let expected = [
        sum,
        *x.iter().max().unwrap(),
        *x.iter().min().unwrap(),
        or,
        64 % 10,
        32f32.to_bits(),
        x[0],
        3,
        0,
        64,
    ];
    assert_eq!(memory.read::<u32>(out), expected);
    assert_eq!(counts.atomics, 64 * 9, "one a lane");
}

#[test]
fn a_block_reverses_by_shared_memory() {
    let body =
        ".shared .align 4 .b8 buffer[512]; mov.u64 %d3, buffer; mul.wide.u32 %d0, %t, 4; add.s64 %d1, %in, %d0; ld.global.u32 %r1, [%d1];
        add.s64 %d4, %d3, %d0; st.shared.u32 [%d4], %r1; bar.sync 0; sub.s32 %r2, 127, %t; mul.wide.u32 %d5, %r2, 4; add.s64 %d5, %d3, %d5;
        ld.shared.u32 %r3, [%d5]; add.s64 %d6, %out, %d0; st.global.u32 [%d6], %r3;";
    let x = drawn(4, 128, 1 << 32);
    for turn in [1, 3, 4096] {
        let outcome = launch(body, &Launch::new(1, 128).turn(turn), &x, 128);
        assert_eq!(outcome.counts.unwrap().barriers, 1);
        assert_eq!(
            outcome.memory.read::<u32>(outcome.output),
            x.iter().rev().copied().collect::<Vec<_>>()
        );
    }
}

#[test]
fn generic_addresses_reach_shared_local_and_module_memory() {
    let ptx = ".version 8.4
.const .align 4 .b8 table[8] = {1, 0, 0, 0, 255, 255, 255, 255};
.global .align 4 .u32 words[2] = {7, 0x10};
.visible .entry t(.param .u64 out, .param .align 4 .b8 s[12]) {
.reg .b32 %r<9>; .reg .b64 %d<9>; .shared .align 4 .b8 sh[64]; .local .align 8 .b8 depot[16]; .reg .b64 %SP, %SPL;
ld.param.u64 %d0, [out]; mov.u64 %SPL, depot; cvta.local.u64 %SP, %SPL; mov.u64 %d1, sh; cvta.shared.u64 %d2, %d1;
ld.param.u32 %r0, [s+8]; st.u32 [%SP+4], %r0; ld.local.u32 %r1, [%SPL+4]; st.u32 [%d2+60], %r1; ld.shared.u32 %r2, [sh+60]; st.global.u32 [%d0], %r2;
ld.const.u32 %r3, [table+4]; st.global.u32 [%d0+4], %r3; mov.u64 %d3, words; ld.global.u32 %r4, [%d3+4]; ld.s8 %r5, [table+5]; add.s32 %r4, %r4, %r5; st.u32 [%d0+8], %r4;
ret; }";
    let mut memory = Memory::default();
    let out = memory.output::<u32>("out", 3);
    let structure = [1u32, 2, 0x0102_0304].map(u32::to_le_bytes).concat();
    let module = lacuna_ptxsim::Module::parse(ptx).unwrap_or_else(|e| panic!("{e}"));
    let counts = module.kernel("t").unwrap().launch(
        &Launch::new(1, 1),
        &[out.into(), Param::bytes(&structure)],
        &mut memory,
    );
    assert_eq!(counts.unwrap_or_else(|e| panic!("{e}")).local, 2);
    assert_eq!(memory.read::<u32>(out), [0x0102_0304, u32::MAX, 15]);
}

/// Blocks that add to a counter, and wait until all have: a persistent kernel in small.
fn grid_barrier(after_write: &str, before_read: &str) -> String {
    format!(
        "mul.wide.u32 %d0, %b, 4; add.s64 %d1, %out, %d0; setp.ne.u32 %p0, %t, 0;
         @%p0 bra wait; add.s32 %r1, %b, 100; st.global.u32 [%d1+4], %r1; {after_write} red.global.add.u32 [%out], 1;
         spin: ld.volatile.global.u32 %r2, [%out]; setp.lt.u32 %p1, %r2, 4; @%p1 bra spin; {before_read}
         wait: bar.sync 0; xor.b32 %r3, %b, 3; mul.wide.u32 %d2, %r3, 4; add.s64 %d3, %out, %d2; ld.global.u32 %r4, [%d3+4];
         @%p0 bra done; st.global.u32 [%d1+20], %r4; done:"
    )
}

#[test]
fn blocks_wait_for_each_other_when_they_are_resident() {
    let run = |body: &str, launch: Launch| {
        let module = module(body);
        let mut memory = Memory::default();
        let input = memory.input("in", &[0u32]);
        let out = memory.output::<u32>("out", 9);
        memory.write(out, &[0u32]);
        let counts =
            module.kernel("t").unwrap().launch(&launch, &[input.into(), out.into()], &mut memory);
        counts.map(|_| memory.read::<u32>(out))
    };
    let fenced = grid_barrier("membar.gl;", "membar.gl;");
    for turn in [1, 7, 4096] {
        let out = run(&fenced, Launch::new(4, 64).resident(4).turn(turn))
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(out, [4, 100, 101, 102, 103, 103, 102, 101, 100]);
    }
    let alone = run(&fenced, Launch::new(4, 64).limit(100_000)).unwrap_err();
    assert!(alone.to_string().contains("not done after 100000 instructions"), "{alone}");
    for (after, before) in [("", "membar.gl;"), ("membar.gl;", "")] {
        let fault = run(&grid_barrier(after, before), Launch::new(4, 64).resident(4)).unwrap_err();
        assert!(fault.to_string().contains("race: byte"), "{fault}");
    }
}

#[test]
fn lanes_that_spin_let_those_run_that_they_wait_for() {
    // Lane 0 stores what the others spin on; they come first by their place in the code.
    let body = ".shared .align 4 .b8 flag[4]; mov.u64 %d3, flag; setp.ne.u32 %p0, %t, 0; @%p0 bra skip; mov.u32 %r5, 0; st.volatile.shared.u32 [%d3], %r5; skip: bar.sync 0;
        @!%p0 bra store; spin: ld.volatile.shared.u32 %r1, [%d3]; setp.eq.u32 %p1, %r1, 0; @%p1 bra spin; bra done;
        store: mov.u32 %r2, 1; st.volatile.shared.u32 [%d3], %r2; done: bar.warp.sync -1; st.global.u32 [%out], %r2;";
    let outcome = launch(body, &Launch::new(1, 32).limit(1_000_000), &[0], 1);
    let fault = outcome.counts.unwrap_err();
    // All 32 lanes store different values then: that is a fault of the test's kernel, and reached.
    assert!(fault.to_string().contains("race"), "{fault}");
}
