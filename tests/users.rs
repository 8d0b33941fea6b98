//! People who sign in to the console.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::database::{number, texts};
use crate::support::on_both_databases;

mod command_line;

const WORDS: &str = "correct horse battery staple";

fn ada() -> Value {
    json!({ "email": "Ada@example.com", "name": "Ada", "role": "admin", "password": WORDS })
}

on_both_databases! {
    async fn a_person_is_added_changed_and_removed_and_the_password_is_never_seen_again(app: TestApp) {
        let answer = app.admin.post("/v1/users", ada()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let made = answer.json();
        assert_eq!((&made["email"], &made["role"]), (&json!("Ada@example.com"), &json!("admin")));
        assert_eq!((&made["has_password"], &made["disabled"]), (&json!(true), &json!(false)));
        let path = format!("/v1/users/{}", made["id"]);
        assert_eq!(app.admin.get(&path).await.json(), made);
        app.admin.post("/v1/users", json!({ "email": "bob@example.com", "role": "admin" })).await.ok();

        app.pass_seconds(5);
        let change = json!({ "name": null, "role": "viewer", "disabled": true, "password": "another long one" });
        let changed = app.admin.patch(&path, change).await.ok();
        assert_eq!((&changed["name"], &changed["role"]), (&json!(null), &json!("viewer")));
        assert_eq!(changed["disabled_at"], "2026-11-22T10:00:05Z");
        assert_eq!(changed["updated_at"], changed["disabled_at"]);
        app.pass_seconds(5);
        let same = app.admin.patch(&path, json!({ "disabled": true })).await.ok();
        assert_eq!(same, changed, "nothing new, nothing changed");

        let list = app.admin.get("/v1/users").await;
        assert_eq!(list.json()["items"].as_array().unwrap().len(), 2);
        for secret in [WORDS, "argon2", "another long one"] {
            assert!(!list.text.contains(secret) && !answer.text.contains(secret));
        }
        assert_eq!(app.admin.delete(&path).await.status, 204);
        app.admin.get(&path).await.refused(404, "user_not_found");
        app.admin.patch(&path, json!({})).await.refused(404, "user_not_found");
        app.admin.delete(&path).await.refused(404, "user_not_found");
    }

    async fn what_is_stored_of_a_password_is_an_argon2id_hash(app: TestApp) {
        app.admin.post("/v1/users", ada()).await.ok();
        let stored = texts(&mut app.database.connect(), "SELECT password_hash AS text FROM users");
        assert!(stored[0].starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored:?}");
    }

    async fn events_name_people_by_id_and_hold_neither_addresses_nor_names_nor_hashes(app: TestApp) {
        let id = app.admin.post("/v1/users", ada()).await.ok()["id"].clone();
        app.admin.post("/v1/users", json!({ "email": "bob@example.com", "role": "admin" })).await.ok();
        let change = json!({ "email": "countess@example.com", "name": "Lovelace", "password": "another long one" });
        app.admin.patch(&format!("/v1/users/{id}"), change).await.ok();
        app.admin.delete(&format!("/v1/users/{id}")).await;
        let query = "SELECT action || ' ' || subject_id || ' ' || detail AS text FROM events \
            WHERE subject_type = 'user' ORDER BY id";
        let events = texts(&mut app.database.connect(), query);
        assert_eq!(events.len(), 4, "{events:?}");
        assert!(events[2].starts_with(&format!("user.updated {id}")), "{events:?}");
        assert!(events[2].contains(r#""changed":["email","name","password"]"#), "{events:?}");
        let all = events.join("").to_lowercase();
        for personal in ["@", "ada", "lovelace", "countess", "argon2"] {
            assert!(!all.contains(personal), "{events:?}");
        }
    }

    async fn an_address_belongs_to_one_person_in_whatever_case_it_is_written(app: TestApp) {
        let first = app.admin.post("/v1/users", ada()).await.ok();
        let taken = app.admin.post("/v1/users", json!({ "email": "ADA@EXAMPLE.com", "role": "viewer" })).await;
        taken.refused(409, "already_exists");
        assert!(!taken.text.to_lowercase().contains("ada@"), "{}", taken.text);
        let second = app.admin.post("/v1/users", json!({ "email": "bob@example.com", "role": "viewer" })).await.ok();
        let path = format!("/v1/users/{}", second["id"]);
        app.admin.patch(&path, json!({ "email": "ada@Example.com" })).await.refused(409, "already_exists");
        let path = format!("/v1/users/{}", first["id"]);
        let own = app.admin.patch(&path, json!({ "email": "ada@example.com" })).await.ok();
        assert_eq!(own["email"], "ada@example.com");
    }

    async fn wrong_members_are_named_and_a_password_is_not_repeated(app: TestApp) {
        for (member, value) in [
            ("email", json!("nobody")),
            ("email", json!(null)),
            ("role", json!("shop")),
            ("password", json!("too-short")),
            ("password", json!("a".repeat(1025))),
            ("password", json!(["secret-in-a-list"])),
            ("disabled", json!("secret-word")),
            ("surname", json!("x")),
        ] {
            let mut body = ada();
            body[member] = value;
            let answer = app.admin.post("/v1/users", body.clone()).await;
            answer.refused(422, "validation_failed");
            assert_eq!(answer.json()["errors"][0]["field"], member, "{}", answer.text);
            assert!(!answer.text.contains("too-short") && !answer.text.contains("secret-"), "{}", answer.text);
        }
        assert_eq!(app.admin.get("/v1/users").await.json()["items"], json!([]));
    }

    async fn the_last_enabled_admin_stays_one(app: TestApp) {
        let id = app.admin.post("/v1/users", ada()).await.ok()["id"].clone();
        let path = format!("/v1/users/{id}");
        let viewer = json!({ "email": "eve@example.com", "role": "viewer" });
        let viewer = app.admin.post("/v1/users", viewer).await.ok()["id"].clone();
        let kept_out = json!({ "email": "bob@example.com", "role": "admin", "disabled": true });
        let kept_out = app.admin.post("/v1/users", kept_out).await.ok()["id"].clone();
        app.admin.patch(&path, json!({ "disabled": true })).await.refused(409, "last_admin");
        app.admin.patch(&path, json!({ "role": "viewer" })).await.refused(409, "last_admin");
        app.admin.delete(&path).await.refused(409, "last_admin");
        app.admin.patch(&path, json!({ "name": "Still here" })).await.ok();
        assert_eq!(app.admin.delete(&format!("/v1/users/{viewer}")).await.status, 204);
        app.admin.patch(&format!("/v1/users/{kept_out}"), json!({ "disabled": false })).await.ok();
        assert_eq!(app.admin.delete(&path).await.status, 204);
        app.admin.delete(&format!("/v1/users/{kept_out}")).await.refused(409, "last_admin");
    }

    async fn of_two_who_take_the_last_two_admins_away_at_once_one_is_refused(app: TestApp) {
        for round in 0..10 {
            let mut people = Vec::new();
            for name in ["a", "b"] {
                let body = json!({ "email": format!("{name}{round}@example.com"), "role": "admin" });
                people.push(app.admin.post("/v1/users", body).await.ok()["id"].clone());
            }
            if round > 0 {
                let earlier = texts(&mut app.database.connect(),
                    "SELECT CAST(MIN(id) AS TEXT) AS text FROM users WHERE role = 'admin' AND disabled_at IS NULL");
                assert_eq!(app.admin.delete(&format!("/v1/users/{}", earlier[0])).await.status, 204);
            }
            let calls = people.into_iter().enumerate().map(|(number, id)| {
                let admin = app.admin.clone();
                let path = format!("/v1/users/{id}");
                tokio::spawn(async move {
                    match (round + number) % 3 {
                        0 => admin.patch(&path, json!({ "disabled": true })).await,
                        1 => admin.patch(&path, json!({ "role": "viewer" })).await,
                        _ => admin.delete(&path).await,
                    }
                })
            });
            let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
            let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 409).collect();
            assert_eq!(refused.len(), 1, "{answers:?}");
            refused[0].refused(409, "last_admin");
            let left = "SELECT COUNT(*) AS number FROM users WHERE role = 'admin' AND disabled_at IS NULL";
            assert_eq!(number(&mut app.database.connect(), left), 1);
        }
    }
}
