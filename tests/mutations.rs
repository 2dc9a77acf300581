//! Bugs that are put into the engine on purpose (`tests/mutations/list.toml`): the simulation has to find every one of them.
//! What survives would be a hole in the tests.
//!
//! All of them are built into one copy of the tree, each behind a switch that an environment variable turns on, so that the
//! engine itself knows nothing of them and one build serves all.
//! `FORBEAR_MUTATION=name` runs one of them, `FORBEAR_MUTATION_SEEDS` says how many seeds each gets at most.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seeds after which a bug counts as not found.
const SEEDS: u64 = 3_000;
/// The variable that turns a bug on.
const SWITCH: &str = "FORBEAR_SEEDED_BUG";
/// Both builds share a target folder, in which cargo tells a package by its name and version: under one version it would take
/// the library of the copy, bugs and all, for that of the tree.
const COPY_VERSION: &str = "0.0.0-seeded-bugs";
const ENGINE_TEST: &str = "the_engine_keeps_every_promise_under_every_seed";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutation {
    name: String,
    /// What kind of mistake it is.
    #[allow(dead_code)]
    why: String,
    file: String,
    find: String,
    replace: String,
    /// Not found yet, and why: a hole in the tests, or no bug at all. It is run only where it is asked for by name.
    survives: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutation: Vec<Mutation>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn mutations() -> Vec<Mutation> {
    let text = fs::read_to_string(root().join("tests/mutations/list.toml")).expect("the list");
    let list: List = toml::from_str(&text).expect("a list of mutations");
    list.mutation
}

/// Puts a bug into a text; none: its place is not there exactly once.
fn put_into(text: &str, mutation: &Mutation) -> Option<String> {
    let switched = mutation
        .replace
        .replace("SEEDED", &format!("crate::seeded_bug({:?})", mutation.name));
    (text.matches(&mutation.find).count() == 1).then(|| text.replacen(&mutation.find, &switched, 1))
}

#[test]
fn every_mutation_fits_one_place_of_the_source() {
    let mutations = mutations();
    let caught = mutations.iter().filter(|mutation| mutation.survives.is_none()).count();
    assert!(caught >= 25, "{caught} of {} mutations are caught", mutations.len());
    let names: BTreeSet<&str> = mutations.iter().map(|mutation| &*mutation.name).collect();
    assert_eq!(names.len(), mutations.len(), "a name stands twice");
    for mutation in &mutations {
        let text = fs::read_to_string(root().join(&mutation.file)).expect("a file of the source");
        assert!(mutation.replace.contains("SEEDED"), "{} has no switch", mutation.name);
        assert!(
            put_into(&text, mutation).is_some(),
            "{}: its place in {} is there {} times",
            mutation.name,
            mutation.file,
            text.matches(&mutation.find).count()
        );
    }
}

#[test]
fn the_simulation_finds_every_bug_that_is_put_into_the_engine() {
    let mutations = mutations();
    let simulation = build(&mutations);
    let (found, told) = run(&simulation, None, 300);
    assert!(!found, "without a bug the simulation finds one: {told}");
    let only = std::env::var("FORBEAR_MUTATION").ok();
    let seeds = std::env::var("FORBEAR_MUTATION_SEEDS").ok();
    let seeds = seeds.and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let wanted = |mutation: &&Mutation| match &only {
        Some(only) => *only == mutation.name,
        None => mutation.survives.is_none(),
    };
    let mut survivors = Vec::new();
    for mutation in mutations.iter().filter(wanted) {
        let (found, told) = run(&simulation, Some(&mutation.name), seeds);
        println!("{}: {told}", mutation.name);
        if !found {
            survivors.push(mutation.name.as_str());
        }
    }
    assert!(survivors.is_empty(), "not found in {seeds} seeds: {survivors:#?}");
}

/// Runs seeds of the engine until one fails. Answers whether one did, and what it said in one line.
fn run(simulation: &Path, bug: Option<&str>, seeds: u64) -> (bool, String) {
    let mut command = Command::new(simulation);
    command
        .args(["--exact", ENGINE_TEST])
        .env("FORBEAR_SIM_SEEDS", seeds.to_string())
        .env_remove("FORBEAR_SIM_SEED")
        .env_remove(SWITCH);
    if let Some(name) = bug {
        command.env(SWITCH, name);
    }
    let output = command.output().expect("the simulation runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("running 1 test"), "the simulation ran nothing: {text}");
    let line = text.lines().find(|line| line.contains("FORBEAR_SIM_SEED="));
    let short = |line: &str| line.chars().take(240).collect::<String>();
    match (output.status.success(), line) {
        (true, _) => (false, format!("not found in {seeds} seeds")),
        (false, Some(line)) => (true, short(line.trim())),
        (false, None) => panic!("the simulation failed without naming a seed: {text}"),
    }
}

/// Builds the simulation of a copy of the tree that has all the bugs. What it depends on is taken from this build.
fn build(mutations: &[Mutation]) -> PathBuf {
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
    for folder in ["src", "tests/simulation", "tests/auditor", ".cargo", "deploy/policies"] {
        copy(folder, &tree, mutations);
    }
    copy("tests/simulation.rs", &tree, mutations);
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let ours = format!("name = \"forbear\"\nversion = \"{}\"", env!("CARGO_PKG_VERSION"));
    assert_eq!(lock.matches(&ours).count(), 1, "{ours}");
    let theirs = format!("name = \"forbear\"\nversion = \"{COPY_VERSION}\"");
    write(&tree.join("Cargo.lock"), &lock.replace(&ours, &theirs));
    // The library and the simulation alone: a program of that name would take the place of the real one.
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let mut manifest: toml::Table = manifest.parse().expect("a manifest");
    manifest.remove("bench");
    let package = manifest["package"].as_table_mut().expect("a package");
    package.remove("default-run");
    package.remove("readme");
    package.insert("version".to_owned(), COPY_VERSION.into());
    write(&tree.join("Cargo.toml"), &manifest.to_string());

    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the folder of the build");
    let output = Command::new(env!("CARGO"))
        .args([
            "test",
            "--locked",
            "--test",
            "simulation",
            "--no-run",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(&tree)
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = messages
        .filter(|message| message["target"]["name"] == "simulation")
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    executable.unwrap_or_else(|| panic!("the copy does not build: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Copies a file or a folder, bugs put in; what is there already and has not changed keeps its age, so that it is not built
/// again.
fn copy(path: &str, tree: &Path, mutations: &[Mutation]) {
    let from = root().join(path);
    if from.is_dir() {
        let entries = fs::read_dir(&from).expect("a folder of the project");
        for entry in entries {
            let name = entry.expect("an entry").file_name();
            copy(&format!("{path}/{}", name.to_string_lossy()), tree, mutations);
        }
        return;
    }
    if path == "src/main.rs" {
        return;
    }
    let Ok(mut text) = fs::read_to_string(&from) else {
        return;
    };
    for mutation in mutations.iter().filter(|mutation| mutation.file == path) {
        text = put_into(&text, mutation).unwrap_or_else(|| panic!("{} does not fit {path}", mutation.name));
    }
    if path == "src/lib.rs" {
        text.push_str(&format!(
            "\n/// Whether this bug is switched on.\npub fn seeded_bug(name: &str) -> bool {{\n    \
             static ON: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();\n    \
             ON.get_or_init(|| std::env::var({SWITCH:?}).ok()).as_deref() == Some(name)\n}}\n"
        ));
    }
    write(&tree.join(path), &text);
}

fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of the copy");
    fs::write(path, text).expect("a file of the copy");
}
