//! What the command line, or another program, changes beside running servers is true there at once.

use diesel::connection::SimpleConnection;
use futures_util::future::join_all;
use serde_json::json;
use tokio::task::block_in_place;

use super::fleet::{Doors, Fleet};
use crate::support::Persona;
use crate::support::database::TestDatabase;
use crate::support::process::run_ok;
use crate::support::processes_on_both_databases;

const ROUNDS: usize = 4;

/// The verdict of every process on a key and its installation `m1`.
async fn verdicts(doors: &[Doors], key: &str) -> Vec<String> {
    let asked = doors.iter().map(async |doors| {
        let body = json!({ "key": key, "installation_id": "m1" });
        let verdict = doors.software.post("/v1/validate", body).await.ok();
        verdict["code"].as_str().unwrap().to_owned()
    });
    join_all(asked).await
}

fn all(doors: &[Doors], code: &str) -> Vec<String> {
    vec![code.to_owned(); doors.len()]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn revoke_tokens(database: &TestDatabase) {
    let fleet = Fleet::of(database);
    let doors = fleet.doors();
    for _ in 0..ROUNDS {
        let body = json!({ "account": "ci" });
        let token = doors[0].admin.post("/v1/tokens", body).await.ok();
        let secret = token["token"].as_str().unwrap();
        let somebody = |doors: &Doors| {
            let admin = Persona::new(&doors.base, Some(secret.to_owned()));
            async move { admin.get("/v1/keys").await }
        };
        for answer in join_all(doors.iter().map(somebody)).await {
            answer.ok();
        }
        let id = token["id"].to_string();
        block_in_place(|| run_ok(database, &["token", "revoke", &id]));
        for answer in join_all(doors.iter().map(somebody)).await {
            answer.refused(401, "unauthenticated");
        }
    }
    fleet.finish();
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn import_what_is_waited_for(database: &TestDatabase) {
    let fleet = Fleet::of(database);
    let doors = fleet.doors();
    doors[0].admin.make_product("editor", json!({})).await;
    for round in 0..ROUNDS {
        let key = format!("K{round}");
        doors[0]
            .admin
            .order(&format!("o{round}"), "editor", 1, "completed")
            .await
            .ok();
        assert_eq!(verdicts(&doors, &key).await, all(&doors, "key_not_found"));
        let file = database.folder.path().join(&key);
        std::fs::write(&file, &key).unwrap();
        let arguments = ["import", file.to_str().unwrap(), "--sequence", "editor"];
        block_in_place(|| run_ok(database, &arguments));
        assert_eq!(
            verdicts(&doors, &key).await,
            all(&doors, "installation_not_activated")
        );
    }
    fleet.finish();
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn change_rows(database: &TestDatabase) {
    let fleet = Fleet::of(database);
    let doors = fleet.doors();
    doors[0]
        .admin
        .make_stocked_product("editor", "", &["K1"])
        .await;
    let (id, key) = doors[0].admin.buy("1", "editor").await;
    doors[0].software.activate(&key, "m1").await.ok();
    let mut other = database.connect();
    for _ in 0..ROUNDS {
        for (change, code) in [
            (
                format!("UPDATE keys SET revoked_at = 1 WHERE id = {id}"),
                "key_revoked",
            ),
            (
                format!("UPDATE keys SET revoked_at = NULL WHERE id = {id}"),
                "ok",
            ),
            (
                "UPDATE products SET activation_managed = FALSE".to_owned(),
                "activation_not_managed",
            ),
            (
                "UPDATE products SET activation_managed = TRUE".to_owned(),
                "ok",
            ),
            (
                format!("UPDATE activations SET installation_id = 'm2' WHERE key_id = {id}"),
                "installation_not_activated",
            ),
            (
                format!("UPDATE activations SET installation_id = 'm1' WHERE key_id = {id}"),
                "ok",
            ),
        ] {
            other.batch_execute(&change).unwrap();
            assert_eq!(
                verdicts(&doors, &key).await,
                all(&doors, code),
                "after {change}"
            );
        }
    }
    fleet.finish();
}

processes_on_both_databases! {
    fn a_token_that_the_command_line_revokes_is_refused_by_every_process_at_once(database: TestDatabase) {
        revoke_tokens(database);
    }

    fn a_key_that_was_unknown_is_known_once_the_command_line_has_imported_it_for_an_order(database: TestDatabase) {
        import_what_is_waited_for(database);
    }

    fn what_another_program_writes_into_the_database_is_the_verdict_at_once(database: TestDatabase) {
        change_rows(database);
    }
}
