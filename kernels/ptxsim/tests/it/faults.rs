//! Planted faults: each is found, at its line; the sound twin beside it runs through.

use lacuna_ptxsim::{Kind, Launch, Memory};

use crate::support::{BODY, launch, module};

/// Runs `body` with 64 words of input and output; returns the fault's text.
fn fault(body: &str, how: &Launch) -> String {
    launch(body, how, &[1; 64], 64)
        .counts
        .map_or_else(|fault| fault.to_string(), |_| panic!("no fault: {body}"))
}

fn sound(body: &str, how: &Launch) {
    if let Err(fault) = launch(body, how, &[1; 64], 64).counts {
        panic!("{fault}: {body}");
    }
}

const SHARED: &str = ".shared .align 16 .b8 s[256]; mov.u64 %d3, s; mul.wide.u32 %d0, %t, 4; add.s64 %d4, %d3, %d0; add.s64 %d6, %in, %d0; add.s64 %d7, %out, %d0;";

#[test]
fn a_missing_barrier() {
    let two = Launch::new(1, 64);
    let body = |barrier: &str| {
        format!(
            "{SHARED} st.shared.u32 [%d4], %t;\n{barrier}\nxor.b32 %r1, %t, 32; mul.wide.u32 %d5, %r1, 4; add.s64 %d5, %d3, %d5;\nld.shared.u32 %r2, [%d5]; st.global.u32 [%d7], %r2;"
        )
    };
    sound(&body("bar.sync 0;"), &two);
    for weak in ["", "bar.warp.sync -1;", "membar.gl;"] {
        let text = fault(&body(weak), &two);
        // Which it is depends on who comes first.
        let found =
            text.contains("race: shared byte") || text.contains("uninitialised: shared byte");
        assert!(found && text.contains(&format!("PTX line {}", BODY + 3)), "{text}");
    }
}

#[test]
fn a_missing_barrier_in_a_loop() {
    // Written again before all have read.
    let body = |second: &str| {
        format!(
            "{SHARED} mov.u32 %r9, 0; again: st.shared.u32 [%d4], %r9; bar.sync 0; xor.b32 %r1, %t, 32; mul.wide.u32 %d5, %r1, 4; add.s64 %d5, %d3, %d5;
             ld.shared.u32 %r2, [%d5]; {second} add.s32 %r9, %r9, 1; setp.lt.u32 %p0, %r9, 4; @%p0 bra again; st.global.u32 [%d7], %r2;"
        )
    };
    sound(&body("bar.sync 0;"), &Launch::new(1, 64));
    let text = fault(&body(""), &Launch::new(1, 64));
    assert!(text.contains("race: shared byte 0 was"), "{text}");
}

#[test]
fn lanes_of_a_warp_need_a_warp_barrier() {
    let body = |barrier: &str| {
        format!(
            "{SHARED} st.shared.u32 [%d4], %t; {barrier} xor.b32 %r1, %t, 1; mul.wide.u32 %d5, %r1, 4; add.s64 %d5, %d3, %d5; ld.shared.u32 %r2, [%d5]; st.global.u32 [%d7], %r2;"
        )
    };
    sound(&body("bar.warp.sync -1;"), &Launch::new(1, 32));
    sound(&body("bar.sync 0;"), &Launch::new(1, 32));
    let text = fault(&body("shfl.sync.bfly.b32 %r3, %r1, 1, 31, -1;"), &Launch::new(1, 32));
    assert!(text.contains("race"), "a shuffle orders no memory: {text}");
}

