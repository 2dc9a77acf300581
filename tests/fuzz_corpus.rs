//! The fuzzer's seeds, and everything that once crashed, through the functions that are fuzzed: with the stable compiler, in
//! seconds. The fuzzer itself is `make fuzz`.

#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).map(|entries| entries.map(|entry| entry.expect("an entry").path()));
    entries.map(Iterator::collect).unwrap_or_default()
}

#[test]
fn every_seed_and_everything_that_once_crashed_runs_through() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    for (name, target, longest) in targets::TARGETS {
        let seeds = files(&root.join("corpus").join(name));
        assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
        for file in seeds.into_iter().chain(files(&root.join("crashes").join(name))) {
            let bytes = fs::read(&file).expect("a file");
            println!("{}", file.display());
            target(&bytes);
            // What a damaged or shortened record is like: the cheapest of mutations, at every place.
            for at in 0..bytes.len().min(longest) {
                target(&bytes[..at]);
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x41;
                target(&damaged);
            }
        }
    }
}

/// A seed that is refused teaches the fuzzer little: most of them have to be accepted.
#[test]
fn the_seeds_of_the_policy_are_policies_and_the_fuzzer_knows_every_target() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/Cargo.toml"));
    let manifest = manifest.expect("the fuzzer's manifest");
    for (name, _, _) in targets::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not built");
    }
}
