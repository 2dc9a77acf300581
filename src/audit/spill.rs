//! Facts on disk, in buckets: everything about one customer lies in one bucket, and only one bucket is in memory at a time.

use super::facts::{Fact, Group};
use super::log::Halt;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// What one bucket is buffered with while it is written.
const BUFFER_BYTES: usize = 32 << 10;
/// A fact that is longer is damaged.
const FACT_BYTES_AT_MOST: u32 = 64 << 20;

/// All facts about one group.
pub type Facts = Vec<Fact>;

/// The buckets of one audit. The directory is removed with it.
pub struct Spill {
    directory: PathBuf,
    buckets: Vec<Option<BufWriter<File>>>,
    /// Facts so far.
    pub facts: u64,
    /// Bytes so far.
    pub bytes: u64,
}

impl Spill {
    /// Makes the directory, which must not exist yet.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(directory: &Path, buckets: usize) -> Result<Self, Halt> {
        std::fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
        Ok(Self {
            directory: directory.to_owned(),
            buckets: (0..buckets.max(1)).map(|_| None).collect(),
            facts: 0,
            bytes: 0,
        })
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Keeps a fact.
    ///
    /// # Errors
    /// The disk is full, or away.
    pub fn keep(&mut self, group: &str, fact: &Fact) -> Result<(), Halt> {
        let index = (xxh3_64(group.as_bytes()) % self.buckets.len() as u64) as usize;
        let path = self.path(index);
        let mut bytes = Vec::with_capacity(512);
        // Writing to a vector cannot fail.
        let _ = minicbor::encode((group, fact), &mut bytes);
        let write = |writer: &mut BufWriter<File>| {
            writer.write_all(&(bytes.len() as u32).to_be_bytes())?;
            writer.write_all(&bytes)
        };
        let place = &mut self.buckets[index];
        let outcome = match place {
            Some(writer) => write(writer),
            None => File::create(&path).and_then(|file| {
                let writer = place.insert(BufWriter::with_capacity(BUFFER_BYTES, file));
                write(writer)
            }),
        };
        outcome.map_err(|error| failed(&path, &error))?;
        self.facts += 1;
        self.bytes += bytes.len() as u64 + 4;
        Ok(())
    }

    /// Takes a bucket out: its groups, each with its facts in the order in which they were kept.
    ///
    /// # Errors
    /// It cannot be read back.
    pub fn take(&mut self, index: usize) -> Result<BTreeMap<Group, Facts>, Halt> {
        let path = self.path(index);
        let Some(writer) = self.buckets[index].take() else {
            return Ok(BTreeMap::new());
        };
        let groups = writer
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(|_| read_groups(&path));
        let groups = groups.map_err(|error| failed(&path, &error))?;
        std::fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
        Ok(groups)
    }

    fn path(&self, index: usize) -> PathBuf {
        self.directory.join(format!("{index}.facts"))
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // Best effort: what is left lies in a directory for temporary files.
        for index in 0..self.buckets.len() {
            if self.buckets[index].take().is_some() {
                let _ = std::fs::remove_file(self.path(index));
            }
        }
        let _ = std::fs::remove_dir(&self.directory);
    }
}

fn read_groups(path: &Path) -> std::io::Result<BTreeMap<Group, Facts>> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut groups: BTreeMap<Group, Facts> = BTreeMap::new();
    let mut length = [0; 4];
    let mut bytes = Vec::new();
    loop {
        match reader.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(groups),
            Err(error) => return Err(error),
        }
        let damaged = || std::io::Error::other("it is damaged");
        let length = Some(u32::from_be_bytes(length)).filter(|length| *length <= FACT_BYTES_AT_MOST);
        bytes.resize(length.ok_or_else(damaged)? as usize, 0);
        reader.read_exact(&mut bytes)?;
        let (group, fact): (String, Fact) = minicbor::decode(&bytes).map_err(|_| damaged())?;
        groups.entry(group).or_default().push(fact);
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Halt {
    Halt::Failed(format!("{}: {error}", path.display()))
}
