//! Tests of the journal and its two disks.

use super::*;
use fullmetal_proto::deploy::Ended;
use fullmetal_proto::wire::ReportState;
use proptest::prelude::*;
use std::fs;

fn record(n: u64) -> Record {
    let mut record = Record::default();
    record.next_counter = n;
    let ended = Ended { action: n, state: ReportState::Succeeded };
    record.ended = vec![ended; (n % 7) as usize];
    record
}

fn on(disk: impl Disk) -> Journal<impl Disk> {
    Journal::on(disk, Path::new("/var/lib/fullmetal/journal"))
}

/// What every disk must do; power cuts are another matter.
fn conforms(disk: &mut impl Disk) {
    assert_eq!(disk.read("a").unwrap(), None);
    assert!(disk.sync("a").is_err() && disk.rename("a", "b").is_err());
    disk.write("a", b"one").unwrap();
    disk.write("a", b"1").unwrap();
    assert_eq!(disk.read("a").unwrap().unwrap(), b"1");
    disk.sync("a").unwrap();
    disk.write("b", b"two").unwrap();
    disk.rename("a", "b").unwrap();
    disk.sync_names().unwrap();
    assert_eq!((disk.read("a").unwrap(), disk.read("b").unwrap().unwrap()), (None, b"1".to_vec()));
    disk.write("c", &vec![0; FILE_LEN_MAX]).unwrap();
    assert_eq!(disk.read("c").unwrap().unwrap().len(), FILE_LEN_MAX);
    disk.write("c", &vec![0; FILE_LEN_MAX + 1]).unwrap();
    assert_eq!(disk.read("c").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
}

fn keeps_records(disk: impl Disk) {
    let mut journal = on(disk);
    assert_eq!(journal.load().unwrap(), None);
    for n in 1..5 {
        journal.save(&record(n)).unwrap();
        assert_eq!(journal.load().unwrap(), Some(record(n)));
    }
}

#[test]
fn both_disks_conform() {
    let directory = tempfile::tempdir().unwrap();
    conforms(&mut DirectoryDisk::open(&directory.path().join("x/conforms")).unwrap());
    keeps_records(DirectoryDisk::open(&directory.path().join("x/records")).unwrap());
    conforms(&mut MemoryDisk::default());
    keeps_records(MemoryDisk::default());
}

fn survivors() -> impl Iterator<Item = Survivors> {
    let data = |names| [0, 50, 100].map(|data_percent| Survivors { names, data_percent });
    [false, true].into_iter().flat_map(data)
}

/// Saves three records and cuts before each step; the records that could be read afterwards, per save.
fn cut_everywhere<D: Disk>(wrap: fn(MemoryDisk) -> D, unwrap: fn(D) -> MemoryDisk) -> Result<u32, String> {
    let mut cuts = 0;
    for steps in 0..=12 {
        let mut disk = MemoryDisk::default();
        disk.stop_after(steps);
        let mut journal = Journal::on(wrap(disk), Path::new("/j"));
        let saved = (1..=3).take_while(|n| journal.save(&record(*n)).is_ok()).count() as u64;
        let disk = unwrap(journal.disk);
        for survivors in survivors() {
            let found = on(disk.cut(survivors)).load().map_err(|e| format!("{steps} {survivors:?}: {e}"))?;
            let found = found.map_or(0, |r| r.next_counter);
            if found != saved && found != saved + 1 {
                return Err(format!("{steps} {survivors:?}: saved {saved}, found {found}"));
            }
            let mut after = on(disk.cut(survivors));
            after.save(&record(9)).map_err(|e| e.to_string())?;
            assert_eq!(after.load().unwrap(), Some(record(9)), "the next save does not get through");
            cuts += 1;
        }
    }
    Ok(cuts)
}

#[test]
fn a_cut_at_any_point_leaves_the_old_or_the_new_record_whole() {
    assert_eq!(cut_everywhere(|d| d, |d| d), Ok(13 * 6));
}

/// A disk that does not do one of the syncs.
struct Forgetful<const DATA: bool>(MemoryDisk);

impl<const DATA: bool> Disk for Forgetful<DATA> {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.0.read(name)
    }
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.write(name, bytes)
    }
    fn sync(&mut self, name: &str) -> io::Result<()> {
        if DATA { Ok(()) } else { self.0.sync(name) }
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn sync_names(&mut self) -> io::Result<()> {
        if DATA { self.0.sync_names() } else { Ok(()) }
    }
}

