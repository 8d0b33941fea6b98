//! Generate: make keys by a generator into stock, ahead of any purchase [SHOP-19..32].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::context::Context;
use super::events::{self, Subject};
use super::idempotency::{self, Begun, Made, Place, Repeatable};
use super::making::{Draws, has_room};
use super::mint::{Batch, Recipe, Terms};
use super::orders;
use super::staging::{self, CHUNK, ForOrder, NamedOrder};
use super::{generators, products, sequences};
use crate::app::App;
use crate::db::models::generator::{Generator, GeneratorId};
use crate::db::models::key::{KeySource, KeyStatus};
use crate::db::models::lot::{Lot, LotId, LotKind};
use crate::db::models::new_key::NewKey;
use crate::db::models::product::Product;
use crate::db::models::sequence::{Sequence, SequenceId};
use crate::db::{DbConnection, ids};
use crate::error::{Code, Error, Refusal, Result};
use crate::signing::dice::Dice;

/// The most keys of one call.
pub(crate) const MAX_QUANTITY: i64 = 1_000_000;
/// How long a call waits for the one before it.
const TURN_WITHIN: Duration = Duration::from_secs(30);

/// What to make, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Generate {
    pub generator: GeneratorId,
    pub quantity: i64,
    /// The sequence that the keys go into; the product's own where none is named.
    pub sequence: Option<String>,
    /// The sku of the only product that may take them.
    pub product: Option<String>,
    /// `None` for what goes with the rest: in stock and for sale, or sold to the order.
    pub status: Option<KeyStatus>,
    /// The order that the keys are for.
    pub order: Option<NamedOrder>,
    /// Days of validity from the purchase on; the generator's where none are given [SHOP-22].
    pub valid_for_days: Option<i64>,
    /// What the call is recognised by when it is repeated.
    pub repeatable: Option<Repeatable>,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Generated {
    /// Keys.
    pub made: u64,
}

/// What was found before anything is made.
#[derive(Clone, Debug)]
struct Plan {
    generator: Generator,
    recipe: Recipe,
    sequence: SequenceId,
    wanted: usize,
    batch: Batch,
    order: Option<ForOrder>,
    lot: LotId,
}

impl App {
    /// Makes keys into stock: all of them, or none. What has begun goes on when its caller leaves.
    ///
    /// # Errors
    /// `generator_not_found`, `sequence_not_found`, `product_not_found`, `pattern_exhausted`, or which
    /// member is wrong.
    pub(crate) async fn generate_keys(
        self: &Arc<Self>,
        cx: Context,
        input: Generate,
    ) -> Result<(Made, Generated)> {
        let app = Arc::clone(self);
        let made = tokio::spawn(async move { app.generate(cx, input).await });
        made.await
            .map_err(|error| Error::internal(format!("making keys ended badly: {error}")))?
    }

    /// Generates once, however often the call is repeated.
    async fn generate(&self, cx: Context, input: Generate) -> Result<(Made, Generated)> {
        let (caller, call) = (cx.clone(), input.repeatable.clone());
        let begun = self
            .db
            .write(move |tx| idempotency::begin(tx, &caller, call.as_ref()))
            .await?;
        let place = match begun {
            Begun::Now(place) => place,
            Begun::Before(id) => {
                let made = Made { id, now: None };
                let lot = LotId(id);
                let generated = self.db.read(move |conn| show_generated(conn, lot)).await?;
                return Ok((made, generated));
            }
        };
        let made = self.generate_now(cx, input, place.clone()).await;
        if made.is_err()
            && let Err(error) = self.db.write(move |tx| place.give_up(tx)).await
        {
            tracing::warn!(%error, "the Idempotency-Key of a failed making is held a little longer");
        }
        made
    }

