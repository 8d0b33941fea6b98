//! The storage engine: what a write promises, and what it does when the ground gives way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use countersign::db::{self, Access, DatabaseUrl, Db, DbConnection};
use countersign::error::{Code, Error};
use diesel::connection::SimpleConnection;
use futures_util::future::{LocalBoxFuture, join_all};

use crate::support::database::{TestDatabase, number, texts, try_number};

/// How long SQLite waits for a file that somebody else holds.
const BUSY: Duration = Duration::from_secs(5);

fn open(database: &TestDatabase, parameters: &str) -> Db {
    if database.is_sqlite() {
        std::fs::create_dir_all(database.folder.path().join("data")).unwrap();
    }
    let url = DatabaseUrl::parse(&database.url).unwrap();
    let mut conn = db::open(&url, Access::Write).unwrap();
    db::migrate(&mut conn).unwrap();
    conn.batch_execute("CREATE TABLE notes (id BIGINT PRIMARY KEY, note TEXT NOT NULL UNIQUE)")
        .unwrap();
    drop(conn);
    Db::open(&DatabaseUrl::parse(&format!("{}{parameters}", database.url)).unwrap()).unwrap()
}

fn note(conn: &mut DbConnection, id: u32) -> Result<(), Error> {
    Ok(conn.batch_execute(&format!("INSERT INTO notes VALUES ({id}, 'note {id}')"))?)
}

fn notes(database: &TestDatabase) -> i64 {
    number(
        &mut database.connect(),
        "SELECT COUNT(*) AS number FROM notes",
    )
}

/// Keeps the writer busy until `release` is dropped, so that what is sent meanwhile is one batch.
pub(crate) async fn hold_the_writer(
    db: &Db,
) -> (
    std::sync::mpsc::Sender<()>,
    tokio::task::JoinHandle<Result<(), Error>>,
) {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let (started, start) = tokio::sync::oneshot::channel();
    let started = std::sync::Mutex::new(Some(started));
    let db = db.clone();
    let job = tokio::spawn(async move {
        db.write(move |_| {
            if let Some(started) = started.lock().unwrap().take() {
                started.send(()).unwrap();
            }
            // Ends with an error, which is what is waited for, once the sender is dropped.
            let _ = held.lock().unwrap().recv();
            Ok(())
        })
        .await
    });
    start.await.unwrap();
    (release, job)
}

