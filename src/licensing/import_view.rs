//! Imports as those who sent them see them.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::context::{Actor, Context};
use crate::clock::Timestamp;
use crate::db::models::account::{AccountId, Role};
use crate::db::models::import::{Import, ImportId, ImportState};
use crate::db::{DbConnection, PageRequest, Paged};
use crate::error::{Code, Refusal, Result};

/// An import, under way or ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ImportView {
    /// Its id.
    #[schema(value_type = i64)]
    pub id: ImportId,
    /// Where it stands.
    pub state: ImportState,
    /// Keys and wrong lines read so far.
    pub lines: i64,
    /// Keys that are new. They can be seen and sold once the import is `done`.
    pub added: i64,
    /// Texts that exist already.
    pub duplicates: i64,
    /// How many lines cannot be a key.
    pub failures: u64,
    /// The first 1,000 of them.
    #[schema(value_type = Vec<super::import_format::FailedLine>)]
    pub failed: Value,
    /// Why it was refused.
    pub problem: Option<ImportProblem>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last moved.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it ended; null while it runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

/// Why an import was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ImportProblem {
    /// The stable code.
    #[schema(example = "import_failed")]
    pub code: String,
    /// For people.
    pub detail: String,
}

/// One import. An importer sees its own.
///
/// # Errors
/// `import_not_found`.
pub(crate) fn show_import(
    conn: &mut DbConnection,
    cx: &Context,
    id: ImportId,
) -> Result<ImportView> {
    let import = Import::find(conn, id, cx.actor.imports_only())?;
    Ok(import
        .ok_or_else(|| {
            let detail = format!("There is no import with the id {id}.");
            Refusal::because(Code::ImportNotFound, detail)
        })?
        .into())
}

/// The imports, oldest first. An importer sees its own.
///
/// # Errors
/// The database's.
pub(crate) fn list_imports(
    conn: &mut DbConnection,
    cx: &Context,
    page: &PageRequest,
) -> Result<Paged<ImportView>> {
    Ok(Import::list(conn, cx.actor.imports_only(), page)?.map(ImportView::from))
}

impl Actor {
    /// The account whose imports alone the actor sees; `None` for all.
    fn imports_only(&self) -> Option<AccountId> {
        match self {
            Self::Account {
                id,
                role: Role::Importer,
            } => Some(*id),
            _ => None,
        }
    }
}

impl From<Import> for ImportView {
    fn from(import: Import) -> Self {
        let problem = import.problem.unwrap_or_default().0;
        let text = |name: &str| {
            let text = problem.get(name).and_then(Value::as_str);
            text.map(ToOwned::to_owned)
        };
        Self {
            id: import.id,
            state: import.state,
            lines: import.lines,
            added: import.added,
            duplicates: import.duplicates,
            failures: problem.get("failures").and_then(Value::as_u64).unwrap_or(0),
            failed: problem
                .get("failed")
                .cloned()
                .unwrap_or_else(|| Value::Array(Vec::new())),
            problem: text("code").map(|code| ImportProblem {
                code,
                detail: text("detail").unwrap_or_default(),
            }),
            created_at: import.created_at,
            updated_at: import.updated_at,
            finished_at: import.finished_at,
        }
    }
}
