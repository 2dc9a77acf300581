//! A file system that is small enough to be filled.

// Two test binaries compile this module, and each uses a part of it.
#![allow(dead_code)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own. Unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where mounting is not allowed.
    pub fn mount(at: &Path) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(at);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    /// Takes all the space but so much.
    pub fn fill(&self, left_bytes: u64) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).expect("a file");
        let mut block = vec![7_u8; 64 * 1024];
        while !block.is_empty() {
            if file.write_all(&block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
        let length = file.metadata().expect("a length").len();
        file.set_len(length.saturating_sub(left_bytes)).expect("a shorter file");
        path
    }

    /// Takes what has become free since.
    pub fn fill_up(&self, filler: &Path) {
        let mut file = File::options().append(true).open(filler).expect("the filler");
        while file.write_all(&[7; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of the test may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
