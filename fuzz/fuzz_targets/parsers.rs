//! One program for all targets of `lacuna::fuzz`: LACUNA_FUZZ names the one to drive. A program
//! each would hold the embedded model each.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("LACUNA_FUZZ").unwrap_or_default();
    let known: Vec<&str> = lacuna::fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    lacuna::fuzz::target(&name)
        .unwrap_or_else(|| panic!("LACUNA_FUZZ={name}: there are {}", known.join(", ")))
});

// libFuzzer's own hook ends the program at every panic. Those of other people's parsers are caught
// and become errors, which is right; what is not caught still ends it.
fuzz_target!(init: drop(std::panic::take_hook()), |bytes: &[u8]| TARGET(bytes));
