//! The choice of the kernel row.

use lacuna_kernels::isa::{Isa, IsaError, best, choose, row};

#[test]
fn names_choose_rows_and_nothing_chooses_the_best() {
    for isa in Isa::ALL {
        match choose(Some(isa.name())) {
            Ok(row) => assert!(row.isa() == isa && isa.is_available()),
            Err(error) => {
                assert_eq!(error, IsaError::Unsupported(isa));
                assert!(!isa.is_available() && row(isa).is_none());
                assert!(error.to_string().contains(best().name()), "{error}");
            }
        }
    }
    for value in [None, Some(""), Some("  ")] {
        assert_eq!(choose(value).expect("a row").isa(), best());
    }
    assert_eq!(choose(Some(" scalar ")).expect("a row").isa(), Isa::Scalar);
}

#[test]
fn unknown_names_are_errors_that_list_the_known_ones() {
    for value in ["AVX2", "sse", "native", "avx512"] {
        let error = choose(Some(value)).expect_err("unknown");
        assert_eq!(error, IsaError::Unknown(value.to_owned()));
        let text = error.to_string();
        assert!(
            text.contains(value) && Isa::ALL.iter().all(|isa| text.contains(isa.name())),
            "{text}"
        );
    }
}

/// A system that does not hand out the tile registers (an old kernel, a container's seccomp
/// profile) costs a row, not the process.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn a_system_that_withholds_amx_costs_one_row() {
    const CHILD: &str = "LACUNA_TEST_WITHOUT_AMX";
    if std::env::var_os(CHILD).is_some() {
        // The child: products must work, whatever the row is.
        let matrix = lacuna_kernels::Int4Matrix::quantize(40, 64, &[0.5; 40 * 64]).expect("finite");
        let mut y = vec![0f32; 20 * 40];
        lacuna_kernels::matmul_int4(
            &matrix,
            &[1.0; 20 * 64],
            &mut y,
            &mut lacuna_kernels::Activations::new(),
        );
        assert!(y.iter().all(|v| (v - 32.0).abs() < 0.5), "{:?}", &y[..4]);
        println!("best {} withheld {:?}", best(), lacuna_kernels::isa::withheld());
        return;
    }
    let name = "isa::a_system_that_withholds_amx_costs_one_row";
    let mut command = std::process::Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .env_remove(lacuna_kernels::isa::ISA_VARIABLE);
    without_tile_permission(&mut command);
    let output = command.output().expect("the test runs itself");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // Where the CPU has no AMX, nothing is withheld and the best row is what it was.
    let expected = if Isa::Amx.is_available() {
        "best avx512vnni withheld Some(\"the CPU has AMX"
    } else {
        &format!("best {} ", best())
    };
    assert!(text.contains(expected), "{text}");
}

/// Makes the system refuse `arch_prctl(ARCH_REQ_XCOMP_PERM, …)` to the command, as a strict
/// container does.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn without_tile_permission(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;

    const ARCH_REQ_XCOMP_PERM: u32 = 0x1023;
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let unless_equal = |k: u32, skip: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: skip,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let give = libc::BPF_RET | libc::BPF_K;
    // Offsets into `struct seccomp_data`: the call's number at 0, the low half of its first
    // argument at 16.
    let mut program = [
        statement(load, 0),
        unless_equal(libc::SYS_arch_prctl as u32, 3),
        statement(load, 16),
        unless_equal(ARCH_REQ_XCOMP_PERM, 1),
        statement(give, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(give, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: two system calls on plain numbers and a filter that outlives them; both are
        // allowed between fork and exec.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    std::ptr::from_ref(&filter),
                ) != 0
        };
        if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: `install` only makes system calls.
    unsafe { command.pre_exec(install) };
}
