//! The kernels of `kernels/cuda`, as their committed PTX and by the launch code that serves, against
//! the scalar specification.

pub mod activations;
pub mod attention;
pub mod int4;
pub mod moved;

use std::sync::Arc;

use lacuna_kernels::cuda::{Gpu, PTX, Room};
use lacuna_ptxsim::{Counts, Module, Simulated};
use sha2::{Digest, Sha256};

/// A simulated GPU, and what its launches cost.
pub struct Bench {
    pub simulated: Arc<Simulated>,
    pub gpu: Arc<dyn Gpu>,
}

impl Default for Bench {
    fn default() -> Bench {
        Bench::of(Simulated::default())
    }
}

impl Bench {
    pub fn of(simulated: Simulated) -> Bench {
        let simulated = Arc::new(simulated.counted());
        Bench { gpu: Arc::<Simulated>::clone(&simulated), simulated }
    }

    /// With other kernels, which may run for ever.
    pub fn with(module: &Arc<Module>) -> Bench {
        Bench::of(Simulated::with(module).patient_for(1 << 21))
    }

    pub fn room<T: lacuna_kernels::cuda::Plain>(&self, values: &[T]) -> Room {
        Room::of(&self.gpu, values).expect("there is room")
    }

    pub fn read<T: lacuna_kernels::cuda::Plain>(
        &self,
        view: lacuna_kernels::cuda::View,
        n: usize,
    ) -> Vec<T> {
        let mut values = vec![T::default(); n];
        view.read(&*self.gpu, &mut values).expect("it is there");
        values
    }

    /// What the launches since the last time have cost.
    pub fn costs(&self) -> Vec<Counts> {
        self.simulated.take_counts().into_values().flatten().collect()
    }

    /// What every launch must keep: no bank conflicts, nothing in local memory, requests that fill
    /// their sectors.
    pub fn budget(&self) {
        for (kernel, all) in self.simulated.take_counts() {
            for counts in all {
                assert_eq!(counts.shared.conflicts, 0, "{kernel}: bank conflicts");
                assert_eq!(counts.local, 0, "{kernel}: local memory");
                let (asked, needed) = (counts.loads.sectors as f64, counts.loads.needed as f64);
                assert!(asked <= 1.1 * needed, "{kernel}: {asked} sectors asked, {needed} needed");
            }
        }
    }
}

/// A committed PTX file.
pub fn ptx(name: &str) -> &'static str {
    PTX.iter().find(|(file, _)| *file == name).unwrap_or_else(|| panic!("{name}")).1
}

/// Bits of floats: for comparisons in which NaN equals itself.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// `‖a − b‖ / ‖b‖`
pub fn relative_l2(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let error: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    (error / b.iter().map(|b| b * b).sum::<f64>()).sqrt()
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
    // Beside the PTX there is what ptxas says of it.
    assert_eq!(made, PTX.len() + 1, "all of it is in the program");
}

/// A table of a file in `kernels/cuda`.
fn table(file: &str) -> toml::Table {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
    text.parse().unwrap_or_else(|e| panic!("{file}: {e}"))
}

#[test]
fn kernels_keep_to_their_budgets() {
    let (taken, budgets) = (table("ptx/resources.toml"), table("budgets.toml"));
    let number = |value: &toml::Value| value.as_integer().expect("a number");
    let mut used = std::collections::BTreeSet::new();
    for (file, text) in PTX {
        for name in Module::parse(text).unwrap_or_else(|e| panic!("{file}: {e}")).names() {
            let fits = budgets.keys().filter(|budget| name.starts_with(budget.as_str()));
            let budget = fits.max_by_key(|budget| budget.len());
            let budget = budget.unwrap_or_else(|| panic!("{name} has no budget"));
            used.insert(budget.clone());
            let [registers, shared] =
                ["registers", "shared"].map(|what| number(&budgets[budget][what]));
            let machines =
                taken[name].as_table().unwrap_or_else(|| panic!("{name} is not measured"));
            assert!(machines.len() >= 4, "{name}");
            for (machine, numbers) in machines {
                let numbers: Vec<i64> =
                    numbers.as_array().expect("numbers").iter().map(number).collect();
                assert!(
                    numbers[0] <= registers && numbers[1] == 0 && numbers[2] <= shared,
                    "{name} takes {numbers:?} on {machine}: {registers}, 0, {shared} are allowed"
                );
            }
        }
    }
    assert_eq!(used.len(), budgets.len(), "every budget is a kernel's");
}

#[test]
fn every_kernel_that_ships_is_understood() {
    let mut kernels = 0;
    for (name, text) in PTX {
        let module = Module::parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        kernels += module.names().count();
        assert!(
            text.contains(".version 8.4\n.target sm_80\n"),
            "{name}: what every driver since 12.4 loads"
        );
        assert!(!text.contains(".file\t1 \"/"), "{name}: no folders of the machine that made it");
    }
    assert!(kernels >= 35, "{kernels} kernels");
}
