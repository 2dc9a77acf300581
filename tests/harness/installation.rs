//! Where Kafka's jars and a Java that runs them are. `deploy/scripts/kafka-provision.sh` puts the jars there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// The version that the suite is run on; the same as in `deploy/scripts/kafka-provision.sh`.
pub const KAFKA_VERSION: &str = "4.3.1";

/// The oldest Java that this Kafka runs on.
const JAVA_VERSION: u32 = 17;

/// What starts a broker.
#[derive(Debug, Clone)]
pub struct Installation {
    pub java: PathBuf,
    /// Folder of the jars.
    pub libraries: PathBuf,
}

impl Installation {
    /// The installation of this machine, or why there is none. Looked for once.
    pub fn find() -> Result<&'static Self, &'static str> {
        static FOUND: LazyLock<Result<Installation, String>> = LazyLock::new(look);
        FOUND.as_ref().map_err(String::as_str)
    }

    /// A command that runs a class of the distribution, its options first.
    pub fn java(&self, options: &[&str], class: &str) -> Command {
        let mut command = Command::new(&self.java);
        command
            .args(options)
            .arg("-cp")
            .arg(self.libraries.join("*"))
            .arg(class);
        command.stdin(Stdio::null());
        command
    }
}

fn look() -> Result<Installation, String> {
    let libraries = cache().join("kafka").join(KAFKA_VERSION).join("libs");
    if !has_broker_jar(&libraries) {
        let fix = "run deploy/scripts/kafka-provision.sh";
        return Err(format!("no Kafka {KAFKA_VERSION} in {}; {fix}", libraries.display()));
    }
    let java = std::env::var_os("JAVA_HOME").map_or_else(|| "java".into(), |home| PathBuf::from(home).join("bin/java"));
    let version = java_version(&java)?;
    if version < JAVA_VERSION {
        return Err(format!(
            "Java {version} is too old, Kafka {KAFKA_VERSION} needs {JAVA_VERSION}"
        ));
    }
    Ok(Installation { java, libraries })
}

fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    std::env::var_os("FORBEAR_CACHE").map_or_else(|| home().join(".cache/forbear"), PathBuf::from)
}

fn has_broker_jar(libraries: &Path) -> bool {
    libraries.join(format!("kafka_2.13-{KAFKA_VERSION}.jar")).is_file()
}

/// The major version, from `openjdk version "17.0.15" 2025-04-15`.
fn java_version(java: &Path) -> Result<u32, String> {
    let output = Command::new(java)
        .arg("-version")
        .output()
        .map_err(|error| format!("no Java: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let number = text
        .split('"')
        .nth(1)
        .and_then(|version| version.split(['.', '-', '+']).next()?.parse().ok());
    number.ok_or_else(|| {
        format!(
            "the version of Java cannot be read from {:?}",
            text.lines().next().unwrap_or("")
        )
    })
}
