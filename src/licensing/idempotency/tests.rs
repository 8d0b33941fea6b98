//! Work of several steps and its lease, on both databases.

use diesel::connection::SimpleConnection;

use super::*;
use crate::db::models::account::{Account, Role};
use crate::db::{self, Access, DatabaseUrl};
use crate::licensing::context::Actor;

const MINUTE: i64 = 60;

/// Someone on a database of their own.
struct Caller {
    conn: DbConnection,
    cx: Context,
    _folder: tempfile::TempDir,
}

impl Caller {
    fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let conn = db::open(&DatabaseUrl::parse(&url).unwrap(), Access::Write).unwrap();
        Self::on(conn, folder)
    }

    /// In tables that go with the connection.
    fn on_postgres() -> Self {
        let url = std::env::var("TEST_DATABASE_URL").unwrap();
        let mut conn = db::open(&DatabaseUrl::parse(&url).unwrap(), Access::Write).unwrap();
        conn.batch_execute("SET search_path TO pg_temp").unwrap();
        Self::on(conn, tempfile::tempdir().unwrap())
    }

    fn on(mut conn: DbConnection, folder: tempfile::TempDir) -> Self {
        db::migrate(&mut conn).unwrap();
        let now = Timestamp::from_micros(1_795_000_000_000_000);
        let account = Account::insert(&mut conn, "ci", Role::Admin, now)
            .unwrap()
            .unwrap();
        let actor = Actor::Account {
            id: account.id,
            role: account.role,
        };
        let cx = Context {
            actor,
            ..Context::system(now)
        };
        Self {
            conn,
            cx,
            _folder: folder,
        }
    }

    /// The same caller, some seconds later.
    fn later(&self, seconds: i64) -> Context {
        Context {
            now: self.cx.now.plus_seconds(seconds),
            ..self.cx.clone()
        }
    }

    fn begin(&mut self, cx: &Context, call: &Repeatable) -> Result<Begun> {
        begin(&mut self.conn, cx, Some(call))
    }

    /// Takes the place, which must be free.
    fn take(&mut self, cx: &Context, call: &Repeatable) -> Place {
        match self.begin(cx, call).unwrap() {
            Begun::Now(place) => place,
            Begun::Before(made) => panic!("{made} was made"),
        }
    }

    /// What was made under the call's key before.
    fn made(&mut self, cx: &Context, call: &Repeatable) -> i64 {
        match self.begin(cx, call).unwrap() {
            Begun::Before(made) => made,
            Begun::Now(place) => panic!("nothing was made: {place:?}"),
        }
    }
}

fn call(body: &str) -> Repeatable {
    Repeatable {
        method: "POST".into(),
        path: "/v1/generators/1/generate".into(),
        key: "k".into(),
        request_hash: body.into(),
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T>) -> Code {
    match result {
        Err(Error::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

fn a_place_is_held_until_the_work_is_done(mut caller: Caller) {
    let call = call("a");
    let place = caller.take(&caller.later(0), &call);
    let soon = caller.later(MINUTE - 1);
    let meanwhile = caller.begin(&soon, &call);
    assert_eq!(refused(meanwhile), Code::IdempotencyInFlight);
    let other = Repeatable {
        request_hash: "b".into(),
        ..call.clone()
    };
    let reused = caller.begin(&soon, &other);
    assert_eq!(refused(reused), Code::IdempotencyKeyReused);
    place.extend(&mut caller.conn, soon.now).unwrap();
    let late = caller.later(MINUTE + 1);
    let meanwhile = caller.begin(&late, &call);
    assert_eq!(refused(meanwhile), Code::IdempotencyInFlight);
    place.finish(&mut caller.conn, 7).unwrap();
    assert_eq!(caller.made(&late, &call), 7);
    let again = once(&mut caller.conn, &late, Some(&call), |_| Ok((8, ())));
    assert_eq!(again.unwrap().id, 7);
}

fn the_place_of_dead_work_is_free_and_it_cannot_come_back(mut caller: Caller) {
    let call = call("a");
    let dead = caller.take(&caller.later(0), &call);
    let second = caller.later(MINUTE);
    let place = caller.take(&second, &call);
    let gone = dead.extend(&mut caller.conn, second.now);
    assert!(matches!(gone, Err(Error::Unavailable(_))), "{gone:?}");
    let gone = dead.finish(&mut caller.conn, 7);
    assert!(matches!(gone, Err(Error::Unavailable(_))), "{gone:?}");
    dead.give_up(&mut caller.conn).unwrap();
    place.finish(&mut caller.conn, 8).unwrap();
    assert_eq!(caller.made(&caller.later(2 * MINUTE), &call), 8);
}

fn work_that_was_refused_gives_its_place_up(mut caller: Caller) {
    let place = caller.take(&caller.later(0), &call("a"));
    place.give_up(&mut caller.conn).unwrap();
    caller.take(&caller.later(0), &call("corrected"));
}

/// Declares each of the tests above for both databases.
macro_rules! on_both {
    ($($name:ident)+) => {
        mod sqlite {
            $( #[test] fn $name() { super::$name(super::Caller::on_sqlite()); } )+
        }
        mod postgres {
            $(
                #[test]
                #[ignore = "needs PostgreSQL: run scripts/test"]
                fn $name() { super::$name(super::Caller::on_postgres()); }
            )+
        }
    };
}
on_both! {
    a_place_is_held_until_the_work_is_done
    the_place_of_dead_work_is_free_and_it_cannot_come_back
    work_that_was_refused_gives_its_place_up
}
