//! Archives that are not restored: damaged, cut off, or made by somebody who means harm.

use std::fs;
use std::io::Read;

use data_encoding::HEXLOWER;
use diesel::connection::SimpleConnection;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::{Archive, Entries, files_in, unpacked, with_a_sold_key};
use crate::support::database::TestDatabase;
use crate::support::process::{ServerProcess, run_refused};

/// That an archive is refused in one line, and that nothing of it stays.
#[track_caller]
fn is_refused(bytes: &[u8], what: &str) -> String {
    let archive = Archive::new();
    fs::write(&archive.path, bytes).unwrap();
    let other = TestDatabase::sqlite();
    let message = run_refused(&other, &["restore", archive.text()]);
    assert_eq!(
        files_in(other.folder.path()),
        [""; 0],
        "{what} left something behind: {message}"
    );
    message
}

#[test]
fn a_damaged_or_truncated_archive_is_refused_and_leaves_nothing() {
    let database = TestDatabase::sqlite();
    with_a_sold_key(&database);
    let good = fs::read(&Archive::of(&database).path).unwrap();
    for part in 0..12 {
        let length = good.len() * part / 12;
        is_refused(&good[..length], &format!("the first {length} bytes"));
    }
    is_refused(&good[..good.len() - 1], "all but the last byte");
    let content = gunzipped(&good).unwrap();
    for part in 0..48 {
        let place = (good.len() - 1) * part / 47;
        let mut bad = good.clone();
        bad[place] ^= 0x20;
        // Some bits mean nothing: where all around is zero, it does not matter from how far back zeros are
        // repeated.
        if gunzipped(&bad).as_ref() != Some(&content) {
            is_refused(&bad, &format!("another byte at {place}"));
        }
    }
    is_refused(&[good.as_slice(), b"x"].concat(), "a byte too many");
    is_refused(&[good.as_slice(), good.as_slice()].concat(), "two archives");
    is_refused(b"no archive at all", "a text");
}

/// What a gzip file holds, if it is whole.
fn gunzipped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut content).ok()?;
    Some(content)
}

#[test]
fn a_byte_that_was_changed_before_it_was_packed_is_found_by_the_checksums() {
    let database = TestDatabase::sqlite();
    with_a_sold_key(&database);
    let good = unpacked(&Archive::of(&database).path);
    for number in 1..good.len() {
        for part in 0..6 {
            let mut entries = good.clone();
            let place = (entries[number].2.len() - 1) * part / 5;
            entries[number].2[place] ^= 1;
            let message = is_refused(
                &packed(&entries),
                &format!("byte {place} of {}", good[number].0),
            );
            assert!(
                message.contains(&good[number].0) && message.contains("checksum"),
                "{message}"
            );
        }
    }
}

/// Packs entries whatever they are: names are written as they stand, into the header itself.
fn packed(entries: &Entries) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o777);
        if *kind == EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        archive.append(&header, content.as_slice()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn edit_manifest(entries: &mut Entries, edit: impl FnOnce(&mut Value)) {
    let mut manifest = serde_json::from_slice(&entries[0].2).unwrap();
    edit(&mut manifest);
    entries[0].2 = serde_json::to_vec(&manifest).unwrap();
}

/// Puts other content in the place of a file, with the right checksum.
fn exchange(entries: &mut Entries, number: usize, content: Vec<u8>) {
    edit_manifest(entries, |manifest| {
        manifest["files"][number - 1]["bytes"] = json!(content.len());
        manifest["files"][number - 1]["sha256"] = json!(HEXLOWER.encode(&Sha256::digest(&content)));
    });
    entries[number].2 = content;
}

/// An installation's archive, unpacked.
fn good() -> Entries {
    let database = TestDatabase::sqlite();
    with_a_sold_key(&database);
    unpacked(&Archive::of(&database).path)
}

/// That an archive with this change is refused, and why.
#[track_caller]
fn changed(good: &Entries, what: &str, change: impl FnOnce(&mut Entries)) -> String {
    let mut entries = good.clone();
    change(&mut entries);
    is_refused(&packed(&entries), what)
}

#[test]
fn an_archive_that_would_write_elsewhere_is_refused_and_leaves_nothing() {
    let good = good();
    for name in [
        "../outside",
        "/tmp/outside",
        "keys/../../outside",
        "keys/signing-../x.pem",
    ] {
        changed(&good, name, |entries| {
            entries[3].0 = name.to_owned();
            edit_manifest(entries, |manifest| {
                manifest["files"][2]["name"] = json!(name);
            });
        });
        changed(&good, name, |entries| entries[3].0 = name.to_owned());
    }
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::GNULongName,
        EntryType::GNUSparse,
        EntryType::XHeader,
    ] {
        let what = format!("{kind:?}");
        changed(&good, &what, |entries| entries[3].1 = kind);
        changed(&good, &what, |entries| {
            entries.insert(1, ("keys".into(), kind, Vec::new()));
        });
    }
}

