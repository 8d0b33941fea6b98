//! Migrations: applied, reverted and applied again, and the same ones on both databases.

use countersign::db::{self, DbConnection};

use crate::support::database::{TestDatabase, texts};

fn migrations_go_up_and_down_and_up_again(database: &TestDatabase) {
    if database.is_sqlite() {
        std::fs::create_dir_all(database.folder.path().join("data")).unwrap();
    }
    let mut conn = database.connect();
    let applied = db::migrate(&mut conn).unwrap().applied;
    assert!(!applied.is_empty());
    let tables = tables(&mut conn, database);
    assert_eq!(
        db::migrate(&mut conn).unwrap().applied,
        Vec::<String>::new()
    );
    for version in applied.iter().rev() {
        assert_eq!(
            db::revert_newest(&mut conn).unwrap().as_ref(),
            Some(version)
        );
    }
    assert_eq!(db::revert_newest(&mut conn).unwrap(), None);
    assert_eq!(
        self::tables(&mut conn, database),
        ["__diesel_schema_migrations"]
    );
    assert_eq!(db::migrate(&mut conn).unwrap().applied, applied);
    assert_eq!(self::tables(&mut conn, database), tables);
    db::check_schema(&mut conn).unwrap();
}

fn tables(conn: &mut DbConnection, database: &TestDatabase) -> Vec<String> {
    texts(
        conn,
        if database.is_sqlite() {
            "SELECT name AS text FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        } else {
            "SELECT table_name::TEXT AS text FROM information_schema.tables \
             WHERE table_schema = 'public' ORDER BY table_name"
        },
    )
}

#[test]
fn migrations_are_applied_reverted_and_applied_again_on_sqlite() {
    migrations_go_up_and_down_and_up_again(&TestDatabase::sqlite());
}

#[test]
#[ignore = "needs PostgreSQL: run scripts/test"]
fn migrations_are_applied_reverted_and_applied_again_on_postgres() {
    migrations_go_up_and_down_and_up_again(&TestDatabase::empty_postgres());
}

#[test]
fn both_databases_have_migrations_of_the_same_names() {
    let names = |folder: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("migrations")
            .join(folder);
        let mut names: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("sqlite"), names("postgres"));
}
