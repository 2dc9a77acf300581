//! The walls of the house: which folder may touch what. Read from the source text, so that a wall that is broken is seen at once.
//!
//! Comments and texts are taken out first: what counts is code.

use std::fs;
use std::path::Path;

/// The folders in which the same input always gives the same answer.
const PURE_ROOMS: [&str; 4] = ["src/message/", "src/customer/", "src/policy/", "src/verdict/"];

/// Where `unsafe` may stand: raw calls of the Kafka client, each with its argument.
const UNSAFE_FILES: [&str; 3] = ["src/commit/raw.rs", "src/intake/queue.rs", "src/intake/rights.rs"];

/// Anything that makes an answer depend on more than the input.
const IMPURE: [&str; 21] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "std::time",
    "SystemTime",
    "now()",
    "tokio",
    "rdkafka",
    "rocksdb",
    "tracing",
    "prometheus",
    "axum",
    "libc",
    "hostname",
    "println!",
    "eprintln!",
    "rand::rng",
    "crate::store",
];

const LINES_OF_A_FILE: usize = 550;

/// One source file: its path from the root of the repository, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Test code may draw and measure.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("tests.rs")
    }
}

fn files_under(folder: &str) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting = vec![root.join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let name = path.strip_prefix(root).expect("inside the repository");
                files.push(File::new(&name.to_string_lossy(), &text));
            }
        }
    }
    files
}

/// The code of a file: without comments, and with every text emptied. Lines stay where they are.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before = code.chars().next_back().unwrap_or(' ');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            closing_quote(rest)
        } else if rest.starts_with("r\"") || rest.starts_with("r#") {
            raw_text(rest, before).unwrap_or(0)
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().filter(|character| *character == '\n'));
            rest = &rest[length..];
        }
    }
    code
}

/// The length of a text in quotes that `text` begins with.
fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a raw text that `text` begins with; none where it is a name that ends in `r`, or a raw name.
fn raw_text(text: &str, before: char) -> Option<usize> {
    let marks = text[1..].chars().take_while(|character| *character == '#').count();
    let inside = text[1 + marks..].strip_prefix('"')?;
    if before.is_alphanumeric() && before != 'b' {
        return None;
    }
    let end = format!("\"{}", "#".repeat(marks));
    let body = inside.find(&end).unwrap_or(inside.len() - end.len());
    Some(1 + marks + 1 + body + end.len())
}

/// The length of a character literal that `text` begins with; 0 where it is a lifetime.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let after = at + escaped.len_utf8();
            text[after..].find('\'').map_or(0, |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Whether a line of code names this, as a whole word.
fn names(line: &str, word: &str) -> bool {
    let joins = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let ends_open = word.chars().next_back().is_some_and(joins);
        let joined_before = before.chars().next_back().is_some_and(joins);
        let joined_after = ends_open && after.chars().next().is_some_and(joins);
        !joined_before && !joined_after
    })
}

/// Every place in these files where one of the words stands: path, line and word.
fn places_of<'a>(files: impl IntoIterator<Item = &'a File>, words: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for file in files {
        for (index, line) in code_of(&file.text).lines().enumerate() {
            for word in words.iter().filter(|word| names(line, word)) {
                places.push(format!("{}:{}: {word}", file.path, index + 1));
            }
        }
    }
    places.sort();
    places
}

fn outside<'a>(files: &'a [File], allowed: &'a [&str]) -> impl Iterator<Item = &'a File> {
    files
        .iter()
        .filter(|file| !allowed.iter().any(|prefix| file.path.starts_with(prefix)))
}

fn impurities(files: &[File]) -> Vec<String> {
    let pure = files
        .iter()
        .filter(|file| PURE_ROOMS.iter().any(|room| file.path.starts_with(room)));
    places_of(pure.filter(|file| !file.is_test()), &IMPURE)
}

fn kafka_outside_its_rooms(files: &[File]) -> Vec<String> {
    places_of(outside(files, &["src/intake/", "src/commit/"]), &["rdkafka"])
}

fn rocksdb_outside_its_room(files: &[File]) -> Vec<String> {
    places_of(outside(files, &["src/store/"]), &["rocksdb::", "use rocksdb"])
}

fn unsafe_outside_its_files(files: &[File]) -> Vec<String> {
    places_of(outside(files, &UNSAFE_FILES), &["unsafe"])
}

/// Whatever lies further down the way of the data is not known further up: `task`, `rehearsal`, `serve` and `cli` know the
/// rooms, not the rooms them.
fn steps_backwards(files: &[File]) -> Vec<String> {
    let below = [
        "src/task/",
        "src/rehearsal/",
        "src/audit/",
        "src/serve/",
        "src/cli/",
        "src/main.rs",
    ];
    // What the language says about itself is tried with the values of tests.
    let rooms = outside(files, &below).filter(|file| !file.path.ends_with("schema/tests.rs"));
    places_of(
        rooms,
        &[
            "crate::task",
            "crate::rehearsal",
            "crate::audit",
            "crate::serve",
            "crate::cli",
        ],
    )
}

