//! Counters, on kernels whose counts can be told by hand.

use lacuna_ptxsim::Launch;

use crate::support::launch;

#[test]
fn sectors_asked_and_needed() {
    let counts = |scale: u32, blocks: u32| {
        let body = format!(
            "mul.wide.u32 %d0, %t, {scale}; add.s64 %d1, %in, %d0; ld.global.u32 %r1, [%d1]; mad.lo.s32 %r2, %b, 32, %t;
             mul.wide.u32 %d2, %r2, 4; add.s64 %d2, %out, %d2; st.global.u32 [%d2], %r1;"
        );
        launch(&body, &Launch::new(blocks, 32), &[3; 1024], 64).counts.unwrap()
    };
    let dense = counts(4, 2);
    assert_eq!((dense.loads.requests, dense.loads.sectors, dense.loads.needed), (2, 8, 8));
    assert_eq!((dense.stores.sectors, dense.stores.needed), (8, 8));
    let input = dense.buffer("in").unwrap();
    assert_eq!((input.asked, input.needed), (8, 4), "both blocks read the same");
    let sparse = counts(32, 1);
    assert_eq!((sparse.loads.sectors, sparse.loads.needed), (32, 4));
    assert_eq!(counts(0, 1).loads.sectors, 1);
}

#[test]
fn bank_conflicts_and_dynamic_shared_memory() {
    let conflicts = |stride: u32| {
        let body = format!(
            "mov.u64 %d3, dynamic; mul.wide.u32 %d0, %t, {stride}; add.s64 %d4, %d3, %d0; st.shared.u32 [%d4], %t; bar.warp.sync -1;
             ld.shared.u32 %r1, [%d4]; mul.wide.u32 %d5, %t, 4; add.s64 %d5, %out, %d5; st.global.u32 [%d5], %r1;"
        );
        let outcome = launch(&body, &Launch::new(1, 32).shared(32 * stride as usize), &[0], 32);
        let shared = outcome.counts.unwrap().shared;
        assert_eq!(outcome.memory.read::<u32>(outcome.output), (0..32).collect::<Vec<_>>());
        assert_eq!(shared.requests, 2);
        shared.conflicts
    };
    assert_eq!(conflicts(4), 0);
    assert_eq!(conflicts(128), 2 * 31);
    assert_eq!(conflicts(132), 0);
    assert_eq!(conflicts(64), 2 * 15);
}

#[test]
fn shared_memory_of_the_module_belongs_to_the_kernels_that_name_it() {
    let ptx = ".version 8.4\n.shared .align 4 .b8 common[64];
.visible .entry uses() {\n.reg .b32 %r<2>;\nmov.u32 %r0, %tid.x;\nst.shared.u32 [common+60], %r0;\nret;\n}
.visible .entry other() {\n.shared .align 4 .b8 own[8];\nret;\n}";
    let module = lacuna_ptxsim::Module::parse(ptx).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(module.kernel("uses").unwrap().static_shared(), 64);
    assert_eq!(module.kernel("other").unwrap().static_shared(), 8);
    module
        .kernel("uses")
        .unwrap()
        .launch(&Launch::new(1, 1), &[], &mut lacuna_ptxsim::Memory::default())
        .unwrap();
}

#[test]
fn instructions_lanes_divergence_and_lines() {
    let body = "setp.lt.u32 %p0, %t, 8;\n@%p0 bra over;\nadd.s32 %r1, %t, 1;\nover:";
    let counts = launch(body, &Launch::new(1, 32), &[0], 1).counts.unwrap();
    // 5 of the head, 4 here.
    assert_eq!(
        (counts.instructions, counts.lane_instructions, counts.divergent),
        (9, 5 * 32 + 32 + 8 + 24 + 32, 1)
    );
    let lines = counts.lines();
    assert_eq!(lines.iter().map(|line| line.instructions).sum::<u64>(), 9);
    assert_eq!(launch(body, &Launch::new(3, 64), &[0], 1).counts.unwrap().divergent, 3);
}