#[test]
fn an_archive_with_more_less_or_other_than_it_should_have_is_refused_and_leaves_nothing() {
    let good = good();
    assert_eq!(
        (good[0].0.as_str(), good[1].0.as_str()),
        ("manifest.json", "countersign.db")
    );
    changed(&good, "a file too many", |entries| {
        entries.push(("extra".into(), EntryType::Regular, b"x".to_vec()));
    });
    changed(&good, "a file twice", |entries| {
        entries.push(good[2].clone());
    });
    changed(&good, "another order", |entries| entries.swap(1, 2));
    changed(&good, "no manifest", |entries| drop(entries.remove(0)));
    changed(&good, "no database", |entries| drop(entries.remove(1)));
    changed(&good, "no key", |entries| drop(entries.pop()));
    changed(&good, "nothing", Vec::clear);
    changed(&good, "an unknown member", |entries| {
        edit_manifest(entries, |manifest| manifest["run"] = json!("x"));
    });
    changed(&good, "a manifest too large", |entries| {
        entries[0].2 = vec![b' '; 2 << 20];
    });
    let large = changed(&good, "a database larger than any disk", |entries| {
        edit_manifest(entries, |manifest| {
            manifest["files"][0]["bytes"] = json!(1_u64 << 60);
        });
    });
    assert!(large.contains("are free"), "{large}");
    let format = changed(&good, "another format", |entries| {
        edit_manifest(entries, |manifest| manifest["format"] = json!(2));
    });
    assert!(format.contains("the version that made it"), "{format}");
    let kind = changed(&good, "another kind", |entries| {
        edit_manifest(entries, |manifest| {
            manifest["database"] = json!("postgres");
            manifest["files"].as_array_mut().unwrap().remove(0);
        });
        entries.remove(1);
    });
    assert!(kind.contains("PostgreSQL"), "{kind}");
    let schema = changed(&good, "another schema", |entries| {
        edit_manifest(entries, |manifest| {
            manifest["schema"] = json!("20200101000000");
        });
    });
    assert!(schema.contains("schema"), "{schema}");
}

#[test]
fn keys_that_do_not_fit_and_a_database_that_is_damaged_or_newer_are_refused_with_right_checksums_too()
 {
    let database = TestDatabase::sqlite();
    with_a_sold_key(&database);
    let good = unpacked(&Archive::of(&database).path);
    let vault = good
        .iter()
        .position(|(name, ..)| name == "keys/vault.key")
        .unwrap();
    let stranger = TestDatabase::sqlite();
    assert!(ServerProcess::start(&stranger).terminate().0.success());

    let mut entries = good.clone();
    exchange(
        &mut entries,
        vault,
        fs::read(stranger.keys_dir().join("vault.key")).unwrap(),
    );
    let message = is_refused(&packed(&entries), "another vault");
    assert!(message.contains("do not fit"), "{message}");

    let mut entries = good.clone();
    let mut damaged = good[1].2.clone();
    damaged[8192..16_384].fill(0x5a);
    exchange(&mut entries, 1, damaged);
    is_refused(&packed(&entries), "a damaged database");
    exchange(&mut entries, 1, b"no database".repeat(1000));
    is_refused(&packed(&entries), "no database");

    let newer = "INSERT INTO __diesel_schema_migrations (version, run_on) \
        VALUES ('99991231000000', CURRENT_TIMESTAMP)";
    database.connect().batch_execute(newer).unwrap();
    let archive = Archive::of(&database);
    let message = is_refused(&fs::read(&archive.path).unwrap(), "a newer schema");
    assert!(message.contains("newer version"), "{message}");
}
