//! The schema against the reader of the file, against what is shipped, and against mistakes.

use super::{RULE_KINDS, all_parts, schema};
use crate::policy::file::fields::asked;
use crate::policy::file::{Document, Findings, Node, tree};
use crate::policy::model::Policy;
use crate::rehearsal::words;
use std::collections::BTreeSet;
use std::path::Path;

/// Between them and acme.yaml, every map of the language is read.
const REST: &str = r#"forbear: 1
name: rest
timezone: UTC
defaults: { on-hit: defer }
channels: { email: { consent: { mode: opt-in, implied: { purchase: 1y } } } }
classes: { marketing: { rank: 1, obeys: all, counts: true } }
rules:
  - { id: a, quiet-hours: { quiet: { from: "22:00", to: "06:00" } }, for: { tags: { all: [x] }, not: { tags: y } } }
  - { id: b, cool-off: { after: [ { no-response: 3d }, clicked ], for: 2 calendar-days } }
  - { id: c, cap: { limit: 1, window: 7 calendar-days, tumbling-from: 2026-01-05, distinct: campaign }, limits: [ { when: 'customer.unanswered > 3', limit: unlimited } ] }
  - { id: d, pressure: { limit: 2, window: 7d } }
stops: [ { for: { segment: x }, until: 2026-01-01T00:00:00Z, why: w } ]
exceptions: [ { id: e, for: {}, rules: a, until: 2026-01-01, owner: o, why: w } ]
"#;

fn json_of(text: &str) -> serde_json::Value {
    let mut findings = Findings::default();
    let node: Option<Node> = tree::parse(text, 0, &mut findings);
    let node = node.unwrap_or_else(|| panic!("{findings:?}\n{text}"));
    words::json(&node, "policy", words::Kind::Anything, &mut findings).expect("a value")
}

/// The policies that are shipped, what they include and their tests.
fn shipped() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["deploy/policies", "deploy/policies/packs", "tests/conformance"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("the policies").flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push((
                    path.display().to_string(),
                    std::fs::read_to_string(&path).expect("a policy"),
                ));
            }
        }
    }
    assert!(found.len() >= 15, "{found:?}");
    found
}

#[test]
fn the_schema_has_the_keys_that_the_reader_of_the_file_asks_for() {
    asked::take();
    for text in [REST, include_str!("../../../deploy/policies/acme.yaml")] {
        if let Err(errors) = Policy::load(text.as_bytes(), "policy.yaml", None) {
            panic!("{}", errors.to_text(false));
        }
    }
    let asked = asked::take();
    for (what, keys) in &asked {
        let part = all_parts().find(|part| part.what == *what);
        let part = part.unwrap_or_else(|| panic!("the schema does not know {what}"));
        let mut keys = keys.clone();
        if matches!(*what, "`cap`" | "`pressure`" | "`spend`") {
            // Read only to say that it belongs beside the kind.
            assert!(keys.remove("limits"), "{what}");
        }
        let written: BTreeSet<&str> = part.keys.iter().map(|(name, _, _)| *name).collect();
        assert_eq!(written, keys, "{what}");
        assert!(part.required.iter().all(|key| written.contains(key)), "{what}");
    }
    let known: BTreeSet<&str> = all_parts().map(|part| part.what).collect();
    assert_eq!(asked.keys().copied().collect::<BTreeSet<_>>(), known);
}

#[test]
fn an_editor_has_something_to_say_about_every_key() {
    let silent: Vec<_> = all_parts()
        .flat_map(|part| part.keys.iter().map(move |key| (part.what, key.0, key.2)))
        .filter(|(_, _, description)| description.is_empty())
        .collect();
    assert_eq!(silent, []);
}

#[test]
fn the_kinds_of_a_rule_are_keys_of_it() {
    let rule = all_parts().find(|part| part.definition == "rule").expect("a rule");
    for kind in RULE_KINDS {
        assert!(rule.keys.iter().any(|(name, _, _)| name == kind), "{kind}");
    }
}

#[test]
fn every_shipped_policy_is_valid() {
    let validator = jsonschema::draft202012::new(&schema()).expect("a schema");
    let mut all = shipped();
    all.push(("rest".to_owned(), REST.to_owned()));
    for (name, text) in all {
        let problems: Vec<String> = validator
            .iter_errors(&json_of(&text))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(problems, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_a_schema_can_see_is_refused_by_schema_and_reader_alike() {
    let validator = jsonschema::draft202012::new(&schema()).expect("a schema");
    for (from, to) in [
        ("forbear: 1", "forbear: 2"),
        ("name: rest", "name: Not a name"),
        ("timezone: UTC\n", ""),
        ("classes:", "clases:"),
        ("on-hit: defer", "on-hit: wait"),
        ("mode: opt-in", "mode: maybe"),
        ("purchase: 1y", "sale: 1y"),
        ("rank: 1", "rank: high"),
        ("counts: true", "counts: perhaps"),
        ("id: b, ", ""),
        ("id: b, ", "id: b, gap: 1d, "),
        ("id: b, cool-off:", "id: b, cooloff:"),
        ("no-response: 3d", "no-response: 3m"),
        ("clicked", "cliked"),
        ("2 calendar-days", "two days"),
        ("22:00", "25:00"),
        ("limit: 1,", "limit: -1,"),
        ("7 calendar-days", "calender-day"),
        ("distinct: campaign", "distinct: segment"),
        ("2026-01-05", "5 January"),
        ("not: { tags: y }", "no: { tags: y }"),
        ("tags: { all: [x] }", "tags: { any: [x] }"),
        ("why: w } ]\nexceptions", "} ]\nexceptions"),
        ("owner: o, ", ""),
        ("channels: {", "channels: { E-Mail: { consent: opt-in },"),
    ] {
        let text = REST.replacen(from, to, 1);
        assert_ne!(text, REST, "{from}");
        assert!(!validator.is_valid(&json_of(&text)), "the schema takes {to}");
        let nothing = &mut |_: &str| Err("no".to_owned());
        let read = Document::read("p.yaml", text.as_bytes(), nothing);
        assert!(
            read.is_err() || Policy::load(text.as_bytes(), "p.yaml", None).is_err(),
            "the reader takes {to}"
        );
    }
}

#[test]
fn an_included_file_and_a_file_of_tests_have_their_own_keys() {
    let validator = jsonschema::draft202012::new(&schema()).expect("a schema");
    let is_valid = |text: &str| validator.is_valid(&json_of(text));
    assert!(is_valid(
        "forbear: 1\nname: law\nfrom: 2026-01-01\nuntil: 2027-01-01\nrules: [ { id: a, gap: 1d } ]\n"
    ));
    assert!(!is_valid("forbear: 1\nfrom: January\nrules: [ { id: a, gap: 1d } ]\n"));
    assert!(!is_valid("forbear: 1\nruels: [ { id: a, gap: 1d } ]\n"));
    assert!(!is_valid(
        "rules: [ { id: a, gap: 1d, cap: { limit: 1, window: 1d } } ]\n"
    ));
    assert!(!is_valid("about: law\ntimezone: UTC\nrules: []\n"));
    assert!(is_valid("tests: [ { name: one } ]\n"));
    assert!(!is_valid("tests: one\n"));
    assert!(!is_valid("{}\n"));
}
