//! Every policy in the repository is compiled, and every test of one is played.

use super::{Played, play, read_tests, report};
use crate::policy::file::{Document, Findings, Node};
use crate::policy::model::Policy;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/policies")
}

fn files(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the policies").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            into.insert(path.display().to_string());
        }
    }
}

/// Plays the tests of a policy, and answers which files it includes.
fn rehearsed(file: &str) -> (Vec<Played>, Vec<String>, String) {
    let mut included = Vec::new();
    let read = |name: &str| std::fs::read(name).map_err(|error| error.to_string());
    let bytes = read(file).expect("a policy");
    let document = Document::read(file, &bytes, &mut |name| {
        included.push(name.to_owned());
        read(name)
    });
    let mut document = document.unwrap_or_else(|errors| panic!("{}", errors.to_text(false)));
    let (policy, warnings) =
        Policy::compile(&document, None).unwrap_or_else(|errors| panic!("{}", errors.to_text(false)));
    assert_eq!(warnings.to_string(), "", "{file}");
    // What is published can be loaded by itself, and is the same policy.
    let (again, _) =
        Policy::load(&policy.text, file, None).unwrap_or_else(|errors| panic!("{}", errors.to_text(false)));
    assert_eq!((&again.label, &again.text), (&policy.label, &policy.text), "{file}");
    let policy = Rc::new(policy);
    let mut findings = Findings::default();
    let mut listed: Vec<Node> = document.tests().into_iter().cloned().collect();
    let beside = file.replace(".yaml", ".tests.yaml");
    if let Ok(bytes) = std::fs::read(&beside) {
        listed.extend(document.add(&beside, &bytes, &mut findings));
    }
    let mut tests = Vec::new();
    for node in &listed {
        tests.extend(read_tests(node, &policy, &mut findings));
    }
    assert_eq!(findings.into_diagnostics(&document.sources).to_string(), "", "{file}");
    let played: Vec<Played> = tests.iter().map(|test| play(test, &document, &policy)).collect();
    let text = report::text(&played, &document.sources, false);
    (played, included, text)
}

#[test]
fn every_policy_in_the_repository_compiles_and_passes_its_tests() {
    let mut all = BTreeSet::new();
    files(&folder(), &mut all);
    let is_tests = |file: &String| file.ends_with(".tests.yaml");
    let is_included = |file: &String| file.contains("/packs/");
    let mut included = BTreeSet::new();
    let mut policies = 0;
    for file in all.iter().filter(|file| !is_tests(file) && !is_included(file)) {
        let (played, taken, text) = rehearsed(file);
        assert!(played.iter().all(|test| test.failures.is_empty()), "{file}\n{text}");
        assert!(!played.is_empty(), "{file} has no test");
        included.extend(taken);
        policies += 1;
    }
    assert!(policies >= 5, "{all:?}");
    for pack in all.iter().filter(|file| is_included(file)) {
        assert!(included.contains(pack), "nothing includes {pack}");
    }
    for tests in all.iter().filter(|file| is_tests(file)) {
        let policy = tests.replace(".tests.yaml", ".yaml");
        assert!(all.contains(&policy), "{tests} is of no policy");
    }
}
