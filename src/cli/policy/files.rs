//! Policies on disk: the first file and what it includes, read together and watched together.

use crate::policy::file::document::ReadFile;
use crate::policy::file::tree::FILE_BYTES;
use crate::policy::file::{Diagnostics, Document};
use std::io::Read;
use std::path::{Path, PathBuf};

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

/// Reads a policy and what it includes. The files that were read are answered in any case, so that they can be watched.
///
/// # Errors
/// Outside: the first file cannot be read. Inside: everything that is wrong with the files as files.
pub fn read_document(file: &Path) -> (Files, std::io::Result<Result<Document, Box<Diagnostics>>>) {
    let bytes = match read_bounded(file) {
        Ok(bytes) => bytes,
        Err(error) => return (Files(vec![(file.to_owned(), None)]), Err(error)),
    };
    let mut files = vec![(file.to_owned(), Some(bytes.clone()))];
    let read: ReadFile = &mut |name: &str| {
        let path = PathBuf::from(name);
        let bytes = read_bounded(&path);
        files.push((path, bytes.as_ref().ok().cloned()));
        bytes.map_err(|error| error.to_string())
    };
    let document = Document::read(&file.display().to_string(), &bytes, read);
    (Files(files), Ok(document))
}

/// One byte more than is allowed is enough to refuse a file, however long it is.
///
/// # Errors
/// It cannot be read.
pub fn read_bounded(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?
        .take(FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
