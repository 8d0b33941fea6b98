//! Backups are whole, are made beside a server under load, and are restored only whole.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use countersign_client::{PublicKeys, Verifier};
use flate2::read::GzDecoder;
use serde_json::json;
use tar::EntryType;

use crate::support::database::{TestDatabase, number, texts};
use crate::support::process::{ServerProcess, run_ok, run_refused, runtime};

mod postgres;
mod refused;

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

/// Software that activates one installation after the other until it is told to stop.
struct Load {
    runtime: tokio::runtime::Runtime,
    clients: Vec<tokio::task::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Load {
    fn start(server: &ServerProcess, key: &str) -> Self {
        let runtime = runtime();
        let (stop, answered) = (Arc::default(), Arc::default());
        let clients = (0..8).map(|client| {
            let (software, key) = (server.software(), key.to_owned());
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            runtime.spawn(async move {
                for turn in 0.. {
                    if AtomicBool::load(&stop, Ordering::Relaxed) {
                        break;
                    }
                    let answer = software.activate(&key, &format!("m{client}-{turn}")).await;
                    assert_eq!(answer.status, 201, "{}", answer.text);
                    AtomicUsize::fetch_add(&answered, 1, Ordering::SeqCst);
                }
            })
        });
        let clients = clients.collect();
        Self {
            runtime,
            clients,
            stop,
            answered,
        }
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.runtime.block_on(async {
            for client in self.clients {
                client.await.unwrap();
            }
        });
    }
}

#[test]
fn a_backup_made_beside_a_server_under_load_is_restored_elsewhere_and_goes_on() {
    let database = TestDatabase::sqlite();
    let (key, token) = with_a_sold_key(&database);
    let server = ServerProcess::start(&database);
    let load = Load::start(&server, &key);
    let mut made = Vec::new();
    for _ in 0..3 {
        let before = load.answered();
        let archive = Archive::of(&database);
        while load.answered() == before {
            std::thread::yield_now();
        }
        made.push((before, archive));
    }
    load.stop();
    let last = Archive::of(&database);
    assert!(server.terminate().0.success());

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
    goes_on(&other, &key, &token);
    other.check_integrity();
}

#[test]
fn the_archive_and_what_is_restored_from_it_are_private_and_the_same() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let database = TestDatabase::sqlite();
    with_a_sold_key(&database);
    let archive = Archive::of(&database);
    assert_eq!(mode(&archive.path), 0o600);
    let other = TestDatabase::sqlite();
    run_ok(&other, &["restore", archive.text()]);
    assert_eq!(files_in(other.folder.path()), ["data", "keys"]);
    assert_eq!(mode(&other.folder.path().join("data")), 0o700);
    assert_eq!(
        mode(&other.folder.path().join("data/countersign.db")),
        0o600
    );
    assert_eq!(files_in(&other.keys_dir()), files_in(&database.keys_dir()));
    for name in files_in(&other.keys_dir()) {
        let (own, restored) = (
            database.keys_dir().join(&name),
            other.keys_dir().join(&name),
        );
        assert_eq!(fs::read(&restored).unwrap(), fs::read(own).unwrap());
        assert_eq!(mode(&restored), 0o600);
    }
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

/// Names, kinds and contents.
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
