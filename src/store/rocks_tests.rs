//! Tests on real files: damage, foreign stores, a full disk.

use super::*;
use crate::store::{Store, StoreMeta};
use tempfile::TempDir;

/// A value is `due:<ms>` or anything else; the key's rest is the customer.
fn due_of<'a>(key: &'a [u8], value: &[u8]) -> Option<(i64, &'a str)> {
    let due_ms = std::str::from_utf8(value).ok()?.strip_prefix("due:")?.parse().ok()?;
    Some((due_ms, std::str::from_utf8(key.get(1..)?).ok()?))
}

fn stores(directory: &Path) -> RocksStores {
    let mut settings = StoreSettings::new(directory);
    settings.block_cache_bytes = 1 << 20;
    settings.write_buffer_bytes = 1 << 20;
    RocksStores::new(settings, due_of).unwrap()
}

fn identity() -> StoreIdentity {
    StoreIdentity {
        cluster_id: "cluster".to_string(),
        state_topic: "forbear.state".to_string(),
        partition: 3,
        partition_count: 8,
    }
}

fn meta(changelog_position: i64) -> StoreMeta {
    StoreMeta {
        changelog_position,
        last_applied_ms: 1_000,
    }
}

fn key(number: i64) -> Vec<u8> {
    format!("\u{1}customer-{number:06}").into_bytes()
}

/// Write number n leaves the store at position n, with the keys 1 to n.
fn fill(store: &mut RocksStore, from: i64, to: i64) {
    for number in from..=to {
        let value = format!("value of {number} {}", "x".repeat(200)).into_bytes();
        store.write(&[(key(number), Some(value))], &meta(number)).unwrap();
    }
}

fn holds_exactly_its_own_position(store: &RocksStore, most: i64) -> i64 {
    let position = store.meta().map_or(0, |meta| meta.changelog_position);
    for number in 1..=most {
        assert_eq!(
            store.get(&key(number)).unwrap().is_some(),
            number <= position,
            "{number} at {position}"
        );
    }
    position
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

fn set_aside_in(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".set-aside-")).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_written_is_there_after_a_restart_with_its_meta() {
    let directory = TempDir::new().unwrap();
    let mut stores = stores(directory.path());
    let mut store = stores.open(&identity(), 0).unwrap();
    assert_eq!(store.meta(), None);
    fill(&mut store, 1, 3);
    store.write(&[(key(2), None)], &meta(4)).unwrap();
    drop(store);
    let store = stores.open(&identity(), 1_000).unwrap();
    assert_eq!(store.meta(), Some(meta(4)));
    assert!(store.get(&key(1)).unwrap().is_some());
    assert_eq!(store.get(&key(2)).unwrap(), None);
    assert_eq!(set_aside_in(directory.path()), Vec::<String>::new());
}

#[test]
fn due_hints_come_earliest_first_and_survive_a_restart_and_a_rewind() {
    let directory = TempDir::new().unwrap();
    let mut stores = stores(directory.path());
    let mut store = stores.open(&identity(), 0).unwrap();
    let due = |at: i64| Some(format!("due:{at}").into_bytes());
    store
        .write(&[(key(1), due(50)), (key(2), due(-7)), (key(3), due(900))], &meta(1))
        .unwrap();
    let hint = |at: i64, number: i64| (at, format!("customer-{number:06}"));
    assert_eq!(store.due(-8, 9).unwrap(), vec![]);
    assert_eq!(store.due(100, 9).unwrap(), vec![hint(-7, 2), hint(50, 1)]);
    assert_eq!(store.due(100, 1).unwrap(), vec![hint(-7, 2)]);
    store.forget_due(&[hint(-7, 2), hint(50, 1)]).unwrap();
    assert_eq!(store.due(100, 9).unwrap(), vec![]);
    // Earlier than anything that the scan remembers.
    store.write(&[(key(4), due(-100))], &meta(2)).unwrap();
    assert_eq!(store.due(100, 9).unwrap(), vec![hint(-100, 4)]);
    drop(store);
    let store = stores.open(&identity(), 0).unwrap();
    assert_eq!(store.due(i64::MAX, 9).unwrap(), vec![hint(-100, 4), hint(900, 3)]);
}

