//! Import: keys that were made elsewhere, into a sequence [UC-8, IPS-5].
//!
//! The keys of one import are a lot. They are staged in short transactions and become visible by one
//! flip of the lot, so that neither an activation waits for an import nor half an import is ever seen
//! or sold. All or nothing: a line that cannot be a key refuses the whole; a text that exists already
//! is a duplicate, counted and left alone [IPS-11].

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::context::Context;
use super::events::{self, Subject};
use super::import_format::FailedLine;
use super::{products, sequences, stock};
use crate::app::App;
use crate::clock::Timestamp;
use crate::db::models::job::{self, Job};
use crate::db::models::key::{Key, KeySource, KeyStatus, NewKey};
use crate::db::models::lot::{Lot, LotId, LotKind};
use crate::db::models::product::{Product, ProductId};
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::models::stock::StockRow;
use crate::db::{DbConnection, ids};
use crate::error::{Code, Error, FieldError, Refusal, Result};

/// Keys per transaction: it stays short.
const CHUNK: usize = 1000;
/// How long an import waits for the one before it.
const TURN_WITHIN: Duration = Duration::from_secs(30);

/// What the imported keys get.
#[derive(Clone, Debug)]
pub(crate) struct ImportOptions {
    pub sequence: String,
    /// The sku of the only product that may take them; `None` for any that uses the sequence.
    pub product: Option<String>,
    pub status: StockStatus,
    pub expires_at: Option<Timestamp>,
    pub valid_for_days: Option<i64>,
    pub max_activations: Option<i64>,
    /// Make the sequence if there is none.
    pub create_missing: CreateMissing,
}

crate::db::types::word_enum! {
    /// The status of keys that go into stock.
    pub enum StockStatus {
        /// For sale.
        Active = "active",
        /// Not for sale yet.
        Inactive = "inactive",
    }
}

/// Whether a sequence that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreateMissing {
    Yes,
    No,
}

/// What an import came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportReport {
    /// Keys that are new.
    pub added: u64,
    /// Lines whose text exists already, in the installation or earlier in the import.
    pub duplicates: u64,
    /// Lines that cannot be a key; the first 1,000.
    pub failed: Vec<FailedLine>,
}

/// Where the keys go, found before anything is staged.
#[derive(Clone, Debug)]
struct Target {
    sequence: SequenceId,
    product: Option<Product>,
    lot: LotId,
}

impl App {
    /// Imports keys into a sequence.
    ///
    /// # Errors
    /// `sequence_not_found`, `product_not_found`, `import_in_progress`, or which option is wrong.
    pub(crate) async fn import_keys(
        &self,
        cx: Context,
        options: ImportOptions,
        keys: Vec<String>,
    ) -> Result<ImportReport> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.imports.lock()).await;
        let _turn = turn.map_err(|_| Error::from(Code::ImportInProgress))?;
        self.sweep_dead_import().await?;
        let cx = Context {
            now: self.clock.now(),
            ..cx
        };
        let target = {
            let (cx, options) = (cx.clone(), options.clone());
            self.db.write(move |tx| begin(tx, &cx, &options)).await?
        };
        let finished = match self.stage_all(&cx, &options, &target, keys).await {
            Ok(report) => self.publish(cx, options, target.clone(), report).await,
            Err(error) => Err(error),
        };
        if finished.is_err()
            && let Err(error) = self.sweep(target.lot).await
        {
            // The next import, or the next start, takes it away.
            tracing::warn!(%error, "an unfinished import was not taken away");
        }
        self.nudge_jobs();
        finished
    }

    async fn publish(
        &self,
        cx: Context,
        options: ImportOptions,
        target: Target,
        report: ImportReport,
    ) -> Result<ImportReport> {
        let (answer, sequence) = (report.clone(), target.sequence);
        self.db
            .write(move |tx| publish(tx, &cx, &target, &options, &report))
            .await?;
        // Before the answer, so that nobody who hears of the new keys gets them before those who wait;
        // what this does not come to is the queued job's.
        if let Err(error) = self.serve_waiting_orders(sequence).await {
            tracing::warn!(%error, "waiting orders are left to the job");
        }
        Ok(answer)
    }

    async fn stage_all(
        &self,
        cx: &Context,
        options: &ImportOptions,
        target: &Target,
        keys: Vec<String>,
    ) -> Result<ImportReport> {
        let mut report = ImportReport::default();
        for texts in keys.chunks(CHUNK) {
            self.go_on_unless_stopping()?;
            let count = texts.len();
            let ids = self
                .db
                .write(move |tx| Ok(ids::take_key_ids(tx, count)?))
                .await?;
            let rows = self.seal(cx, options, target, texts, ids).await?;
            let (lot, product, sequence) = (
                target.lot,
                target.product.as_ref().map(|product| product.id),
                target.sequence,
            );
            let status = options.status;
            let clock = self.clock.clone();
            let added = self
                .db
                .write(move |tx| stage(tx, lot, sequence, product, status, &rows, clock.now()))
                .await?;
            report.added += added;
            report.duplicates += u64::try_from(count).unwrap_or(u64::MAX) - added;
        }
        Ok(report)
    }

    /// Seals the texts, which is work for a processor and not for a transaction.
    async fn seal(
        &self,
        cx: &Context,
        options: &ImportOptions,
        target: &Target,
        texts: &[String],
        ids: Vec<i64>,
    ) -> Result<Vec<NewKey>> {
        let vault = std::sync::Arc::clone(&self.vault);
        let texts = texts.to_vec();
        let (now, options, sequence) = (cx.now, options.clone(), target.sequence);
        let product_id = target.product.as_ref().map(|product| product.id);
        let number_prefix = match &target.product {
            Some(product) => product.number_prefix.clone(),
            None => self.config.products.number_prefix.clone(),
        };
        let lot_id = target.lot;
        tokio::task::spawn_blocking(move || {
            ids.into_iter()
                .zip(texts)
                .map(|(id, text)| NewKey {
                    id,
                    text_sealed: vault.seal(id, &text),
                    text_hash: vault.hash(&text).to_vec(),
                    sequence_id: Some(sequence),
                    product_id,
                    lot_id: Some(lot_id),
                    generator_id: None,
                    order_id: None,
                    order_line_id: None,
                    customer_id: None,
                    number_prefix: number_prefix.clone(),
                    number_version: 1,
                    source: KeySource::Import,
                    status: match options.status {
                        StockStatus::Active => KeyStatus::Active,
                        StockStatus::Inactive => KeyStatus::Inactive,
                    },
                    status_before: None,
                    disabled_by_order: false,
                    max_activations: options.max_activations,
                    anonymous_activations: 0,
                    expires_at: options.expires_at,
                    valid_for_days: options.valid_for_days,
                    assigned_at: None,
                    delivered_at: None,
                    extra: None,
                    created_at: now,
                    updated_at: now,
                })
                .collect()
        })
        .await
        .map_err(|error| Error::internal(format!("sealing keys ended early: {error}")))
    }
}