/// A rehearsal gives the same answer whenever and wherever it is played; its store is in memory.
fn impure_rehearsals(files: &[File]) -> Vec<String> {
    let words: Vec<&str> = IMPURE.into_iter().filter(|word| *word != "crate::store").collect();
    let rehearsal = files.iter().filter(|file| file.path.starts_with("src/rehearsal/"));
    let code = rehearsal.filter(|file| !file.is_test() && !file.path.ends_with("shipped.rs"));
    places_of(code, &[words.as_slice(), &["store::rocks"]].concat())
}

/// The checks of an audit are an independent recomputation; only deriving again runs what the processor runs. (The marker is
/// the state topic's own word on what was judged.)
fn shared_with_the_processor(files: &[File]) -> Vec<String> {
    let checks = files
        .iter()
        .filter(|file| file.path.starts_with("src/audit/") && !file.path.starts_with("src/audit/rederive/"));
    let rooms = [
        "crate::policy",
        "crate::customer",
        "crate::message",
        "crate::verdict",
        "crate::task",
        "crate::rehearsal",
        "crate::serve",
        "crate::cli",
        "crate::intake",
        "crate::commit::log",
    ];
    places_of(checks.filter(|file| !file.is_test()), &rooms)
}

fn files_too_long(files: &[File]) -> Vec<String> {
    let long = files.iter().filter(|file| file.text.lines().count() > LINES_OF_A_FILE);
    long.map(|file| file.path.clone()).collect()
}

fn words_of_the_engine(files: &[File]) -> Vec<String> {
    places_of(files, &["forbear::", "use forbear"])
}

/// A rule holds for the repository, and it sees the violation it is there for.
fn holds(rule: fn(&[File]) -> Vec<String>, folder: &str, violation: (&str, &str)) {
    let files = files_under(folder);
    assert!(files.len() > 4, "{folder} has files");
    assert_eq!(rule(&files), Vec::<String>::new());
    let (path, text) = violation;
    assert!(
        !rule(&[File::new(path, text)]).is_empty(),
        "a violation is seen: {text}"
    );
}

#[test]
fn the_pure_rooms_touch_no_file_no_network_no_clock_and_no_log() {
    holds(
        impurities,
        "src",
        ("src/policy/judge/mod.rs", "use std::time::Instant;"),
    );
    for word in IMPURE {
        let text = format!("fn f() {{ {word}; }}");
        assert_eq!(
            impurities(&[File::new("src/customer/apply.rs", &text)]).len(),
            1,
            "{word}"
        );
    }
}

#[test]
fn a_rehearsal_touches_no_file_no_clock_and_no_database() {
    holds(
        impure_rehearsals,
        "src",
        ("src/rehearsal/stage.rs", "use crate::store::rocks::RocksStores;"),
    );
}

#[test]
fn only_intake_and_commit_talk_to_kafka() {
    holds(
        kafka_outside_its_rooms,
        "src",
        ("src/task/worker.rs", "fn f(error: rdkafka::error::KafkaError) {}"),
    );
}

#[test]
fn only_the_store_knows_its_database() {
    holds(
        rocksdb_outside_its_room,
        "src",
        ("src/task/worker.rs", "use rocksdb::DB;"),
    );
}

#[test]
fn unsafe_code_stands_in_three_small_files() {
    let violation = "fn f() { let first = unsafe { *pointer }; }";
    holds(unsafe_outside_its_files, "src", ("src/store/rocks.rs", violation));
    for path in UNSAFE_FILES {
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(),
            "{path} is no longer there"
        );
        assert!(unsafe_outside_its_files(&[File::new(path, violation)]).is_empty());
    }
}

#[test]
fn nothing_flows_backwards() {
    holds(
        steps_backwards,
        "src",
        ("src/store/rocks.rs", "use crate::serve::metrics::Metrics;"),
    );
}

#[test]
fn no_file_is_too_long_to_be_read_in_one_sitting() {
    holds(files_too_long, "src", ("src/lib.rs", &"\n".repeat(LINES_OF_A_FILE + 1)));
}

#[test]
fn the_auditor_shares_no_line_with_the_engine_that_it_judges() {
    holds(
        words_of_the_engine,
        "tests/auditor",
        ("tests/auditor/mod.rs", "use forbear::policy::Policy;"),
    );
}

#[test]
fn the_checks_of_an_audit_share_nothing_with_the_processor() {
    let violation = "use crate::policy::window::Window;";
    holds(
        shared_with_the_processor,
        "src",
        ("src/audit/checks/ledger.rs", violation),
    );
    assert!(shared_with_the_processor(&[File::new("src/audit/rederive/batch.rs", violation)]).is_empty());
    // Nor by a way around the rooms' names.
    let around = places_of(&files_under("src/audit"), &["super::super"]);
    assert_eq!(around, Vec::<String>::new());
}

#[test]
fn what_stands_in_a_comment_or_a_text_is_no_code() {
    let text = "//! unsafe\n/* unsafe\n unsafe */ let a = \"un\\\"safe unsafe\"; // unsafe\nlet b = r#\"unsafe\"#;\n\
                let c = ('\"', '\\'', b'\\\\'); f::<'a>(c); let unsafely = r\"unsafe\";\nunsafe { }";
    assert_eq!(
        places_of(&[File::new("src/a.rs", text)], &["unsafe"]),
        ["src/a.rs:6: unsafe"]
    );
}