    async fn generate_now(
        &self,
        cx: Context,
        input: Generate,
        place: Place,
    ) -> Result<(Made, Generated)> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.generating.lock()).await;
        let _turn = turn.map_err(|_| Error::from(Code::ImportInProgress))?;
        self.sweep_dead_lot(LotKind::Generated).await?;
        let cx = Context {
            now: self.clock.now(),
            ..cx
        };
        let plan = {
            let (cx, place) = (cx.clone(), place.clone());
            self.db
                .write(move |tx| {
                    place.extend(tx, cx.now)?;
                    plan(tx, &cx, &input)
                })
                .await?
        };
        let lot = plan.lot;
        let made = match self.make_all(&plan, &place).await {
            Ok(()) => self.publish_made(cx, plan, place).await,
            Err(error) => Err(error),
        };
        if made.is_err()
            && let Err(error) = self.sweep(lot).await
        {
            tracing::warn!(%error, "keys of an unfinished making were not taken away");
        }
        made
    }

    async fn make_all(&self, plan: &Plan, place: &Place) -> Result<()> {
        let share = self.mint().share(&plan.batch);
        let mut draws = Draws::for_keys(plan.wanted);
        let mut made = 0;
        while made < plan.wanted {
            self.go_on_unless_stopping()?;
            let Some(count) = draws.take((plan.wanted - made).min(CHUNK)) else {
                return Err(exhausted(&plan.generator).into());
            };
            let ids = self
                .db
                .write(move |tx| Ok(ids::take_key_ids(tx, count)?))
                .await?;
            let rows = self.draw(plan, ids).await?;
            let (lot, clock, place) = (plan.lot, self.clock.clone(), place.clone());
            let share = share.clone();
            let (_, new) = self
                .db
                .write(move |tx| {
                    place.extend(tx, clock.now())?;
                    staging::stage(tx, lot, (&share, &rows), clock.now(), |_| true)
                })
                .await?;
            made += new;
        }
        Ok(())
    }

    /// Draws and seals texts, which is work for a processor and not for a transaction.
    async fn draw(&self, plan: &Plan, ids: Vec<i64>) -> Result<Vec<NewKey>> {
        let mint = self.mint();
        let Plan {
            recipe,
            sequence,
            batch,
            ..
        } = plan.clone();
        tokio::task::spawn_blocking(move || {
            let mut dice = Dice::new();
            let sku = batch.product.as_ref().map(|product| product.sku.clone());
            let mut rows = ids
                .into_iter()
                .map(|id| {
                    let text = mint.text(&recipe, id, sku.as_deref(), None, &mut dice)?;
                    Ok(mint.key(id, &text, Some(sequence), batch.terms, None))
                })
                .collect::<Result<Vec<_>>>()?;
            staging::sort_for_index(&mut rows);
            Ok(rows)
        })
        .await
        .map_err(|error| Error::internal(format!("drawing keys ended early: {error}")))?
    }

    async fn publish_made(
        &self,
        cx: Context,
        plan: Plan,
        place: Place,
    ) -> Result<(Made, Generated)> {
        let made = plan.wanted;
        let sequences = BTreeSet::from([plan.sequence]);
        let (published, clock) = (sequences.clone(), self.clock.clone());
        self.db
            .write(move |tx| {
                let cx = Context {
                    now: clock.now(),
                    ..cx.clone()
                };
                place.finish(tx, plan.lot.0)?;
                let order = match plan.order {
                    Some(order) => Some(order.lock(tx, made)?),
                    None => None,
                };
                staging::publish_lot(tx, plan.lot, &published, cx.now)?;
                if let Some(order) = order {
                    orders::follow_keys(tx, &cx, order)?;
                }
                let detail = json!({
                    "generator": plan.generator.name,
                    "sequence_id": plan.sequence,
                    "made": made,
                });
                events::record(tx, &cx, "keys.generated", Subject::Lot(plan.lot), detail)
            })
            .await?;
        self.serve_after_publishing(&sequences).await;
        let generated = Generated {
            made: u64::try_from(made).unwrap_or(u64::MAX),
        };
        let made = Made {
            id: plan.lot.0,
            now: Some(()),
        };
        Ok((made, generated))
    }
}

