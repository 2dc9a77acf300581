//! A wall clock that can be set for one process alone, by `libfaketime` where it is installed.

use crate::harness::{Launch, os};
use std::fs;
use std::path::{Path, PathBuf};

/// Where Debian puts the library (package `libfaketime`), for a process with threads.
const LIBRARIES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// The clock of one instance.
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Gives an instance a clock of its own, which is right at first. None: the library is not there.
    pub fn give_to(launch: &mut Launch) -> Option<Self> {
        let library = LIBRARIES.iter().find(|path| Path::new(path).exists())?;
        let clock = Self {
            file: os::new_directory("clock").join("offset"),
        };
        clock.set(0);
        let file = clock.file.to_str().expect("a path in UTF-8");
        let variables = [
            ("LD_PRELOAD", *library),
            ("FAKETIME_TIMESTAMP_FILE", file),
            // The file is read again every second.
            ("FAKETIME_CACHE_DURATION", "1"),
            // The monotonic clock goes on as it does when somebody sets the other one.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        launch.environment.extend(variables);
        Some(clock)
    }

    /// Sets it so many seconds away from the right time.
    pub fn set(&self, offset_s: i64) {
        // By rename: the process never reads half of it.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{offset_s:+}s\n")).expect("the offset of a clock");
        fs::rename(&next, &self.file).expect("the offset of a clock");
    }
}