#[test]
fn a_wait_too_few() {
    let body = |wait: &str, barrier: &str| {
        format!(
            "{SHARED} shl.b32 %r4, %t, 4; cvt.u64.u32 %d8, %r4; setp.lt.u32 %p0, %t, 8; add.s64 %d9, %d3, %d8; add.s64 %d10, %in, %d8; cvt.u32.u64 %r5, %d9;
             @%p0 cp.async.cg.shared.global [%r5], [%d10], 16; cp.async.commit_group;
             @%p0 cp.async.ca.shared.global [%r5+128], [%d10+128], 16, 8; cp.async.commit_group; {wait} {barrier}
             ld.shared.u32 %r2, [%d4]; st.global.u32 [%d7], %r2;"
        )
    };
    let two = Launch::new(1, 64);
    let outcome = launch(
        &body("cp.async.wait_group 0;", "bar.sync 0;"),
        &two,
        &(0..64).collect::<Vec<_>>(),
        64,
    );
    outcome.counts.unwrap_or_else(|e| panic!("{e}"));
    // The second half: 8 bytes of each 16 copied, then zeros.
    let expected: Vec<u32> = (0..64).map(|i| if i < 32 || i % 4 < 2 { i } else { 0 }).collect();
    assert_eq!(outcome.memory.read::<u32>(outcome.output), expected);
    sound(&body("cp.async.wait_all;", "bar.sync 0;"), &two);
    for wait in ["cp.async.wait_group 2;", ""] {
        let text = fault(&body(wait, "bar.sync 0;"), &two);
        assert!(text.contains("in flight: an asynchronous copy to shared byte"), "{text}");
    }
    // The first half has arrived; the thread that copies the second ends before another reads it.
    let text = fault(&body("cp.async.wait_group 1;", "bar.sync 0;"), &two);
    assert!(text.contains("in flight"), "{text}");
    let text = fault(&body("cp.async.wait_group 0;", ""), &two);
    assert!(text.contains("race: shared byte"), "a wait is for the own copies only: {text}");
    let text = fault(
        &format!("{SHARED} cvt.u32.u64 %r5, %d3; cp.async.cg.shared.global [%r5], [%in], 16;"),
        &Launch::new(1, 1),
    );
    assert!(text.contains("copies in flight at the thread's end"), "{text}");
}

#[test]
fn out_of_bounds() {
    let one = Launch::new(1, 64);
    let cases = [
        (
            "ld.global.u32 %r1, [%d6+4];",
            "thread 63: out of bounds: byte 256 of `in` (of 256), 4 bytes",
        ),
        ("ld.global.u32 %r1, [%d6+-4];", "an address outside of all buffers"),
        ("st.global.u32 [%d7+4], %t;", "byte 256 of `out` (of 256), 4 bytes"),
        ("st.shared.u32 [%d4+4], %t;", "shared byte 256, 4 bytes"),
        ("mov.u64 %d1, 16; ld.global.u32 %r1, [%d1];", "an address outside of all buffers"),
        ("mov.u64 %d1, -16; ld.u32 %r1, [%d1];", "an address outside of all buffers"),
        (
            ".local .align 4 .b8 l[8]; mov.u64 %d1, l; st.local.u32 [%d1+8], %t;",
            "local byte 8, 4 bytes",
        ),
        ("ld.param.u64 %d1, [p_out+8];", "byte 16 of the parameters"),
        (
            "cvt.u32.u64 %r5, %d3; cp.async.cg.shared.global [%r5], [%in+256], 16;",
            "byte 256 of `in`",
        ),
        (
            "cvt.u32.u64 %r5, %d3; cp.async.cg.shared.global [%r5], [%in+240], 16, 17; cp.async.wait_all; atom.global.add.u32 %r1, [%out+256], 1;",
            "`out`",
        ),
    ];
    for (access, expected) in cases {
        let alone = if access.contains("cp.async") { Launch::new(1, 1) } else { one.clone() };
        let body = format!("{SHARED}\n{access}");
        let text = fault(&body, &alone);
        assert!(text.contains("out of bounds") && text.contains(expected), "{access}: {text}");
    }
    // Zero-filled copies need no source.
    sound(
        &format!(
            "{SHARED} cvt.u32.u64 %r5, %d3; cp.async.cg.shared.global [%r5], [%in+4096], 16, 0; cp.async.wait_all;"
        ),
        &Launch::new(1, 1),
    );
}

