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
        assert!(text.contains(value) && Isa::ALL.iter().all(|isa| text.contains(isa.name())), "{text}");
    }
}
