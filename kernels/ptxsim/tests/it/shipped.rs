//! The kernels of `kernels/cuda`, as their committed PTX, against the scalar specification.

pub mod activations;
pub mod attention;
pub mod int4;

use lacuna_ptxsim::{Counts, Module};
use sha2::{Digest, Sha256};

/// A committed PTX file.
pub fn ptx(name: &str) -> String {
    let path = format!("{}/../cuda/ptx/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub fn module(name: &str) -> Module {
    Module::parse(&ptx(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What every kernel must keep: no bank conflicts, nothing in local memory, requests that fill
/// their sectors.
pub fn budget(counts: &Counts) {
    assert_eq!(counts.shared.conflicts, 0, "bank conflicts");
    assert_eq!(counts.local, 0, "local memory");
    let (asked, needed) = (counts.loads.sectors as f64, counts.loads.needed as f64);
    assert!(asked <= 1.1 * needed, "{asked} sectors asked, {needed} needed");
}

/// Bits of floats: for comparisons in which NaN equals itself.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn what_is_committed_was_made_of_these_sources() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda/ptx");
    let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let mut files = 0;
    for (sum, name) in sums.lines().filter_map(|line| line.split_once("  ")) {
        let found: String = Sha256::digest(std::fs::read(folder.join(name)).unwrap())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(found, sum, "{name} changed: run kernels/cuda/build.py");
        files += 1;
    }
    let sources = std::fs::read_dir(folder.join(".."))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".cu"));
    let made = std::fs::read_dir(&folder).unwrap().count() - 1;
    assert_eq!(files, sources.count() + made);
}

#[test]
fn every_kernel_that_ships_is_understood() {
    let mut kernels = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../cuda/ptx")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "ptx") {
            let text = std::fs::read_to_string(&path).unwrap();
            let module = Module::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            kernels += module.names().count();
            assert!(
                text.contains(".version 8.4\n.target sm_80\n"),
                "{}: what every driver since 12.4 loads",
                path.display()
            );
            assert!(
                !text.contains(".file\t1 \"/"),
                "{}: no folders of the machine that made it",
                path.display()
            );
        }
    }
    assert!(kernels >= 5, "{kernels} kernels");
}
