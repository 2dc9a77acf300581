//! `forbear audit`, as anybody can run it.

// Two test binaries compile this module, and each uses a part of it.
#![allow(dead_code)]

use crate::harness::Process;
use serde_json::Value;

/// Runs the command with the settings of a member; its exit code and its report.
pub fn audit(process: &Process, arguments: &[&str]) -> (i32, Value) {
    let settings = process.settings_file();
    let settings = settings.to_str().expect("a path in UTF-8");
    let mut all = vec!["audit", "--config", settings, "--format", "json"];
    all.extend_from_slice(arguments);
    let output = Process::command(&all);
    let code = output.status.code().expect("an exit code");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report: {code} {}", String::from_utf8_lossy(&output.stderr)));
    (code, report)
}

/// No violation was told.
pub fn assert_clean(code: i32, report: &Value) {
    let told = serde_json::to_string_pretty(&report["violations"]).expect("JSON");
    assert_eq!(code, 0, "violations of a right run:\n{told}");
    assert_eq!(report["violations"], Value::Array(Vec::new()));
}
