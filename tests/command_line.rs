//! The command line as a person meets it: help, usage errors, settings that are missing or wrong.

use assert_cmd::Command;

fn forbear(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::cargo_bin("forbear").expect("the binary");
    command.args(arguments).env_clear().output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_subcommand_has_help_with_an_example() {
    let commands: [&[&str]; 10] = [
        &[],
        &["demo"],
        &["run"],
        &["topics"],
        &["topics", "create"],
        &["topics", "verify"],
        &["policy"],
        &["policy", "check"],
        &["repair"],
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
