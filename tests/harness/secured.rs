//! A broker that asks who is there: SASL (SCRAM-SHA-512) over TLS on one port, TLS with certificates of the clients on another,
//! and an authorizer that allows nothing but what the access rules say.
//!
//! The open port is there all the same, for the broker's own requests and as the way in of the test, which is allowed everything
//! there: nothing under test gets to know it. Keys and certificates are made by `keytool`, which comes with Java.

use super::acls::{self, Acl};
use super::os::{self, PortLease};
use super::{Broker, BrokerOptions, installation::Installation};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Of every user and every key store: what must not be in any log.
pub const PASSWORD: &str = "canary-c0rrect-horse";

/// Users that the broker knows.
const USERS: usize = 96;
/// The name in the certificate of the client that has one.
const CERTIFIED: &str = "CN=forbear-client";
const SASL_LISTENER: &str = "SASL";
const TLS_LISTENER: &str = "MUTUAL";

/// See above. Ends when dropped.
pub struct SecuredBroker {
    pub broker: Broker,
    sasl_port: PortLease,
    tls_port: PortLease,
    directory: PathBuf,
    users: AtomicUsize,
}

impl SecuredBroker {
    /// Starts it. Panics when it does not come up.
    pub fn start() -> Self {
        let directory = os::new_directory("keys");
        let (sasl_port, tls_port) = (PortLease::take(), PortLease::take());
        std::thread::scope(|scope| {
            let client = scope.spawn(|| make_key(&directory, "client", CERTIFIED));
            make_key(&directory, "server", "CN=broker");
            client.join().expect("a key of the client");
        });
        let listener =
            |name: &str, protocol: &str, port: &PortLease| (name.to_owned(), protocol.to_owned(), port.address());
        let broker = Broker::start(BrokerOptions {
            listeners: vec![
                listener(SASL_LISTENER, "SASL_SSL", &sasl_port),
                listener(TLS_LISTENER, "SSL", &tls_port),
            ],
            settings: settings(&directory),
            format_arguments: (0..USERS)
                .flat_map(|user| {
                    let credentials = format!("SCRAM-SHA-512=[name={},password={PASSWORD}]", user_name(user));
                    ["--add-scram".to_owned(), credentials]
                })
                .collect(),
            ..BrokerOptions::default()
        });
        Self {
            broker,
            sasl_port,
            tls_port,
            directory,
            users: AtomicUsize::new(0),
        }
    }

    /// `bootstrap.servers` of the port that asks for a user and a password.
    pub fn sasl_bootstrap(&self) -> String {
        self.sasl_port.address()
    }

    /// The same port under a name that is not in the broker's certificate.
    pub fn sasl_bootstrap_by_another_name(&self) -> String {
        // Read as the same address, and no name needs to be known to the machine (a bare one knows no localhost).
        self.sasl_port.address().replace("127.0.0.1", "127.1")
    }

    /// `bootstrap.servers` of the port that asks for a certificate.
    pub fn tls_bootstrap(&self) -> String {
        self.tls_port.address()
    }

    /// The certificate that vouches for the broker.
    pub fn authority(&self) -> String {
        path_text(&self.directory.join("server.pem"))
    }

    /// One that does not.
    pub fn another_authority(&self) -> String {
        path_text(&self.directory.join("client.pem"))
    }

    /// A user of whom nothing is known yet, with these rights.
    pub fn user(&self, acls: &[Acl]) -> String {
        let user = self.users.fetch_add(1, Ordering::Relaxed);
        assert!(user < USERS, "there are only {USERS} users");
        let name = user_name(user);
        self.allow(&name, acls);
        name
    }

    /// Further rights of a user.
    pub fn allow(&self, user: &str, acls: &[Acl]) {
        acls::allow(&self.broker.client().settings(), &format!("User:{user}"), acls);
    }

    /// Takes a right away.
    pub fn take_away(&self, user: &str, acl: &Acl) {
        acls::take_away(&self.broker.client().settings(), &format!("User:{user}"), acl);
    }

    /// Client properties of a user with a password, but for the password.
    pub fn sasl_properties(&self, user: &str) -> Vec<(&'static str, String)> {
        vec![
            ("security.protocol", "SASL_SSL".to_owned()),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", user.to_owned()),
            ("ssl.ca.location", self.authority()),
        ]
    }