#[test]
fn a_customer_whose_head_is_deleted_is_named_by_no_hint_however_old() {
    fn due_of_a_head<'a>(key: &'a [u8], value: &[u8]) -> Option<(i64, &'a str)> {
        let (due_ms, _) = due_of(key, value)?;
        Some((due_ms, crate::store::keys::forgotten_by_deleting(key)?))
    }
    let directory = TempDir::new().unwrap();
    let mut stores = RocksStores::new(StoreSettings::new(directory.path()), due_of_a_head).unwrap();
    let mut store = stores.open(&identity(), 0).unwrap();
    let head = crate::customer::keys::head_key;
    let due = |at: i64| Some(format!("due:{at}").into_bytes());
    for at in [900, -7, 50] {
        let changes = [(head("erased"), due(at)), (head("kept"), due(at))];
        store.write(&changes, &meta(1)).unwrap();
    }
    store.write(&[(head("erased"), None)], &meta(2)).unwrap();
    let kept = |at: i64| (at, "kept".to_string());
    assert_eq!(store.due(i64::MAX, 99).unwrap(), [kept(-7), kept(50), kept(900)]);
}

#[test]
fn a_key_of_the_stores_own_kinds_is_refused_and_nothing_of_that_write_is_kept() {
    let directory = TempDir::new().unwrap();
    let mut store = stores(directory.path()).open(&identity(), 0).unwrap();
    let changes = [(key(1), Some(vec![1])), (vec![0xF1], Some(vec![2]))];
    assert!(matches!(
        store.write(&changes, &meta(1)),
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(store.get(&key(1)).unwrap(), None);
    assert_eq!(store.meta(), None);
}

#[test]
fn a_store_of_another_topic_or_too_old_is_set_aside_and_one_copy_is_kept() {
    let directory = TempDir::new().unwrap();
    let mut stores = stores(directory.path());
    fill(&mut stores.open(&identity(), 0).unwrap(), 1, 2);
    let other = StoreIdentity {
        state_topic: "other".to_string(),
        ..identity()
    };
    let mut store = stores.open(&other, 0).unwrap();
    assert_eq!(store.meta(), None);
    assert_eq!(store.get(&key(1)).unwrap(), None);
    assert!(set_aside_in(directory.path())[0].starts_with("3.set-aside-other-identity-"));
    fill(&mut store, 1, 2);
    drop(store);
    assert_eq!(stores.open(&other, 1_001).unwrap().meta(), None);
    let kept = set_aside_in(directory.path());
    assert_eq!(kept.len(), 1);
    assert!(kept[0].starts_with("3.set-aside-too-old-"), "{kept:?}");
}

#[test]
fn a_store_set_aside_is_told_of_and_forgotten_after_a_day() {
    let directory = TempDir::new().unwrap();
    let mut stores = stores(directory.path());
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = told.clone();
    stores.when_set_aside(move |partition, why| lock(&telling).push((partition, why.to_string())));
    drop(stores.open(&identity(), 0).unwrap());
    stores.set_aside(3, "test").unwrap();
    assert_eq!(*lock(&told), [(3, "test".to_string())]);
    stores.sweep().unwrap();
    let kept = set_aside_in(directory.path()).pop().unwrap();
    let old = format!("3.set-aside-test-{}", unix_ms() - KEEP_SET_ASIDE_MS - 1);
    fs::rename(directory.path().join(kept), directory.path().join(old)).unwrap();
    fs::create_dir(directory.path().join("3.set-aside-not-ours")).unwrap();
    stores.sweep().unwrap();
    assert_eq!(set_aside_in(directory.path()), ["3.set-aside-not-ours"]);
}

#[test]
fn an_open_store_is_never_moved() {
    let directory = TempDir::new().unwrap();
    let mut stores = stores(directory.path());
    let store = stores.open(&identity(), 0).unwrap();
    assert!(matches!(stores.set_aside(3, "test"), Err(StoreError::Unavailable(_))));
    drop(store);
    stores.set_aside(3, "a test/..").unwrap();
    assert!(set_aside_in(directory.path())[0].starts_with("3.set-aside-a-test----"));
    stores.set_aside(3, "nothing is there").unwrap();
}

#[test]
fn a_second_owner_of_the_directory_waits_and_nothing_is_set_aside() {
    let directory = TempDir::new().unwrap();
    let mut first = stores(directory.path());
    fill(&mut first.open(&identity(), 0).unwrap(), 1, 2);
    let mut second = stores(directory.path());
    let error = second.open(&identity(), 0).err().unwrap();
    assert!(
        matches!(&error, StoreError::Unavailable(text) if text.contains("in use by another process")),
        "{error}"
    );
    drop(first);
    assert_eq!(second.open(&identity(), 0).unwrap().meta(), Some(meta(2)));
    assert_eq!(set_aside_in(directory.path()), Vec::<String>::new());
}

#[test]
fn a_partition_that_another_worker_still_holds_is_unavailable() {
    let directory = TempDir::new().unwrap();
    let stores = stores(directory.path());
    let held = stores.clone().open(&identity(), 0).unwrap();
    assert!(matches!(
        stores.clone().open(&identity(), 0),
        Err(StoreError::Unavailable(_))
    ));
    drop(held);
    assert!(stores.clone().open(&identity(), 0).is_ok());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = RocksStores::new(StoreSettings::new(file.join("data")), due_of)
        .err()
        .unwrap();
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[test]
fn a_log_cut_or_flipped_anywhere_leaves_a_prefix_of_history_with_its_own_meta() {
    let directory = TempDir::new().unwrap();
    fill(&mut stores(directory.path()).open(&identity(), 0).unwrap(), 1, 40);
    let database = directory.path().join("3");
    let log = files(&database, ".log").pop().unwrap();
    let whole: Vec<(PathBuf, Vec<u8>)> = files(&database, "")
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    let length = fs::metadata(&log).unwrap().len();
    let mut positions = std::collections::BTreeSet::new();
    for step in 0..24 {
        fs::remove_dir_all(&database).unwrap();
        fs::create_dir(&database).unwrap();
        for (path, bytes) in &whole {
            fs::write(path, bytes).unwrap();
        }
        let at = length * step / 24;
        if step % 2 == 0 {
            File::options().write(true).open(&log).unwrap().set_len(at).unwrap();
        } else {
            flip(&log, usize::try_from(at).unwrap());
        }
        let mut stores = stores(directory.path());
        let mut store = stores.open(&identity(), 0).unwrap();
        let position = holds_exactly_its_own_position(&store, 40);
        positions.insert(position);
        fill(&mut store, position + 1, 40);
        drop(store);
        assert_eq!(
            holds_exactly_its_own_position(&stores.open(&identity(), 0).unwrap(), 40),
            40
        );
    }
    assert!(
        positions.len() > 5 && positions.iter().all(|position| *position < 40),
        "{positions:?}"
    );
}

#[test]
fn a_flipped_byte_in_a_table_is_reported_as_corrupt_or_does_not_matter() {
    let directory = TempDir::new().unwrap();
    let mut filled = stores(directory.path());
    let mut store = filled.open(&identity(), 0).unwrap();
    fill(&mut store, 1, 300);
    store.database().flush().unwrap();
    drop(store);
    drop(filled);
    let table = files(&directory.path().join("3"), ".sst").pop().unwrap();
    let whole = fs::read(&table).unwrap();
    let mut corrupt = 0;
    for step in 0..40 {
        fs::write(&table, &whole).unwrap();
        flip(&table, whole.len() * step / 40);
        let mut stores = stores(directory.path());
        let store = stores.open(&identity(), 0).unwrap();
        if store.meta().is_none() {
            // Found at opening: set aside. Put the directory back for the next step.
            corrupt += 1;
            drop(store);
            let kept = directory.path().join(&set_aside_in(directory.path())[0]);
            fs::remove_dir_all(directory.path().join("3")).unwrap();
            fs::rename(kept, directory.path().join("3")).unwrap();
            continue;
        }
        for number in 1..=300 {
            match store.get(&key(number)) {
                Ok(Some(value)) => assert!(value.starts_with(format!("value of {number} ").as_bytes())),
                Ok(None) => panic!("{number} vanished without an error"),
                Err(StoreError::Corrupt(_)) => corrupt += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(corrupt > 0);
}

#[test]
fn a_database_without_its_manifest_or_tables_is_set_aside() {
    for ending in ["MANIFEST-", ".sst", "CURRENT"] {
        let directory = TempDir::new().unwrap();
        let mut stores = stores(directory.path());
        let mut store = stores.open(&identity(), 0).unwrap();
        fill(&mut store, 1, 50);
        store.database().flush().unwrap();
        drop(store);
        for path in files(&directory.path().join("3"), "") {
            if path.to_string_lossy().contains(ending) {
                fs::remove_file(path).unwrap();
            }
        }
        let store = stores.open(&identity(), 0).unwrap();
        assert_eq!(store.meta(), None, "{ending}");
        assert_eq!(store.get(&key(1)).unwrap(), None, "{ending}");
    }
}

#[test]
fn figures_cover_the_open_stores_only() {
    let directory = TempDir::new().unwrap();
    let stores = stores(directory.path());
    assert!(stores.figures().is_empty());
    let mut store = stores.clone().open(&identity(), 0).unwrap();
    fill(&mut store, 1, 100);
    let figures = stores.figures();
    assert_eq!(figures[0].partition, 3);
    assert!(
        figures[0].disk_bytes > 20_000 && figures[0].memtable_bytes > 0 && figures[0].estimated_keys >= 100,
        "{figures:?}"
    );
    drop(store);
    assert!(stores.figures().is_empty());
}

/// Needs root (to mount a small file system); says so where it cannot run.
#[test]
fn a_full_disk_is_unavailable_and_the_store_goes_on_where_it_was_when_there_is_space() {
    let directory = TempDir::new().unwrap();
    let mount = |arguments: &[&str]| {
        let status = std::process::Command::new(arguments[0])
            .args(&arguments[1..])
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let at = directory.path().to_str().unwrap().to_string();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", &at]) {
        println!("skipped: a small tmpfs cannot be mounted here (not root)");
        return;
    }
    let outcome = std::panic::catch_unwind(|| full_disk(Path::new(&at)));
    assert!(mount(&["umount", &at]));
    outcome.unwrap();
}

fn full_disk(directory: &Path) {
    let mut stores = stores(directory);
    let mut store = stores.open(&identity(), 0).unwrap();
    fill(&mut store, 1, 100);
    let ballast = directory.join("ballast");
    let mut bytes = 8 << 20;
    while bytes > 0 {
        use std::io::Write;
        let mut file = File::options().create(true).append(true).open(&ballast).unwrap();
        if file.write_all(&vec![0; bytes]).is_err() {
            bytes /= 2;
        }
    }
    let mut written = 100;
    let error = loop {
        let value = Some(vec![7; 4000]);
        match store.write(&[(key(written + 1), value)], &meta(written + 1)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000);
    };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(matches!(
        store.write(&[], &meta(written + 1)),
        Err(StoreError::Unavailable(_))
    ));
    drop(store);
    // Still full: either it cannot be opened, or it opens as it was; it is never set aside.
    match stores.open(&identity(), 0) {
        Ok(store) => assert!(store.meta().is_some()),
        Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
    }
    fs::remove_file(&ballast).unwrap();
    let mut store = stores.open(&identity(), 0).unwrap();
    let position = holds_exactly_its_own_position(&store, written);
    assert_eq!(position, written);
    fill(&mut store, position + 1, position + 50);
    assert_eq!(set_aside_in(directory), Vec::<String>::new());
}
