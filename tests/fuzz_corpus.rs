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

#[test]
fn the_fuzzer_builds_every_target_that_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the fuzzer's manifest");
    for (name, _, _) in targets::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not built");
        let main = fs::read_to_string(root.join(format!("fuzz_{name}.rs"))).expect("the target's main file");
        assert!(
            main.contains(&format!("targets::{name}(bytes)")),
            "{name} runs another one"
        );
    }
}
