//! Policies on disk: the first file and what it includes, read together and watched together.

use crate::policy::file::document::ReadFile;
use crate::policy::file::tree::FILE_BYTES;
use crate::policy::file::{Diagnostics, Document};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a pipe may say nothing, altogether, before it is given up.
const LONGEST_SILENCE: Duration = Duration::from_millis(800);
/// The name of a policy that comes through the standard input.
const STANDARD_INPUT: &str = "-";
const BETWEEN_READS: Duration = Duration::from_millis(5);

/// Files as they were when they were read; none: it could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Option<Vec<u8>>)>);

impl Files {
    /// One file.
    pub fn one(file: &Path) -> Self {
        Self(vec![(file.to_owned(), read_bounded(file).ok())])
    }

    /// The same files as they are now.
    pub fn again(&self) -> Self {
        let read = |(file, _): &(PathBuf, Option<Vec<u8>>)| (file.clone(), read_bounded(file).ok());
        Self(self.0.iter().map(read).collect())
    }

    /// Whether the first of them can be read.
    pub fn are_there(&self) -> bool {
        self.0.first().is_some_and(|(_, bytes)| bytes.is_some())
    }

    /// With others beside them.
    pub fn and(mut self, others: Files) -> Self {
        self.0.extend(others.0);
        self
    }
}

/// Reads a policy (`-`: from the standard input) and what it includes. The files that were read are answered in any case, so that they can be watched.
///
/// # Errors
/// Outside: the first file cannot be read. Inside: everything that is wrong with the files as files.
pub fn read_document(file: &Path) -> (Files, std::io::Result<Result<Document, Box<Diagnostics>>>) {
    let is_input = file.as_os_str() == STANDARD_INPUT;
    let read = if is_input { read_input() } else { read_bounded(file) };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => return (Files(vec![(file.to_owned(), None)]), Err(error)),
    };
    // What came through a pipe comes once: there is nothing to watch.
    let mut files = if is_input {
        Vec::new()
    } else {
        vec![(file.to_owned(), Some(bytes.clone()))]
    };
    let read: ReadFile = &mut |name: &str| {
        let path = PathBuf::from(name);
        let bytes = read_bounded(&path);
        files.push((path, bytes.as_ref().ok().cloned()));
        bytes.map_err(|error| error.to_string())
    };
    let document = Document::read(&file.display().to_string(), &bytes, read);
    (Files(files), Ok(document))
}

/// Waits for whoever writes into the pipe: `git show` may take its time.
fn read_input() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let input = std::io::stdin().lock();
    input.take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// One byte more than is allowed is enough to refuse a file, however long it is. A pipe is read while somebody writes to it, and
/// given up when nothing comes: opened the usual way, one without a writer would never answer.
///
/// # Errors
/// It cannot be read; in words for the person who named it.
pub fn read_bounded(file: &Path) -> std::io::Result<Vec<u8>> {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(file)
        .map_err(in_words)?;
    let mut bytes = Vec::new();
    let mut rest = opened.take(FILE_BYTES as u64 + 1);
    let mut silent = Duration::ZERO;
    // What was read before an error stays in `bytes`.
    while let Err(error) = rest.read_to_end(&mut bytes) {
        if error.kind() != ErrorKind::WouldBlock {
            return Err(in_words(error));
        }
        if silent >= LONGEST_SILENCE {
            let message = "it is a pipe, and nothing comes out of it";
            return Err(std::io::Error::new(ErrorKind::TimedOut, message));
        }
        std::thread::sleep(BETWEEN_READS);
        silent += BETWEEN_READS;
    }
    Ok(bytes)
}

fn in_words(error: std::io::Error) -> std::io::Error {
    let words = match error.kind() {
        ErrorKind::NotFound => "there is no such file",
        ErrorKind::IsADirectory => "it is a folder, not a file",
        ErrorKind::PermissionDenied => "reading it is not allowed",
        _ => return error,
    };
    std::io::Error::new(error.kind(), words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pipe(folder: &Path) -> PathBuf {
        let path = folder.join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .expect("mkfifo");
        assert!(made.success());
        path
    }

    #[test]
    fn a_pipe_without_a_writer_is_an_empty_file() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read_bounded(&pipe(folder.path())).expect("nothing"), b"");
    }

    #[test]
    fn a_pipe_that_stays_silent_is_given_up_with_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = pipe(folder.path());
        // Open for both, so that it has a writer without waiting for a reader.
        let _writer = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .expect("a writer");
        let error = read_bounded(&path).expect_err("silence");
        assert_eq!(error.to_string(), "it is a pipe, and nothing comes out of it");
    }

    #[test]
    fn what_comes_out_of_a_pipe_is_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = pipe(folder.path());
        let text = vec![b'x'; 300_000];
        let mut writer = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .expect("a writer");
        let expected = text.clone();
        let writing = std::thread::spawn(move || writer.write_all(&text));
        assert_eq!(read_bounded(&path).expect("all of it"), expected);
        writing.join().expect("the writer").expect("written");
    }

    #[test]
    fn a_folder_and_a_missing_file_are_named_as_what_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |path: &Path| read_bounded(path).expect_err("no file").to_string();
        assert_eq!(said(folder.path()), "it is a folder, not a file");
        assert_eq!(said(&folder.path().join("none.yaml")), "there is no such file");
    }
}
