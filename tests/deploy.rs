//! What `deploy/` says about metrics is true: dashboard, alerts and documentation name only metrics that exist. Uses the
//! catalogue alone, so that nothing heavy is linked.

#[allow(dead_code)]
#[path = "../src/serve/catalogue.rs"]
mod catalogue;

use catalogue::{CATALOGUE, Kind};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).unwrap_or_else(|error| panic!("deploy/{name}: {error}"))
}

/// Every name that a scrape can hold.
fn series() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for metric in CATALOGUE {
        match metric.kind {
            Kind::Histogram => names.extend(["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", metric.name))),
            Kind::Counter | Kind::Gauge => {
                names.insert(metric.name.to_string());
            }
        }
    }
    names
}

/// Every word of the text that begins like a metric of ours.
fn mentioned(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words
        .filter(|word| word.starts_with("forbear_"))
        .map(str::to_string)
        .collect()
}

/// The expressions of the dashboard, wherever they stand.
fn expressions(value: &serde_json::Value, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                match member {
                    serde_json::Value::String(text) if name == "expr" => into.push(text.clone()),
                    other => expressions(other, into),
                }
            }
        }
        serde_json::Value::Array(members) => members.iter().for_each(|member| expressions(member, into)),
        _ => {}
    }
}

#[test]
fn the_dashboard_uses_only_metrics_that_exist() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana/dashboard.json")).expect("valid JSON");
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() >= 10, "{found:?}");
    for expression in &found {
        let names = mentioned(expression);
        assert!(!names.is_empty(), "{expression}");
        assert!(names.is_subset(&series()), "{expression}");
    }
}

#[test]
fn alerts_and_their_tests_use_only_metrics_that_exist() {
    for file in ["alerts.yml", "alerts_test.yml"] {
        let mut names = mentioned(&read(file));
        // Descriptions in prose may name a histogram as a whole.
        names.retain(|name| !CATALOGUE.iter().any(|metric| metric.name == name));
        assert!(
            names.is_subset(&series()),
            "{file}: {:?}",
            names.difference(&series()).collect::<Vec<_>>()
        );
    }
}

#[test]
fn every_alert_has_a_test_that_it_fires_and_one_that_it_is_silent() {
    let tests = read("alerts_test.yml");
    let alerts = read("alerts.yml");
    let names: Vec<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() >= 10);
    for name in names {
        assert!(tests.contains(&format!("- name: {name} fires\n")), "{name}");
        assert!(tests.contains(&format!("- name: {name} is silent\n")), "{name}");
    }
}

/// `FORBEAR_WRITE_DOCUMENTATION=1` writes the page instead of comparing it.
#[test]
fn the_page_about_metrics_is_the_catalogue() {
    if std::env::var_os("FORBEAR_WRITE_DOCUMENTATION").is_some() {
        std::fs::write(deploy().join("metrics.md"), catalogue::page()).expect("deploy/metrics.md is writable");
    }
    assert!(
        read("metrics.md") == catalogue::page(),
        "run again with FORBEAR_WRITE_DOCUMENTATION=1"
    );
}

#[test]
fn names_are_unique_and_have_the_prefix() {
    let names: BTreeSet<&str> = CATALOGUE.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), CATALOGUE.len());
    assert!(names.iter().all(|name| name.starts_with("forbear_")));
}

/// What one command starts must find its files: a path that does not exist becomes an empty folder in the container.
#[test]
fn every_file_that_docker_compose_and_the_image_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let compose = std::fs::read_to_string(root.join("docker-compose.yml")).expect("docker-compose.yml");
    let mounts: Vec<&str> = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./")?.split(':').next())
        .collect();
    assert!(mounts.len() >= 6, "{mounts:?}");
    for mount in &mounts {
        assert!(root.join(mount).exists(), "{mount}");
    }
    let policy = compose
        .lines()
        .find_map(|line| line.trim().strip_prefix("FORBEAR_POLICY__FILE: /etc/forbear/"))
        .expect("a policy");
    assert!(deploy().join(policy).is_file(), "{policy}");
    let kept = read("Dockerfile.dockerignore");
    for kept in kept.lines().filter_map(|line| line.strip_prefix('!')) {
        assert!(root.join(kept).exists(), "{kept}");
    }
    // The demo's policy is compiled in.
    assert!(kept.contains("!deploy/policies\n"));
    assert!(read("Dockerfile").contains("--bin forbear"));
}

#[test]
fn promtool_accepts_the_rules_their_tests_and_the_scrape_settings() {
    let required = std::env::var("FORBEAR_REQUIRE_PROMTOOL").is_ok_and(|value| value == "1");
    if Command::new("promtool").arg("--version").output().is_err() {
        assert!(
            !required,
            "promtool is required and not there (Debian: apt-get install prometheus)"
        );
        println!("skipped: promtool is not there (Debian: apt-get install prometheus)");
        return;
    }
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(deploy())
            .output()
            .expect("promtool runs");
        let text = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "promtool {arguments:?}: {}",
            String::from_utf8_lossy(&text)
        );
    }
}