#[test]
fn uninitialised_misaligned_and_read_only() {
    let one = Launch::new(1, 32);
    let cases = [
        ("ld.shared.u32 %r1, [%d4];", "uninitialised: shared byte 0 was never written"),
        ("ld.global.u32 %r1, [%d7];", "uninitialised: byte 0 of `out` (of 256) was never written"),
        (
            ".local .align 4 .b8 l[8]; mov.u64 %d1, l; ld.local.u32 %r1, [%d1];",
            "uninitialised: local byte 0",
        ),
        ("st.shared.u8 [%d4], %t; ld.shared.u32 %r1, [%d4];", "uninitialised"),
        (
            "ld.global.v2.u32 {%r1, %r2}, [%d6];",
            "thread 1: misaligned: byte 4 of `in` (of 256), 8 bytes",
        ),
        ("st.shared.u32 [%d4+2], %t;", "misaligned: shared byte 2, 4 bytes"),
        ("st.global.u32 [%d6], %t;", "write to read-only byte 0 of `in`"),
        ("trap;", "trap"),
    ];
    for (access, expected) in cases {
        let text = fault(&format!("{SHARED}\n{access}"), &one);
        assert!(
            text.contains(expected) && text.contains(&format!("PTX line {}", BODY + 1)),
            "{access}: {text}"
        );
    }
}

#[test]
fn barriers_that_not_all_reach() {
    let diverges = |body: &str, threads: u32| {
        let text = fault(&format!("{SHARED}\n{body}"), &Launch::new(1, threads));
        assert!(text.contains("divergent barrier"), "{body}: {text}");
    };
    diverges("setp.lt.u32 %p0, %t, 16; @%p0 bar.sync 0;", 32);
    diverges("setp.lt.u32 %p0, %t, 16; @%p0 ret; bar.sync 0;", 32);
    diverges("setp.lt.u32 %p0, %t, 32; @%p0 ret; bar.sync 0;", 64);
    diverges(
        "setp.lt.u32 %p0, %t, 32; @%p0 bra other; bar.sync 0; bra done; other: bar.sync 0; done:",
        64,
    );
    diverges(
        "setp.lt.u32 %p0, %t, 16; @%p0 bra other; bar.sync 0; bra done; other: bar.sync 0; done:",
        32,
    );
    diverges("bar.sync 16;", 32);
    diverges("bar.sync 1, 48;", 64);
    let text = fault(
        "setp.lt.u32 %p0, %t, 32; @%p0 bra other; bar.sync 1, 64; bra done; other: bar.sync 2, 64; done:",
        &Launch::new(1, 64),
    );
    assert!(text.contains("deadlock: 32 of 64 threads have arrived, 0 have ended"), "{text}");
    let text = fault(
        "setp.lt.u32 %p0, %t, 16; @%p0 shfl.sync.bfly.b32 %r1, %t, 1, 31, -1;",
        &Launch::new(1, 32),
    );
    assert!(text.contains("warp operation without all of its lanes"), "{text}");
    // Half a warp names itself: sound. Another's lane read: not.
    sound(
        "setp.lt.u32 %p0, %t, 16; @%p0 shfl.sync.bfly.b32 %r1, %t, 1, 31, 65535;",
        &Launch::new(1, 32),
    );
    let text = fault(
        "setp.lt.u32 %p0, %t, 16; @%p0 shfl.sync.bfly.b32 %r1, %t, 16, 31, 65535;",
        &Launch::new(1, 32),
    );
    assert!(text.contains("the value of lane 16, which takes no part"), "{text}");
}

#[test]
fn barriers_with_counts_order_who_takes_part() {
    // Warp 0 produces, warp 1 consumes; warp 2 is not asked.
    let body = |arrive: &str| {
        format!(
            "{SHARED} setp.ge.u32 %p0, %t, 32; @%p0 bra consume; st.shared.u32 [%d4], %t; {arrive} bra done;
             consume: setp.ge.u32 %p1, %t, 64; @%p1 bra done; bar.sync 1, 64; ld.shared.u32 %r1, [%d4+-128]; st.global.u32 [%d7], %r1; done:"
        )
    };
    let three = Launch::new(1, 96);
    sound(&body("bar.arrive 1, 64;"), &three);
    sound(&body("bar.sync 1, 64;"), &three);
    // A barrier of two warps says nothing to the third.
    let text = fault(
        &format!(
            "{SHARED} setp.ge.u32 %p0, %t, 64; @%p0 bra third; st.shared.u32 [%d4], %t; bar.sync 1, 64; bra done;
             third: ld.shared.u32 %r1, [%d4+-128]; done:"
        ),
        &three,
    );
    assert!(text.contains("race: shared byte") && text.contains("written by thread"), "{text}");
}