#[test]
fn the_cuts_find_a_forgotten_sync_of_content_and_of_names() {
    let damaged = cut_everywhere(Forgetful::<true>, |d| d.0).unwrap_err();
    assert!(damaged.contains("damaged"), "{damaged}");
    let lost = cut_everywhere(Forgetful::<false>, |d| d.0).unwrap_err();
    assert!(lost.contains("saved 1, found 0"), "{lost}");
}

#[test]
fn a_failed_save_leaves_the_old_record_and_the_next_one_gets_through() {
    for steps in 4..8 {
        let mut disk = MemoryDisk::default();
        disk.stop_after(steps);
        let mut journal = on(disk);
        journal.save(&record(1)).unwrap();
        let error = journal.save(&record(2)).unwrap_err().to_string();
        assert!(error.contains("/var/lib/fullmetal/journal") && error.contains("disk"), "{error}");
        let found = journal.load().unwrap().unwrap();
        assert!(found == record(1) || found == record(2));
    }
}

#[test]
fn a_journal_has_one_agent_and_any_number_of_lookers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    assert_eq!(peek(&path).unwrap(), None);
    let mut journal = Journal::open(&path).unwrap();
    journal.save(&record(3)).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    assert_eq!(peek(&path).unwrap(), Some(record(3)));
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().load().unwrap(), Some(record(3)));
}

#[test]
fn damage_names_the_file_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(directory.path()).unwrap();
    journal.save(&record(3)).unwrap();
    let file = directory.path().join(RECORD_NAME);
    let good = fs::read(&file).unwrap();
    for (bytes, problem) in [
        (Vec::new(), "it is too short"),
        (good[..good.len() - 1].to_vec(), "its checksum does not match"),
        ([b"X", &good[1..]].concat(), "it does not begin like a journal"),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = journal.load().unwrap_err().to_string();
        let expected = format!("journal {} is damaged: {problem}; apps go on", file.display());
        assert!(error.starts_with(&expected) && error.contains("move the file away"), "{error}");
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let error = journal.load().unwrap_err().to_string();
    assert!(error.starts_with(&format!("reading {}: ", file.display())), "{error}");
}

#[test]
fn a_newer_agents_record_is_no_damage() {
    let mut body = Record::default().encode().unwrap();
    let key = b"version";
    let at = body.windows(key.len()).position(|w| w == key).unwrap() + key.len();
    body[at] = 9;
    let mut disk = MemoryDisk::default();
    disk.write(RECORD_NAME, &[MAGIC.as_slice(), Digest::of(&body).as_bytes(), &body].concat()).unwrap();
    let error = on(disk).load().unwrap_err();
    let unknown = RecordError::UnknownVersion { found: 9 };
    assert!(matches!(&error, JournalError::Record { source, .. } if *source == unknown), "{error}");
}

proptest! {
    #[test]
    fn no_flipped_bit_goes_unnoticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encode(&record(5)).unwrap();
        let i = at.index(bytes.len());
        bytes[i] ^= 1 << bit;
        prop_assert!(decode(&bytes, PathBuf::from("/j/record")).is_err(), "byte {}", i);
    }
}

#[test]
fn an_open_journal_is_in_use_and_asking_does_not_keep_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    assert!(!DirectoryDisk::is_in_use(&path).unwrap());
    let journal = Journal::open(&path).unwrap();
    assert!(DirectoryDisk::is_in_use(&path).unwrap());
    drop(journal);
    assert!(!DirectoryDisk::is_in_use(&path).unwrap());
    Journal::open(&path).unwrap();
}