    /// Client properties of the user with a certificate, but for the password of the key; and its name.
    pub fn tls_properties(&self) -> (Vec<(&'static str, String)>, String) {
        let properties = vec![
            ("security.protocol", "SSL".to_owned()),
            ("ssl.ca.location", self.authority()),
            ("ssl.keystore.location", path_text(&self.directory.join("client.p12"))),
        ];
        (properties, CERTIFIED.to_owned())
    }

    /// What the authorizer refused a user so far, as it says it.
    pub fn refusals(&self, user: &str) -> Vec<String> {
        let who = format!("Principal = User:{user} is Denied");
        let log = self.broker.log();
        log.lines()
            .filter(|line| line.contains(&who))
            .map(str::to_owned)
            .collect()
    }
}

fn user_name(user: usize) -> String {
    format!("user-{user:02}")
}

fn path_text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn settings(directory: &Path) -> Vec<(String, String)> {
    let sasl = |key: &str| format!("listener.name.{}.{key}", SASL_LISTENER.to_lowercase());
    let tls = |key: &str| format!("listener.name.{}.{key}", TLS_LISTENER.to_lowercase());
    let store = path_text(&directory.join("server.p12"));
    let mut settings = vec![
        (
            "authorizer.class.name".to_owned(),
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
        ),
        // Whoever comes through the open port: the broker itself, and the test.
        ("super.users".to_owned(), "User:ANONYMOUS".to_owned()),
        (sasl("sasl.enabled.mechanisms"), "SCRAM-SHA-512".to_owned()),
        (
            sasl("scram-sha-512.sasl.jaas.config"),
            "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
        ),
        (tls("ssl.client.auth"), "required".to_owned()),
        (tls("ssl.truststore.type"), "PEM".to_owned()),
        (tls("ssl.truststore.location"), path_text(&directory.join("client.pem"))),
    ];
    for key in [&sasl as &dyn Fn(&str) -> String, &tls] {
        settings.extend([
            (key("ssl.keystore.type"), "PKCS12".to_owned()),
            (key("ssl.keystore.location"), store.clone()),
            (key("ssl.keystore.password"), PASSWORD.to_owned()),
            (key("ssl.key.password"), PASSWORD.to_owned()),
        ]);
    }
    settings
}

/// A key with a certificate of its own signing in `<name>.p12`, and the certificate in `<name>.pem`. It is good for 127.0.0.1.
fn make_key(directory: &Path, name: &str, distinguished_name: &str) {
    let store = path_text(&directory.join(format!("{name}.p12")));
    let common = [
        "-alias",
        "key",
        "-keystore",
        &store,
        "-storetype",
        "PKCS12",
        "-storepass",
        PASSWORD,
    ];
    let mut make = vec![
        "-genkeypair",
        "-keyalg",
        "EC",
        "-groupname",
        "secp256r1",
        "-validity",
        "30",
    ];
    make.extend([
        "-dname",
        distinguished_name,
        "-ext",
        "san=ip:127.0.0.1",
        "-ext",
        "bc:c=ca:true",
    ]);
    make.extend(common);
    keytool(&make);
    let certificate = path_text(&directory.join(format!("{name}.pem")));
    let mut export = vec!["-exportcert", "-rfc", "-file", &certificate];
    export.extend(common);
    keytool(&export);
}

fn keytool(arguments: &[&str]) {
    let java = &Installation::find().expect("there is a Java").java;
    let tool = match java.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("keytool"),
        Some(folder) => folder.join("keytool"),
        None => PathBuf::from("keytool"),
    };
    let mut command = Command::new(tool);
    command.args(["-J-XX:TieredStopAtLevel=1", "-J-Xmx64m"]).args(arguments);
    let log = os::new_directory("keytool").join("log");
    let file = std::fs::File::create(&log).expect("a log file");
    command.stdout(file.try_clone().expect("a log file")).stderr(file);
    let mut child = os::spawn(command).expect("keytool runs");
    let code = os::wait_exit(&mut child, Duration::from_secs(60));
    assert_eq!(code, Some(0), "keytool made no key\n{}", os::tail(&log));
}
