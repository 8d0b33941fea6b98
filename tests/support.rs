//! The harness: a server on a database of its own, people who call it, and what they call it with.

pub(crate) mod app;
pub(crate) mod crash;
pub(crate) mod database;
pub(crate) mod jwt;
pub(crate) mod network;
pub(crate) mod persona;
pub(crate) mod process;

pub(crate) use app::TestApp;
pub(crate) use persona::Persona;

/// Declares tests that run once on each database. The PostgreSQL half needs a server
/// (`TEST_DATABASE_URL`), which `scripts/test` starts. `app: TestApp = function` has the function change
/// the settings.
macro_rules! on_both_databases {
    (@settings) => { $crate::support::app::as_they_are };
    (@settings $settings:path) => { $settings };
    ($( $(#[$meta:meta])* async fn $name:ident($app:ident: TestApp $(= $settings:path)?) $body:block )+) => {
        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports, reason = "a short test may need nothing")]
                use super::*;

                async fn play($app: &$crate::support::TestApp) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    let database = $crate::support::database::TestDatabase::sqlite();
                    let settings = $crate::support::on_both_databases!(@settings $($settings)?);
                    let app = $crate::support::TestApp::start_with(database, settings).await;
                    play(&app).await;
                    app.finish().await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = "needs PostgreSQL: run scripts/test"]
                async fn postgres() {
                    let database = $crate::support::database::TestDatabase::postgres();
                    let settings = $crate::support::on_both_databases!(@settings $($settings)?);
                    let app = $crate::support::TestApp::start_with(database, settings).await;
                    play(&app).await;
                    app.finish().await;
                }
            }
        )+
    };
}
pub(crate) use on_both_databases;

/// Declares tests that start the program itself, once on each database.
macro_rules! processes_on_both_databases {
    ($( $(#[$meta:meta])* fn $name:ident($database:ident: TestDatabase) $body:block )+) => {
        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports, reason = "a short test may need nothing")]
                use super::*;

                fn play($database: &$crate::support::database::TestDatabase) $body

                #[test]
                fn sqlite() {
                    play(&$crate::support::database::TestDatabase::sqlite());
                }

                #[test]
                #[ignore = "needs PostgreSQL: run scripts/test"]
                fn postgres() {
                    play(&$crate::support::database::TestDatabase::postgres());
                }
            }
        )+
    };
}
pub(crate) use processes_on_both_databases;
