//! The command line as a person meets it: help, usage errors, settings that are missing or wrong.

use assert_cmd::Command;
use std::path::Path;

const README: &str = include_str!("../README.md");
const STARTER: &str = include_str!("../deploy/policies/starter.yaml");

fn forbear(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::cargo_bin("forbear").expect("the binary");
    command.args(arguments).env_clear().output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_subcommand_has_help_with_an_example() {
    let commands: [&[&str]; 15] = [
        &[],
        &["demo"],
        &["run"],
        &["topics"],
        &["topics", "create"],
        &["topics", "verify"],
        &["policy"],
        &["policy", "check"],
        &["policy", "test"],
        &["policy", "explain"],
        &["policy", "diff"],
        &["policy", "schema"],
        &["repair"],
        &["audit"],
        &["generate"],
    ];
    for command in commands {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let output = forbear(&arguments);
        assert!(output.status.success(), "{arguments:?}");
        let help = text(&output.stdout);
        assert!(
            help.contains("Example"),
            "no example in the help of {command:?}:\n{help}"
        );
        assert!(
            help.contains(&format!("  forbear {}", command.join(" ")).trim_end().to_owned()),
            "{command:?}"
        );
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &["--no-such-flag"][..],
        &["no-such-command"],
        &[],
        &["generate", "--malformed", "2"],
        &["audit", "--checks", "P7"],
        &["audit", "--from", "17"],
        &["repair", "--partition", "-1", "--accept", "marker"],
        &["repair", "--partition", "1", "--accept", "both"],
        &["demo", "--seconds", "0"],
        &["topics", "create", "--partitions", "0"],
    ] {
        let output = forbear(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_missing_settings_file_is_a_sentence_on_standard_error() {
    for command in [
        &["run"][..],
        &["generate"],
        &["topics", "verify"],
        &["topics", "create"],
    ] {
        let mut arguments = command.to_vec();
        arguments.extend(["--config", "/nowhere/forbear.toml"]);
        let output = forbear(&arguments);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(output.stdout.is_empty());
        assert!(text(&output.stderr).starts_with("error: cannot read the settings file /nowhere/forbear.toml: "));
    }
}

#[test]
fn wrong_settings_are_all_named_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("forbear.toml");
    std::fs::write(&file, "[processing]\nworkers = 99\n[htp]\nlisten = 1\n").expect("a file");
    let output = forbear(&["run", "--config", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "error: htp is not a setting; did you mean http?\nerror: processing.workers must be a whole number from 1 to 64\n"
    );
}

/// A settings file for a cluster that is not there, a policy beside it, and whatever else is to stand in the settings.
fn installation(policy: &str, more_settings: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let policy_file = directory.path().join("policy.yaml");
    let settings_file = directory.path().join("forbear.toml");
    std::fs::write(&policy_file, policy).expect("a file");
    let settings = format!(
        "[policy]\nfile = {:?}\n[kafka]\nbootstrap-servers = \"127.0.0.1:1\"\n{more_settings}",
        policy_file.display().to_string()
    );
    std::fs::write(&settings_file, settings).expect("a file");
    let settings_file = settings_file.display().to_string();
    (directory, settings_file)
}

#[test]
fn a_bad_policy_ends_the_run_with_file_line_and_column() {
    let policy = STARTER.replace("gap: 4h", "gap: 4m");
    let (directory, config) = installation(&policy, "");
    let output = forbear(&["run", "--config", &config]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    let line = policy
        .lines()
        .position(|line| line.contains("gap: 4m"))
        .expect("it is there")
        + 1;
    let column = policy
        .lines()
        .nth(line - 1)
        .and_then(|line| line.find("4m"))
        .expect("it is there")
        + 1;
    let place = format!("{}:{line}:{column}", directory.path().join("policy.yaml").display());
    assert!(
        error.starts_with("error: the policy cannot be used\nerror[duration]: "),
        "{error}"
    );
    assert!(error.contains(&place), "{place} is not in\n{error}");
    assert!(error.contains("`4min` for minutes"), "{error}");
    assert!(!error.contains("error: error"), "{error}");
}

#[test]
fn a_missing_policy_is_a_sentence_on_standard_error() {
    let (directory, config) = installation(STARTER, "");
    std::fs::remove_file(directory.path().join("policy.yaml")).expect("it was there");
    let output = forbear(&["run", "--config", &config]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.starts_with("error: cannot read the policy "), "{error}");
    assert!(error.contains("policy.yaml: there is no such file"), "{error}");
}

/// Whatever is wrong, and however much is logged.
#[test]
fn no_secret_is_ever_shown() {
    const PASSWORD: &str = "open-sesame-31";
    let directory = tempfile::tempdir().expect("a directory");
    let secret = directory.path().join("secret");
    std::fs::write(&secret, PASSWORD).expect("a file");
    let from_file = format!("\"sasl.password\" = \"file:{}\"", secret.display());
    let inline = format!("\"sasl.password\" = \"{PASSWORD}\"");
    let sasl = "\"security.protocol\" = \"SASL_PLAINTEXT\"\n\"sasl.username\" = \"ali\"";
    let cases = [
        (&inline, "PLAIN", ""),
        (&from_file, "PLAIN", ""),
        (&inline, "NO-SUCH-MECHANISM", ""),
        (&inline, "PLAIN", "\"sasl.pasword\" = \"open-sesame-31\""),
        (&inline, "PLAIN", "\"session.timeout.ms\" = \"open-sesame-31\""),
    ];
    // Side by side: some of them wait for a cluster that is not there.
    std::thread::scope(|scope| {
        for (password, mechanism, more) in cases {
            scope.spawn(move || {
                let client =
                    format!("[kafka.client]\n{sasl}\n{password}\n\"sasl.mechanisms\" = \"{mechanism}\"\n{more}\n");
                let (_directory, config) = installation(STARTER, &format!("{client}[log]\nlevel = \"trace\"\n"));
                let output = forbear(&["run", "--config", &config]);
                assert_eq!(output.status.code(), Some(1), "{mechanism} {more}");
                let shown = text(&[output.stdout, output.stderr].concat());
                assert!(shown.contains("error: "), "{shown}");
                assert!(!shown.contains(PASSWORD), "{shown}");
                let misspelt = more.contains("pasword");
                assert!(
                    !misspelt || shown.contains("did you mean \"sasl.password\"?"),
                    "{shown}"
                );
            });
        }
    });
}

#[test]
fn a_cluster_that_does_not_answer_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("forbear.toml");
    std::fs::write(&file, "[kafka]\nbootstrap-servers = \"127.0.0.1:1\"\n").expect("a file");
    let config = file.display().to_string();
    let output = forbear(&["topics", "verify", "--channels", "email", "--config", &config]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no answer from the Kafka cluster at 127.0.0.1:1"),
        "{}",
        text(&output.stderr)
    );
}

/// The blocks of the README in a language.
fn blocks(language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    let found: Vec<String> = README
        .split(&start)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect();
    assert!(!found.is_empty(), "the README has no {language}");
    found
}

#[test]
fn the_policy_of_the_readme_compiles_alone_and_with_the_rules_that_are_added() {
    let blocks = blocks("yaml");
    let (whole, added): (Vec<&String>, Vec<&String>) = blocks.iter().partition(|block| block.starts_with("forbear: 1"));
    assert_eq!(
        (whole.len(), added.len()),
        (1, 1),
        "a complete policy, and rules to be added to it"
    );
    for policy in [whole[0].clone(), format!("{}\n{}", whole[0], added[0])] {
        let (directory, _) = installation(&policy, "");
        let file = directory.path().join("policy.yaml").display().to_string();
        let output = forbear(&["policy", "check", &file]);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn the_settings_of_the_readme_and_of_deploy_are_accepted() {
    let mut all = blocks("toml");
    all.push(include_str!("../deploy/forbear.toml").to_owned());
    for settings in all {
        let directory = tempfile::tempdir().expect("a directory");
        // The one file that they name is there only where it is deployed.
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "word\n").expect("a file");
        let settings = settings.replace("/run/secrets/kafka", &secret.display().to_string());
        let file = directory.path().join("forbear.toml");
        std::fs::write(&file, settings).expect("a file");
        let config = file.display().to_string();
        let mut command = Command::cargo_bin("forbear").expect("the binary");
        // Settings are read first: what is missing after that is the policy.
        let output = command
            .args([
                "topics",
                "verify",
                "--policy",
                "/nowhere/policy.yaml",
                "--config",
                &config,
            ])
            .env_clear()
            .output()
            .expect("it runs");
        assert!(
            text(&output.stderr).starts_with("error: cannot read the policy /nowhere/policy.yaml: "),
            "{}",
            text(&output.stderr)
        );
    }
}

/// A promise that is said to be shown by a test is shown by one that is there.
#[test]
fn every_test_that_the_readme_names_exists() {
    let mut sources = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    read_all(&root.join("src"), &mut sources);
    read_all(&root.join("tests"), &mut sources);
    let named = README.split('`').skip(1).step_by(2).filter(|word| {
        word.len() > 25
            && word
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
    });
    let mut count = 0;
    for name in named {
        count += 1;
        assert!(sources.contains(&format!("fn {name}(")), "{name}");
    }
    assert!(count > 10, "{count}");
}

fn read_all(directory: &Path, into: &mut String) {
    for entry in std::fs::read_dir(directory).expect("a directory of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// What the README points at is there.
#[test]
fn every_file_that_the_readme_links_to_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let links = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let mut count = 0;
    for link in links.filter(|link| !link.starts_with('#') && !link.starts_with("http")) {
        count += 1;
        assert!(root.join(link).exists(), "{link}");
    }
    assert!(count > 5, "{count}");
}

/// A folder with files, and their paths.
fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<String>) {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = files.iter().map(|(name, text)| {
        let file = directory.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(&file, text).expect("a file");
        file.display().to_string()
    });
    let paths = paths.collect();
    (directory, paths)
}

const A_SECOND_EMAIL: &str = "tests:\n  - name: a second e-mail on one day waits\n    timeline:\n      \
    - { at: 2026-01-05T08:30:00Z, contact: { channel: email } }\n      \
    - { at: 2026-01-05T15:00:00Z, intent: { channel: email }, expect: VERDICT }\n";

#[test]
fn tests_of_a_policy_pass_with_0_and_fail_with_1_and_are_written_for_build_servers() {
    let good = A_SECOND_EMAIL.replace("VERDICT", "deferred");
    let bad = A_SECOND_EMAIL.replace("VERDICT", "approved");
    let (directory, paths) = folder(&[("policy.yaml", STARTER), ("good.yaml", &good), ("bad.yaml", &bad)]);
    let output = forbear(&["policy", "test", &paths[0], &paths[1]]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "1 test, 1 passed, 0 failed\n");
    let junit = directory.path().join("results.xml").display().to_string();
    let output = forbear(&["policy", "test", &paths[0], &paths[1], &paths[2], "--junit", &junit]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    for expected in [
        "FAIL  a second e-mail",
        "verdict  approved  deferred",
        "email-day",
        "2 tests, 1 passed, 1 failed",
    ] {
        assert!(said.contains(expected), "expected {expected}\n{said}");
    }
    let written = std::fs::read_to_string(&junit).expect("results");
    assert!(written.contains("tests=\"2\" failures=\"1\""), "{written}");
    let output = forbear(&["policy", "test", &paths[0], &paths[2], "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["failed"], output.status.code()), (&1.into(), Some(1)));
    let output = forbear(&["policy", "test", &paths[0]]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: there is no test to play"));
    let (_directory, broken) = folder(&[("tests.yaml", "tests:\n  - { nam: x }\n")]);
    let output = forbear(&["policy", "test", &paths[0], &broken[0]]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("tests.yaml:2:7"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_verdict_is_explained_with_every_rules_working_and_a_sentence() {
    let customer = "timezone: Europe/London\nhistory:\n  - { at: 2026-01-05T08:30:00Z, contact: { channel: email } }\n";
    let intent = "{ \"channel\": \"email\", \"division\": \"shop\" }";
    let (_directory, paths) = folder(&[
        ("policy.yaml", STARTER),
        ("customer.yaml", customer),
        ("intent.json", intent),
    ]);
    let mut arguments = vec![
        "policy",
        "explain",
        "--policy",
        &paths[0],
        "--customer",
        &paths[1],
        "--intent",
        &paths[2],
    ];
    arguments.extend(["--at", "2026-01-05T15:00:00Z"]);
    let output = forbear(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for expected in [
        "deferred on email",
        "email-day",
        "BLOCKS",
        "1 of 1",
        "company-week",
        "1 of 5",
        "governs other messages",
    ] {
        assert!(said.contains(expected), "expected {expected}\n{said}");
    }
    let last = said.trim_end().lines().last().unwrap_or_default();
    assert_eq!(
        last,
        "This message waits until Tuesday, 6 January 2026, 00:00 (Europe/London), because you have already had 1 message of this \
         kind from us lately and 1 is the most we allow."
    );
    arguments.extend(["--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&forbear(&arguments).stdout).expect("JSON");
    assert_eq!(json["rule"], "email-day");
    assert_eq!(json["working"].as_array().map(Vec::len), Some(4 + 7));
}

#[test]
fn the_customer_that_is_explained_is_the_intents() {
    let history = "history:\n  - { at: 2026-01-05T08:30:00Z, contact: { channel: email } }\n";
    let (_directory, paths) = folder(&[
        ("policy.yaml", STARTER),
        ("nameless.yaml", history),
        ("other.yaml", &format!("id: c-2\n{history}")),
        (
            "intent.json",
            r#"{"channel": "email", "division": "shop", "customer_id": "c-1"}"#,
        ),
    ]);
    let explain = |customer: &str| {
        let arguments = [
            "policy",
            "explain",
            "--policy",
            &paths[0],
            "--customer",
            customer,
            "--intent",
            &paths[3],
        ];
        forbear(&[&arguments[..], &["--at", "2026-01-05T15:00:00Z"]].concat())
    };
    let output = explain(&paths[1]);
    assert!(text(&output.stdout).contains("1 of 1"), "{}", text(&output.stdout));
    let output = explain(&paths[2]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("other.yaml:1:5") && said.contains("another customer"),
        "{said}"
    );
}

#[test]
fn a_change_of_a_policy_is_told_by_its_meaning() {
    let new = STARTER.replace("limit: 5", "limit: 4");
    let (_directory, paths) = folder(&[("old.yaml", STARTER), ("new.yaml", &new)]);
    let output = forbear(&["policy", "diff", &paths[0], &paths[1]]);
    assert_eq!(output.status.code(), Some(0));
    let expected = "rules\n  ~ company-week: cap.limit lowered: 5 → 4  (stricter)\n";
    assert_eq!(text(&output.stdout), expected);
    let output = forbear(&[
        "policy",
        "diff",
        &paths[0],
        &paths[1],
        "--exit-code",
        "--format",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json[0]["effect"], "stricter");
    let pipe = format!(
        "cat {} | {} policy diff - {}",
        paths[0],
        env!("CARGO_BIN_EXE_forbear"),
        paths[1]
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &pipe])
        .output()
        .expect("sh");
    assert_eq!(text(&output.stdout), expected);
    let output = forbear(&["policy", "diff", &paths[0], &paths[0], "--exit-code"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), "nothing changed in meaning\n")
    );
}

#[test]
fn warnings_fail_a_check_only_where_they_are_denied_and_the_schema_is_json() {
    let odd = STARTER.replace("limit: 5", "limit: 0");
    let (_directory, paths) = folder(&[("policy.yaml", &odd)]);
    let output = forbear(&["policy", "check", &paths[0]]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stderr).contains("warning[limit-zero]"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(
        forbear(&["policy", "check", &paths[0], "--deny-warnings"])
            .status
            .code(),
        Some(1)
    );
    let output = forbear(&["policy", "check", &paths[0], "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json[0]["severity"], "warning");
    let output = forbear(&["policy", "schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[test]
fn a_mistake_in_an_included_file_is_shown_in_that_file() {
    let policy = STARTER.replace("rules:\n", "include: [packs/law.yaml]\nrules:\n");
    let (_directory, paths) = folder(&[
        ("policy.yaml", &policy),
        ("packs/law.yaml", "rules:\n  - { id: a, gap: 5m }\n"),
    ]);
    let output = forbear(&["policy", "check", &paths[0]]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("packs/law.yaml:2:19"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_cases_worked_out_by_hand_from_the_definition_of_the_language_come_out_as_expected() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut cases: u32 = 0;
    for entry in std::fs::read_dir(folder).expect("the cases").flatten() {
        let path = entry.path().display().to_string();
        let output = forbear(&["policy", "test", &path]);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{path}\n{said}");
        assert!(said.contains("passed, 0 failed"), "{path}\n{said}");
        let summary = text(&output.stdout); // warnings stand on standard error
        let counted = summary.lines().last().and_then(|line| line.split(' ').next());
        cases += counted.and_then(|number| number.parse().ok()).unwrap_or(0);
    }
    assert!(cases >= 320, "only {cases} cases were played");
}