#[test]
fn races_in_global_memory() {
    let all = |body: &str, how: &Launch| fault(&format!("{SHARED}\n{body}"), how);
    let text = all("st.global.u32 [%out], %t;", &Launch::new(1, 32));
    assert!(text.contains("race: byte 0 of `out`"), "lanes of one store: {text}");
    let text = all("st.global.u32 [%out], 7;", &Launch::new(1, 32));
    assert!(text.contains("race: byte 0 of `out`"), "the same value is a race too: {text}");
    let text = all("st.global.u32 [%out], %b;", &Launch::new(2, 1));
    assert!(text.contains("by thread 0 of block 0"), "two blocks: {text}");
    let text = all(
        "st.global.u32 [%d7], %t; setp.ne.u32 %p0, %t, 63; @%p0 ld.global.u32 %r1, [%d7+4];",
        &Launch::new(1, 64),
    );
    assert!(text.contains("race") || text.contains("uninitialised"), "{text}");
    let text = all("red.global.add.u32 [%out], 1; ld.global.u32 %r1, [%out];", &Launch::new(2, 1));
    assert!(text.contains("uninitialised"), "{text}");
    // Neighbouring bytes are different things.
    sound(
        &format!("{SHARED} cvt.u64.u32 %d1, %t; add.s64 %d1, %out, %d1; st.global.u8 [%d1], %t;"),
        &Launch::new(1, 64),
    );
}

#[test]
fn a_fault_names_the_line_of_the_source() {
    let ptx = ".version 8.4\n.file 1 \"/home/a/rows.cu\"\n.file 2 \"/home/a/device.cuh\"
.visible .entry t(.param .u64 p) {
.reg .b32 %r<3>; .reg .b64 %d<3>;
.loc 1 20 3
ld.param.u64 %d0, [p];
.loc 2 7 5, function_name $L__info_string0, inlined_at 1 31 9
ld.global.u32 %r0, [%d0];
.loc 1 40 1
ret;
}";
    let module = lacuna_ptxsim::Module::parse(ptx).unwrap();
    let mut memory = Memory::default();
    let p = memory.output::<u32>("p", 1);
    let fault = module
        .kernel("t")
        .unwrap()
        .launch(&Launch::new((2, 2), 8), &[p.into()], &mut memory)
        .unwrap_err();
    assert!(matches!(fault.kind, Kind::Uninitialised { .. }));
    assert_eq!(
        (fault.place.file.as_str(), fault.place.line, fault.place.inlined_at),
        ("device.cuh", 7, Some(31))
    );
    assert_eq!(
        fault.to_string(),
        "device.cuh:7, inlined at 31, PTX line 9: ld.global.u32: block [0, 0, 0], thread 0: uninitialised: byte 0 of `p` (of 4) was never written"
    );
}

#[test]
fn launches_that_cannot_be() {
    let module = module("");
    let kernel = module.kernel("t").unwrap();
    let mut memory = Memory::default();
    let p = memory.input("p", &[0u32]);
    let mut says = |launch: Launch, params: &[lacuna_ptxsim::Param], expected: &str| {
        let text = kernel.launch(&launch, params, &mut memory).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    };
    says(Launch::new(1, 32), &[p.into()], "1 arguments, 2 parameters");
    says(Launch::new(1, 32), &[p.into(), 5u32.into()], "p_out has 8 bytes, 4 were passed");
    says(Launch::new(1, 2048), &[p.into(), p.into()], "2048");
    says(Launch::new(0, 32), &[p.into(), p.into()], "a grid of [0, 1, 1]");
    says(Launch::new(1, 32).shared(64), &[p.into(), p.into()], "the kernel uses none");
    assert!(module.kernel("u").is_err());
}
