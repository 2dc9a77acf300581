//! What is done to a state directory while its process is down.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Removes what is in a folder; the folder itself stays (it may be a disk of its own).
pub fn empty(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a state directory").flatten() {
        let path = entry.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.expect("a part of the state is removed");
    }
}

/// The files of the partitions' databases that end so and hold something, with the number of their partition.
pub fn database_files(state: &Path, extension: &str) -> Vec<(i64, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(state).expect("a state directory").flatten() {
        // What was set aside, and the lock, have no number for a name.
        let Some(partition) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        for file in fs::read_dir(entry.path()).expect("a database").flatten() {
            let path = file.path();
            let fits = path.extension().is_some_and(|found| found == extension);
            if fits && file.metadata().is_ok_and(|metadata| metadata.len() > 0) {
                found.push((partition, path));
            }
        }
    }
    found.sort();
    found
}

/// Flips every bit of some bytes of each of these files. Answers whose partitions they are.
pub fn flip(files: &[(i64, PathBuf)], random: &mut ChaCha8Rng) -> BTreeSet<i64> {
    for (_, path) in files {
        let mut bytes = fs::read(path).expect("a file of a database");
        let count = random.random_range(1..=8).min(bytes.len());
        for at in rand::seq::index::sample(random, bytes.len(), count) {
            bytes[at] = !bytes[at];
        }
        fs::write(path, bytes).expect("a file of a database is written");
    }
    files.iter().map(|(partition, _)| *partition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn bytes_are_flipped_in_the_files_of_a_kind_and_in_no_others() {
        let root = tempfile::tempdir().expect("a folder");
        for partition in ["0", "3", "3.set-aside-corrupt-1"] {
            let database = root.path().join(partition);
            fs::create_dir(&database).expect("a folder");
            for name in ["a.sst", "b.log"] {
                fs::write(database.join(name), [5; 100]).expect("a file");
            }
            fs::write(database.join("empty.sst"), []).expect("a file");
        }
        let files = database_files(root.path(), "sst");
        let numbers: Vec<i64> = files.iter().map(|(partition, _)| *partition).collect();
        assert_eq!(numbers, [0, 3]);
        let flipped = flip(&files, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(flipped, BTreeSet::from([0, 3]));
        let changed = |path: &str| fs::read(root.path().join(path)).expect("a file") != [5; 100];
        assert!(changed("0/a.sst") && changed("3/a.sst"));
        assert!(!changed("0/b.log") && !changed("3.set-aside-corrupt-1/a.sst"));
        empty(root.path());
        assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 0);
    }
}