/// Sends jobs, which are all in the queue when this returns: a job is queued at the first poll.
pub(crate) async fn queue<T: 'static>(
    jobs: impl Iterator<Item = impl Future<Output = T> + 'static>,
) -> Vec<LocalBoxFuture<'static, T>> {
    let mut queued: Vec<LocalBoxFuture<'static, T>> = Vec::new();
    for job in jobs {
        let mut job: LocalBoxFuture<'static, T> = Box::pin(job);
        std::future::poll_fn(|context| {
            assert!(job.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        queued.push(job);
    }
    queued
}

#[derive(Debug, PartialEq)]
enum Came {
    Written,
    Refused,
    Failed,
    Unavailable,
}

fn came(result: &Result<(), Error>) -> Came {
    match result {
        Ok(()) => Came::Written,
        Err(Error::Refused(_)) => Came::Refused,
        Err(Error::Unavailable(_)) => Came::Unavailable,
        Err(_) => Came::Failed,
    }
}

async fn a_bad_job_in_a_batch(database: &TestDatabase) {
    let db = open(database, "");
    let (release, holder) = hold_the_writer(&db).await;
    let runs = Arc::new(AtomicU32::new(0));
    let jobs = queue((0..20u32).map(|id| {
        let (db, runs) = (db.clone(), Arc::clone(&runs));
        async move {
            db.write(move |tx| {
                note(tx, id)?;
                match id {
                    7 => Err(Code::NotFound.into()),
                    11 => {
                        runs.fetch_add(1, Ordering::SeqCst);
                        panic!("this job panics on purpose")
                    }
                    13 => note(tx, 13),
                    _ => Ok(()),
                }
            })
            .await
        }
    }))
    .await;
    drop(release);
    holder.await.unwrap().unwrap();
    for (id, job) in (0..).zip(join_all(jobs).await) {
        let expected = match id {
            7 => Came::Refused,
            11 | 13 => Came::Failed,
            _ => Came::Written,
        };
        assert_eq!(came(&job), expected, "job {id}");
    }
    assert_eq!(
        notes(database),
        17,
        "what was answered is there, what was not is not"
    );
    assert!(runs.load(Ordering::SeqCst) >= 1);
    db.write(|tx| note(tx, 100)).await.unwrap();
    assert_eq!(notes(database), 18, "the engine goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_a_panic_and_a_broken_constraint_in_a_batch_harm_nobody_else_on_sqlite() {
    a_bad_job_in_a_batch(&TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_refusal_a_panic_and_a_broken_constraint_in_a_batch_harm_nobody_else_on_postgres() {
    a_bad_job_in_a_batch(&TestDatabase::postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_in_a_batch_fails_what_does_not_fit_and_keeps_what_was_answered() {
    let database = TestDatabase::sqlite();
    let db = open(&database, "");
    drop(db);
    let pages = number(
        &mut database.connect(),
        "SELECT page_count AS number FROM pragma_page_count",
    );
    let limit = pages + 20;
    let db = Db::open(&DatabaseUrl::parse(&format!("{}?max_pages={limit}", database.url)).unwrap())
        .unwrap();

    let (release, holder) = hold_the_writer(&db).await;
    // Each takes about two pages: half of them fit.
    let jobs = queue((0..20u32).map(|id| {
        let db = db.clone();
        async move {
            let text = format!("{id}{}", "x".repeat(8000));
            db.write(move |tx| {
                Ok(tx.batch_execute(&format!("INSERT INTO notes VALUES ({id}, '{text}')"))?)
            })
            .await
        }
    }))
    .await;
    drop(release);
    holder.await.unwrap().unwrap();
    let results: Vec<_> = join_all(jobs)
        .await
        .into_iter()
        .map(|job| came(&job))
        .collect();
    let written = results
        .iter()
        .filter(|came| **came == Came::Written)
        .count();
    let refused = results
        .iter()
        .filter(|came| **came == Came::Unavailable)
        .count();
    assert!(written > 0 && refused > 0, "{results:?}");
    assert_eq!(written + refused, 20, "{results:?}");
    assert_eq!(notes(&database), i64::try_from(written).unwrap());
    db.write(|tx| Ok(tx.batch_execute("DELETE FROM notes")?))
        .await
        .unwrap();
    db.write(|tx| note(tx, 100)).await.unwrap();
    drop(db);
    database.check_integrity();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_is_visible_to_another_connection_at_once() {
    let database = TestDatabase::sqlite();
    let db = open(&database, "");
    let mut other = database.connect();
    for id in 0..50 {
        db.write(move |tx| note(tx, id)).await.unwrap();
        assert_eq!(
            number(&mut other, "SELECT COUNT(*) AS number FROM notes"),
            i64::from(id) + 1
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_stays_held_is_waited_for_once_and_after_it_was_let_go_again() {
    let database = TestDatabase::sqlite();
    let db = open(&database, "");
    let mut holder = database.connect();
    for round in 0..2 {
        holder.batch_execute("BEGIN IMMEDIATE").unwrap();
        let mut took = Vec::new();
        for _ in 0..3 {
            let since = Instant::now();
            let job = db.write(|tx| note(tx, 1)).await;
            assert_eq!(came(&job), Came::Unavailable);
            took.push(since.elapsed());
        }
        assert!(took[0] >= BUSY, "round {round}: {took:?}");
        // Three times as long as it should be, for a busy machine.
        assert!(took[1] + took[2] < BUSY / 4, "round {round}: {took:?}");
        holder.batch_execute("COMMIT").unwrap();
        db.write(move |tx| note(tx, 10 + round)).await.unwrap();
    }
    assert_eq!(notes(&database), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_wait_together_are_committed_together() {
    let database = TestDatabase::sqlite();
    let db = open(&database, "");
    let (release, holder) = hold_the_writer(&db).await;
    let jobs = queue((0..20u32).map(|id| {
        let db = db.clone();
        async move {
            db.write(move |tx| {
                note(tx, id)?;
                // Each job sees those before it in its transaction, which nobody else sees yet.
                Ok(number(tx, "SELECT COUNT(*) AS number FROM notes"))
            })
            .await
            .unwrap()
        }
    }))
    .await;
    assert_eq!(notes(&database), 0);
    drop(release);
    holder.await.unwrap().unwrap();
    let mut seen: Vec<_> = join_all(jobs).await;
    seen.sort_unstable();
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_client_left_is_done_all_the_same() {
    let database = TestDatabase::sqlite();
    let db = open(&database, "");
    let (release, holder) = hold_the_writer(&db).await;
    let jobs = queue(std::iter::once({
        let db = db.clone();
        async move { db.write(|tx| note(tx, 1)).await }
    }))
    .await;
    drop(jobs);
    drop(release);
    holder.await.unwrap().unwrap();
    db.write(|tx| note(tx, 2)).await.unwrap();
    assert_eq!(notes(&database), 2);
}

async fn a_read_that_writes(database: &TestDatabase) {
    let db = open(database, "");
    let written = db.read(|conn| note(conn, 1)).await;
    assert!(written.is_err(), "{written:?}");
    assert_eq!(notes(database), 0);
}

#[tokio::test]
async fn a_read_cannot_write_on_sqlite() {
    a_read_that_writes(&TestDatabase::sqlite()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_read_cannot_write_on_postgres() {
    a_read_that_writes(&TestDatabase::postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_server_that_drops_every_connection_is_used_again_as_soon_as_it_answers() {
    let database = TestDatabase::postgres();
    let db = open(&database, "");
    let warm = (0..8u32).map(|id| {
        let db = db.clone();
        async move {
            db.write(move |tx| note(tx, id)).await.unwrap();
            db.read(|conn| Ok(try_number(conn, "SELECT COUNT(*) AS number FROM notes")?))
                .await
                .unwrap()
        }
    });
    join_all(warm).await;
    let others = "SELECT COUNT(pg_terminate_backend(pid)) AS number FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert!(number(&mut database.connect(), others) > 0);
    db.write(|tx| note(tx, 100)).await.unwrap();
    assert_eq!(
        db.read(|conn| Ok(try_number(conn, "SELECT COUNT(*) AS number FROM notes")?))
            .await
            .unwrap(),
        9
    );
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_write_sees_what_was_committed_before_it_locked_whatever_the_database_has_by_default() {
    let database = TestDatabase::postgres();
    let other_default = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = \
        ''serializable''', current_database()); END $$";
    database.connect().batch_execute(other_default).unwrap();
    let db = open(&database, "");
    let level = "SELECT current_setting('transaction_isolation') AS text";
    let levels = db.write(move |conn| Ok(texts(conn, level))).await.unwrap();
    assert_eq!(levels, ["read committed"]);
}

#[test]
fn sqlite_is_built_with_the_flags_that_keep_statements_prepared_and_let_readers_run_side_by_side() {
    let database = TestDatabase::sqlite();
    drop(open(&database, ""));
    let options = texts(
        &mut database.connect(),
        "SELECT compile_options AS text FROM pragma_compile_options",
    );
    assert!(
        !options
            .iter()
            .any(|option| option == "ENABLE_MEMORY_MANAGEMENT"),
        "{options:?}"
    );
    assert!(
        options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"),
        "{options:?}"
    );
    // Prepared statements stay prepared.
    assert!(
        options.iter().any(|option| option == "ENABLE_QPSG"),
        "{options:?}"
    );
    assert!(
        options.iter().any(|option| option == "THREADSAFE=1"),
        "{options:?}"
    );
}
