//! Backups are whole, are made beside a server under load, and are restored only whole.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use countersign_client::{PublicKeys, Verifier};
use data_encoding::HEXLOWER;
use diesel::connection::SimpleConnection;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::support::database::{TestDatabase, number, texts};
use crate::support::process::{ServerProcess, countersign, run_ok, run_refused};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// An archive in a folder of its own, which tests can look at for what should not be there.
struct Archive {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Archive {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.tar.gz");
        Self { folder, path }
    }

    fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn of(database: &TestDatabase) -> Self {
        let archive = Self::new();
        run_ok(database, &["backup", archive.text()]);
        assert_eq!(
            files_in(archive.folder.path()),
            ["backup.tar.gz"],
            "nothing else stays there"
        );
        archive
    }
}

fn files_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// How many rows each table has.
fn counts(database: &TestDatabase) -> Vec<(String, i64)> {
    let mut conn = database.connect();
    let query = "SELECT name AS text FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    texts(&mut conn, query)
        .into_iter()
        .map(|table| {
            let rows = number(
                &mut conn,
                &format!("SELECT COUNT(*) AS number FROM {table}"),
            );
            (table, rows)
        })
        .collect()
}

/// An installation with a key that was sold and is active once; returns the key and the token.
fn with_a_sold_key(database: &TestDatabase) -> (String, String) {
    let server = ServerProcess::start(database);
    let admin = server.admin(database);
    let sold = runtime().block_on(async {
        admin
            .make_stocked_product("editor", "", &["K1", "K2", "K3"])
            .await;
        let (_, key) = admin.buy("1", "editor").await;
        let token = admin.activate(&key, "m1").await.ok()["token"]
            .as_str()
            .unwrap()
            .to_owned();
        (key, token)
    });
    assert!(server.terminate().0.success());
    sold
}

/// That a restored installation knows the key and the token, and goes on selling.
fn goes_on(database: &TestDatabase, key: &str, token: &str) {
    let server = ServerProcess::start(database);
    let admin = server.admin(database);
    runtime().block_on(async {
        let software = server.software();
        assert_eq!(
            software.activate(key, "after-the-restore").await.status,
            201
        );
        let renewed = software
            .post("/v1/activations/renew", json!({ "token": token }))
            .await
            .ok();
        assert_eq!(renewed["installation_id"], "m1");
        let jwks = software.get("/.well-known/jwks.json").await.text;
        let claims = Verifier::new(PublicKeys::from_jwks(&jwks).unwrap())
            .product("editor")
            .installation_id("m1")
            .verify(token)
            .unwrap();
        assert_eq!(claims.aud, "editor");
        let (_, next) = admin.buy("after", "editor").await;
        assert_ne!(next, key);
    });
    assert!(server.terminate().0.success());
}

