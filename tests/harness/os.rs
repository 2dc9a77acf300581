//! What the harness asks of the operating system: children that never outlive it, signals, ports, folders.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Ports are taken from below the range that outgoing connections use, so that the port of a broker that is down for a
/// moment is not given to somebody's connection.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// How much of a log a failing test shows.
const TAIL_BYTES: u64 = 6_000;

type SpawnRequest = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a child that the kernel kills when this process ends, in whatever way it ends.
///
/// The kernel ties that to the *thread* which started the child, and a test's thread ends with the test; so one thread
/// that lives as long as the process starts them all.
pub fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<SpawnRequest>>> = LazyLock::new(|| {
        let (requests, inbox) = mpsc::channel::<SpawnRequest>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    let _ = answer.send(command.spawn());
                }
            })
            .expect("a thread that starts the children");
        Mutex::new(requests)
    });
    let (answer, result) = mpsc::channel();
    let requests = SPAWNER.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    requests
        .send((end_with_parent(command), answer))
        .expect("the spawner thread runs");
    result.recv().expect("the spawner thread answers")
}

#[cfg(target_os = "linux")]
fn end_with_parent(mut command: Command) -> Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure runs between fork and exec and makes one async-signal-safe system call.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    command
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(command: Command) -> Command {
    command
}

/// Sends a signal to one process.
pub fn signal(process_id: u32, signal: libc::c_int) {
    let process_id = libc::pid_t::try_from(process_id).expect("a process id");
    // SAFETY: `kill` takes two integers and touches no memory. The child is not reaped while its handle is held, so the
    // id cannot belong to another process.
    let result = unsafe { libc::kill(process_id, signal) };
    assert_eq!(
        result,
        0,
        "signal {signal} could not be sent to process {process_id}: {}",
        io::Error::last_os_error()
    );
}

fn is_alive(process_id: i32) -> bool {
    // SAFETY: signal 0 only asks whether the process exists.
    unsafe { libc::kill(process_id, 0) == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM) }
}

/// Whether a process is held by SIGSTOP.
pub fn is_stopped(process_id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; the state is the first word behind it.
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|rest| rest.starts_with('T'))
}

/// Waits for the end of a child. Its exit code, or minus the signal that ended it; none if it still runs.
pub fn wait_exit(child: &mut Child, timeout: Duration) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the state of a child") {
            return Some(status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)));
        }
        if start.elapsed() >= timeout {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A loopback port that no other test takes while this lives.
#[derive(Debug)]
pub struct PortLease {
    pub port: u16,
    // Locked: other test binaries see it, and the kernel lets go of it when this process ends.
    _lock: File,
}

impl PortLease {
    /// Takes a free port. The port is free to bind afterwards, as often as one likes.
    pub fn take() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let width = PORTS.end - PORTS.start;
        let first = (std::process::id() % u32::from(width)) as u16;
        let locks = std::env::temp_dir().join("forbear-test-ports");
        fs::create_dir_all(&locks).expect("a folder for port locks");
        for _ in 0..width {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = PORTS.start + ((u32::from(first) + u32::from(step)) % u32::from(width)) as u16;
            let lock = File::create(locks.join(port.to_string())).expect("a port lock file");
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Self { port, _lock: lock };
            }
        }
        panic!("no free port between {} and {}", PORTS.start, PORTS.end);
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// A new, empty folder of this test binary. Folders of test binaries that are gone are removed first.
pub fn new_directory(stem: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static SWEPT: LazyLock<PathBuf> = LazyLock::new(|| {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("harness");
        fs::create_dir_all(&root).expect("the folder of the test runs");
        sweep(&root);
        let own = root.join(std::process::id().to_string());
        fs::create_dir_all(&own).expect("the folder of this test run");
        own
    });
    let directory = SWEPT.join(format!("{stem}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&directory).expect("a folder for this test");
    directory
}

fn sweep(root: &Path) {
    let entries = fs::read_dir(root).expect("the folder of the test runs");
    for entry in entries.flatten() {
        let owner = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if owner.is_some_and(|process_id| !is_alive(process_id)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Copies a folder with all that is in it.
pub fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder to copy").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a file is copied");
        }
    }
}

/// The end of a log file, for the message of a failing test.
pub fn tail(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => format!("--- end of {} ---\n{text}\n---", path.display()),
        Err(error) => format!("--- {} cannot be read: {error} ---", path.display()),
    }
}
