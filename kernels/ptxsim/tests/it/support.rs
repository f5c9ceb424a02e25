//! A kernel around a few instructions.

use lacuna_ptxsim::{Counts, Fault, Launch, Memory, Module, Param, Ptr};

/// Module with the kernel `t(in, out)`: `%in` and `%out` are its arguments, `%t` the thread,
/// `%lane` the lane, `%b` the block.
pub fn module(body: &str) -> Module {
    let ptx = format!(
        ".version 8.4\n.target sm_80\n.address_size 64\n.extern .shared .align 16 .b8 dynamic[];
.visible .entry t(.param .u64 p_in, .param .u64 p_out) {{
.reg .pred %p<8>; .reg .b16 %h<10>; .reg .b32 %r<40>; .reg .f32 %f<40>; .reg .b64 %d<20>; .reg .b64 %in, %out; .reg .b32 %t, %lane, %b;
ld.param.u64 %in, [p_in]; ld.param.u64 %out, [p_out]; mov.u32 %t, %tid.x; mov.u32 %lane, %laneid; mov.u32 %b, %ctaid.x;
{body}
ret; }}"
    );
    Module::parse(&ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"))
}

/// Line of the PTX at which the body begins.
pub const BODY: u32 = 8;

pub struct Outcome {
    pub counts: Result<Counts, Box<Fault>>,
    pub memory: Memory,
    pub output: Ptr,
}

/// Launches `body` on an input and `n_out` words of output.
pub fn launch(body: &str, launch: &Launch, input: &[u32], n_out: usize) -> Outcome {
    let module = module(body);
    let mut memory = Memory::default();
    let (input, output) = (memory.input("in", input), memory.output::<u32>("out", n_out));
    let counts = module.kernel("t").unwrap().launch(
        launch,
        &[Param::from(input), Param::from(output)],
        &mut memory,
    );
    Outcome { counts, memory, output }
}

/// What one warp's lanes store to `%out` when each leaves its result in `%r0`; `%r1` is its input.
pub fn warp(body: &str, input: &[u32]) -> Vec<u32> {
    let body = format!(
        "mul.wide.u32 %d0, %t, 4; add.s64 %d1, %in, %d0; ld.global.u32 %r1, [%d1]; add.s64 %d2, %out, %d0;\n{body}\nst.global.u32 [%d2], %r0;"
    );
    let outcome = launch(&body, &Launch::new(1, input.len() as u32), input, input.len());
    outcome.counts.unwrap_or_else(|e| panic!("{e}"));
    outcome.memory.read(outcome.output)
}