#[test]
fn a_backup_made_beside_a_server_under_load_is_restored_elsewhere_and_goes_on() {
    let database = TestDatabase::sqlite();
    let server = ServerProcess::start(&database);
    let admin = server.admin(&database);
    let runtime = runtime();
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let (key, token) = runtime.block_on(async {
        admin
            .make_stocked_product("editor", "", &["K1", "K2", "K3"])
            .await;
        let (_, key) = admin.buy("1", "editor").await;
        let token = admin.activate(&key, "m1").await.ok()["token"]
            .as_str()
            .unwrap()
            .to_owned();
        (key, token)
    });
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (software, key) = (server.software(), key.clone());
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            runtime.spawn(async move {
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer = software.activate(&key, &format!("m{client}-{turn}")).await;
                    assert_eq!(answer.status, 201, "{}", answer.text);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut made = Vec::new();
    for _ in 0..3 {
        let before = answered.load(Ordering::SeqCst);
        let archive = Archive::of(&database);
        while answered.load(Ordering::SeqCst) == before {
            std::thread::yield_now();
        }
        made.push((before, archive));
    }
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for client in clients {
            client.await.unwrap();
        }
    });
    let last = Archive::of(&database);
    assert!(server.terminate().0.success());
    assert_eq!(
        fs::metadata(&last.path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    for (before, archive) in &made {
        let other = TestDatabase::sqlite();
        run_ok(&other, &["restore", archive.text()]);
        let there = "SELECT COUNT(*) AS number FROM activations";
        let there = number(&mut other.connect(), there);
        assert!(
            usize::try_from(there).unwrap() > *before,
            "what was answered before is in it"
        );
        other.check_integrity();
    }
    let other = TestDatabase::sqlite();
    run_ok(&other, &["restore", last.text()]);
    assert_eq!(counts(&other), counts(&database));
    let file = other.folder.path().join("data/countersign.db");
    assert_eq!(
        fs::metadata(file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for name in files_in(&other.keys_dir()) {
        let own = fs::read(database.keys_dir().join(&name)).unwrap();
        assert_eq!(fs::read(other.keys_dir().join(&name)).unwrap(), own);
        let mode = fs::metadata(other.keys_dir().join(&name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(files_in(other.folder.path()), ["data", "keys"]);
    goes_on(&other, &key, &token);
    other.check_integrity();
}

#[test]
fn a_backup_without_a_server_has_what_a_crash_left_and_every_key_since_the_first() {
    let database = TestDatabase::sqlite();
    let (key, token) = with_a_sold_key(&database);
    run_ok(&database, &["keys", "rotate"]);
    run_ok(&database, &["keys", "rotate"]);
    let server = ServerProcess::start(&database);
    server.admin(&database);
    server.kill();
    let archive = Archive::of(&database);
    let other = TestDatabase::sqlite();
    let said = run_ok(&other, &["restore", archive.text()]);
    assert!(said.contains("5 key files"), "{said}");
    assert_eq!(counts(&other), counts(&database));
    goes_on(&other, &key, &token);
}

#[test]
fn a_file_of_the_name_is_replaced_only_when_asked_to_and_a_failed_backup_leaves_it() {
    let database = TestDatabase::sqlite();
    let archive = Archive::new();
    let nothing = run_refused(&database, &["backup", archive.text()]);
    assert!(nothing.contains("there is no database"), "{nothing}");
    assert_eq!(files_in(archive.folder.path()), [""; 0]);
    assert_eq!(fs::read_dir(database.folder.path()).unwrap().count(), 0);
    run_ok(&database, &["migrate"]);
    let nothing = run_refused(&database, &["backup", archive.text()]);
    assert!(nothing.contains("before the first start"), "{nothing}");
    with_a_sold_key(&database);

    fs::write(&archive.path, "something of value").unwrap();
    let refused = run_refused(&database, &["backup", archive.text()]);
    assert!(refused.contains("--force"), "{refused}");
    fs::rename(
        database.keys_dir().join("vault.key"),
        database.folder.path().join("away"),
    )
    .unwrap();
    let refused = run_refused(&database, &["backup", archive.text(), "--force"]);
    assert!(refused.contains("vault.key"), "{refused}");
    assert_eq!(fs::read(&archive.path).unwrap(), b"something of value");
    assert_eq!(files_in(archive.folder.path()), ["backup.tar.gz"]);
    fs::rename(
        database.folder.path().join("away"),
        database.keys_dir().join("vault.key"),
    )
    .unwrap();
    run_ok(&database, &["backup", archive.text(), "--force"]);
    run_ok(&TestDatabase::sqlite(), &["restore", archive.text()]);
}

#[test]
fn nothing_is_restored_over_anything() {
    let database = TestDatabase::sqlite();
    with_a_sold_key(&database);
    let archive = Archive::of(&database);
    let before = counts(&database);
    let refused = run_refused(&database, &["restore", archive.text()]);
    assert!(
        refused.contains("countersign.db is there already"),
        "{refused}"
    );
    assert_eq!(counts(&database), before);

    for name in [
        "data/countersign.db-wal",
        "keys/vault.key",
        "keys/signing-x.pem",
    ] {
        let other = TestDatabase::sqlite();
        let file = other.folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "mine").unwrap();
        let refused = run_refused(&other, &["restore", archive.text()]);
        assert!(
            refused.contains(name) && refused.contains("there already"),
            "{refused}"
        );
        assert_eq!(
            files_in(file.parent().unwrap()),
            [file.file_name().unwrap().to_str().unwrap()]
        );
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }
}

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

type Entries = Vec<(String, EntryType, Vec<u8>)>;

fn unpacked(archive: &Path) -> Entries {
    let mut archive = tar::Archive::new(GzDecoder::new(fs::File::open(archive).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let name = entry.path().unwrap().display().to_string();
        (name, entry.header().entry_type(), content)
    });
    entries.collect()
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

#[test]
fn an_archive_that_means_harm_is_refused_and_leaves_nothing() {
    let database = TestDatabase::sqlite();
    with_a_sold_key(&database);
    let good = unpacked(&Archive::of(&database).path);
    let names: Vec<&str> = good.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names[..3], ["manifest.json", "countersign.db", names[2]]);
    let try_it = |what: &str, change: &dyn Fn(&mut Entries)| {
        let mut entries = good.clone();
        change(&mut entries);
        is_refused(&packed(&entries), what)
    };
    let regular = EntryType::Regular;
    for name in [
        "../outside",
        "/tmp/outside",
        "keys/../../outside",
        "keys/signing-../x.pem",
    ] {
        try_it(name, &|entries| {
            entries[3].0 = name.to_owned();
            edit_manifest(entries, |manifest| {
                manifest["files"][2]["name"] = json!(name)
            });
        });
        try_it(name, &|entries| entries[3].0 = name.to_owned());
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
        try_it(&format!("{kind:?}"), &|entries| entries[3].1 = kind);
        try_it(&format!("{kind:?}"), &|entries| {
            entries.insert(1, ("keys".into(), kind, Vec::new()))
        });
    }
    try_it("a file too many", &|entries| {
        entries.push(("extra".into(), regular, b"x".to_vec()))
    });
    try_it("a file twice", &|entries| entries.push(good[2].clone()));
    try_it("another order", &|entries| entries.swap(1, 2));
    try_it("no manifest", &|entries| drop(entries.remove(0)));
    try_it("no database", &|entries| drop(entries.remove(1)));
    try_it("no key", &|entries| drop(entries.pop()));
    try_it("nothing", &Vec::clear);
    try_it("a content of its own", &|entries| entries[2].2[0] ^= 1);
    try_it("an unknown member", &|entries| {
        edit_manifest(entries, |manifest| manifest["run"] = json!("x"))
    });
    try_it("a manifest too large", &|entries| {
        entries[0].2 = vec![b' '; 2 << 20]
    });

    let message = try_it("a database larger than any disk", &|entries| {
        edit_manifest(entries, |manifest| {
            manifest["files"][0]["bytes"] = json!(1_u64 << 60)
        });
    });
    assert!(message.contains("are free"), "{message}");
    let message = try_it("another format", &|entries| {
        edit_manifest(entries, |manifest| manifest["format"] = json!(2));
    });
    assert!(message.contains("the version that made it"), "{message}");
    let message = try_it("another kind", &|entries| {
        edit_manifest(entries, |manifest| {
            manifest["database"] = json!("postgres");
            manifest["files"].as_array_mut().unwrap().remove(0);
        });
        entries.remove(1);
    });
    assert!(message.contains("PostgreSQL"), "{message}");
    let message = try_it("another schema", &|entries| {
        edit_manifest(entries, |manifest| {
            manifest["schema"] = json!("20200101000000")
        });
    });
    assert!(message.contains("schema"), "{message}");
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

/// Runs a command line that was printed, with PostgreSQL's tools of this machine.
fn run_printed(line: &str, folder: &Path) {
    let mut path = std::env::var("PATH").unwrap_or_default();
    for version in fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
    {
        path = format!("{}:{path}", version.path().join("bin").display());
    }
    let output = Command::new("sh")
        .args(["-c", line])
        .env("PATH", path)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn printed_command<'a>(text: &'a str, tool: &str) -> &'a str {
    text.lines()
        .map(str::trim)
        .find(|line| line.starts_with(tool))
        .unwrap_or_else(|| panic!("no {tool} in {text}"))
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn with_postgresql_the_keys_are_packed_and_the_printed_commands_do_the_rest() {
    let mut database = TestDatabase::postgres();
    let (key, token) = with_a_sold_key(&database);
    let archive = Archive::new();
    let plain = database.url.clone();
    let mut url = url::Url::parse(&plain).unwrap();
    url.set_password(Some("very-secret")).unwrap();
    database.url = url.into();
    let output = countersign(&database, &["backup", archive.text()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let noted = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && !said.contains("very-secret"),
        "{said} {noted}"
    );
    assert!(noted.contains("PGPASSWORD"), "{noted}");
    let names: Vec<_> = unpacked(&archive.path)
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert!(
        !names.contains(&"countersign.db".to_owned()) && names.len() == 4,
        "{names:?}"
    );
    run_printed(printed_command(&said, "pg_dump"), archive.folder.path());
    database.url = plain;

    let migrated = TestDatabase::postgres();
    let refused = run_refused(&migrated, &["restore", archive.text()]);
    assert!(refused.contains("make an empty one"), "{refused}");
    assert!(!migrated.keys_dir().exists());
    let refused = run_refused(&TestDatabase::sqlite(), &["restore", archive.text()]);
    assert!(refused.contains("postgres://"), "{refused}");

    let other = TestDatabase::empty_postgres();
    let said = run_ok(&other, &["restore", archive.text()]);
    assert!(said.contains("before the server is started"), "{said}");
    run_printed(printed_command(&said, "pg_restore"), archive.folder.path());
    goes_on(&other, &key, &token);

    // The other way round: the database first, then the keys, which must be its own.
    fs::remove_dir_all(other.keys_dir()).unwrap();
    let said = run_ok(&other, &["restore", archive.text()]);
    assert!(!said.contains("pg_restore"), "{said}");
    goes_on_starting(&other);
    let stranger = TestDatabase::postgres();
    assert!(ServerProcess::start(&stranger).terminate().0.success());
    fs::remove_dir_all(stranger.keys_dir()).unwrap();
    let refused = run_refused(&stranger, &["restore", archive.text()]);
    assert!(refused.contains("do not fit"), "{refused}");
    assert!(!stranger.keys_dir().exists());
}

fn goes_on_starting(database: &TestDatabase) {
    assert!(ServerProcess::start(database).terminate().0.success());
}