/// What was made into this lot, for the answer to a repeated call.
///
/// # Errors
/// The database's.
fn show_generated(conn: &mut DbConnection, lot: LotId) -> Result<Generated> {
    let made = Lot::size(conn, lot)?;
    Ok(Generated {
        made: u64::try_from(made).unwrap_or(0),
    })
}

fn plan(tx: &mut DbConnection, cx: &Context, input: &Generate) -> Result<Plan> {
    let generator = generators::find(tx, input.generator)?;
    let recipe = Recipe::of(&generator.columns)
        .map_err(|_| Error::internal("a generator that was checked is wrong"))?;
    let wanted = quantity(input.quantity)?;
    let (sequence, product) = destination(tx, input)?;
    let terms = generator.terms().overridden(Terms {
        valid_for_days: input.valid_for_days,
        ..Terms::default()
    });
    let errors = terms.check();
    if !errors.is_empty() {
        return Err(Refusal::invalid(errors).into());
    }
    let order = match &input.order {
        Some(name) => Some(ForOrder::find(tx, name, product.as_ref())?),
        None => None,
    };
    let standing = staging::standing(input.status, product.as_ref(), order, cx.now)?;
    if !has_room(tx, &generator, &recipe, wanted)? {
        return Err(exhausted(&generator).into());
    }
    let lot = Lot::open(
        tx,
        LotKind::Generated,
        Some(sequence),
        cx.actor.account(),
        cx.now,
    )?
    .ok_or(Error::from(Code::ImportInProgress))?;
    let batch = Batch {
        source: KeySource::Generator,
        generator: Some(generator.id),
        lot: Some(lot),
        product,
        terms: match standing.assigned_at {
            Some(at) => terms.at_issue(at),
            None => terms,
        },
        standing,
        now: cx.now,
    };
    Ok(Plan {
        generator,
        recipe,
        sequence,
        wanted,
        batch,
        order,
        lot,
    })
}

fn quantity(asked: i64) -> Result<usize> {
    match usize::try_from(asked) {
        Ok(wanted) if (1..=MAX_QUANTITY).contains(&asked) => Ok(wanted),
        _ => {
            let detail = format!("must be from 1 to {MAX_QUANTITY}");
            Err(Refusal::wrong("quantity", "out_of_range", detail).into())
        }
    }
}

/// The sequence that the keys go into, and the product that they are bound to.
fn destination(tx: &mut DbConnection, input: &Generate) -> Result<(SequenceId, Option<Product>)> {
    let named: Option<Sequence> = match &input.sequence {
        Some(name) => Some(sequences::find(tx, name)?),
        None => None,
    };
    let product = match &input.product {
        Some(sku) => Some(Product::find_by_sku(tx, sku)?.ok_or_else(|| products::not_found(sku))?),
        None => None,
    };
    match (named, product) {
        (None, None) => {
            let detail = "name the sequence or the product that the keys are for";
            Err(Refusal::wrong("sequence", "required", detail).into())
        }
        (Some(sequence), None) => Ok((sequence.id, None)),
        (named, Some(product)) => match (product.sequence_id, named) {
            (None, _) => {
                let detail = format!("`{}` has no sequence to put keys into", product.sku);
                Err(Refusal::wrong("product", "no_sequence", detail).into())
            }
            (Some(own), Some(named)) if own != named.id => {
                let detail = format!("`{}` does not use this sequence", product.sku);
                Err(Refusal::wrong("product", "other_sequence", detail).into())
            }
            (Some(own), _) => Ok((own, Some(product))),
        },
    }
}

fn exhausted(generator: &Generator) -> Refusal {
    let capacity = Recipe::of(&generator.columns)
        .ok()
        .and_then(|recipe| recipe.capacity());
    Refusal::because(
        Code::PatternExhausted,
        format!(
            "The pattern of `{}` cannot make so many texts that are not taken; more chunks, longer ones or more \
             characters would.",
            generator.name
        ),
    )
    .with("capacity", capacity)
}