fn begin(tx: &mut DbConnection, cx: &Context, options: &ImportOptions) -> Result<Target> {
    check(options, cx.now)?;
    let sequence = match sequences::find(tx, &options.sequence) {
        Ok(sequence) => sequence.id,
        Err(Error::Refused(_)) if options.create_missing == CreateMissing::Yes => {
            let name = super::text::Name::parse(options.sequence.as_str()).map_err(|problem| {
                Refusal::invalid(vec![FieldError::new("sequence", "invalid", problem)])
            })?;
            let new = sequences::NewSequence {
                name,
                low_stock_threshold: None,
                extra: super::text::Extra::default(),
            };
            sequences::create_sequence(tx, cx, &new)?.id
        }
        Err(error) => return Err(error),
    };
    let product = match &options.product {
        None => None,
        Some(sku) => {
            let product = Product::find_by_sku(tx, sku)?.ok_or_else(|| products::not_found(sku))?;
            if product.sequence_id != Some(sequence) {
                let detail = format!(
                    "the product `{sku}` does not use the sequence `{}`",
                    options.sequence
                );
                return Err(Refusal::invalid(vec![FieldError::new(
                    "product",
                    "other_sequence",
                    detail,
                )])
                .into());
            }
            Some(product)
        }
    };
    let lot = Lot::open(
        tx,
        LotKind::Import,
        Some(sequence),
        cx.actor.account(),
        cx.now,
    )?
    .ok_or(Error::from(Code::ImportInProgress))?;
    Ok(Target {
        sequence,
        product,
        lot,
    })
}

fn check(options: &ImportOptions, now: Timestamp) -> Result<()> {
    let mut errors = Vec::new();
    if options.expires_at.is_some_and(|at| at <= now) {
        let detail = "lies in the past: nobody could use the keys";
        errors.push(FieldError::new("expires_at", "in_the_past", detail));
    }
    for (field, value, most) in [
        ("valid_for_days", options.valid_for_days, 36_500),
        ("max_activations", options.max_activations, i64::MAX),
    ] {
        if value.is_some_and(|value| value < 1 || value > most) {
            errors.push(FieldError::new(
                field,
                "out_of_range",
                "must be 1 or more; leave it out for no limit",
            ));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(errors).into())
    }
}

/// Stores one chunk; returns how many of its texts are new.
fn stage(
    tx: &mut DbConnection,
    lot: LotId,
    sequence: SequenceId,
    product: Option<ProductId>,
    status: StockStatus,
    rows: &[NewKey],
    now: Timestamp,
) -> Result<u64> {
    // A deleted sequence's keys go in small steps: their texts are free all the same.
    if Job::is_pending(tx, job::DELETE_KEYS)? {
        let hashes: Vec<&[u8]> = rows.iter().map(|row| row.text_hash.as_slice()).collect();
        Key::delete_doomed(tx, &hashes)?;
    }
    let stored = Key::insert_new(tx, rows)?;
    if status == StockStatus::Active {
        let stock: Vec<_> = stored
            .iter()
            .map(|id| StockRow::new(sequence, product, lot, *id))
            .collect();
        StockRow::insert_all(tx, &stock)?;
    }
    let added = stored.len();
    if !Lot::beat(tx, lot, i64::try_from(added).unwrap_or(i64::MAX), now)? {
        return Err(Error::Unavailable(
            "the import stood still for too long and was given up",
        ));
    }
    Ok(u64::try_from(added).unwrap_or(u64::MAX))
}

/// The flip.
fn publish(
    tx: &mut DbConnection,
    cx: &Context,
    target: &Target,
    options: &ImportOptions,
    report: &ImportReport,
) -> Result<()> {
    if Sequence::lock(tx, target.sequence)?.deleted_at.is_some() {
        let detail = format!(
            "The sequence `{}` was deleted during the import.",
            options.sequence
        );
        return Err(Refusal::because(Code::SequenceNotFound, detail).into());
    }
    if !Lot::publish(tx, target.lot, cx.now)? {
        return Err(Error::Unavailable(
            "the import stood still for too long and was given up",
        ));
    }
    stock::wake_waiting_orders(tx, target.sequence, cx.now)?;
    let detail = json!({
        "sequence": options.sequence,
        "added": report.added,
        "duplicates": report.duplicates,
    });
    events::record(tx, cx, "keys.imported", Subject::Lot(target.lot), detail)
}
