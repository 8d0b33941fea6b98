//! `countersign generate`

use anyhow::bail;
use clap::Args;

use super::print_line;
use super::work::{Worker, named_order, unless_failed};
use crate::config::Config;
use crate::control::work::{GenerateWork, Outcome, Work};
use crate::db::models::generator::GeneratorId;
use crate::db::models::key::KeyStatus;

/// What to make.
#[derive(Debug, Args)]
pub(super) struct Generate {
    /// The id of the generator
    generator: i64,
    /// How many keys
    #[arg(long)]
    quantity: i64,
    /// The sequence that they go into; the product's own by default
    #[arg(long, required_unless_present = "product")]
    sequence: Option<String>,
    /// The sku of the only product that may take them
    #[arg(long)]
    product: Option<String>,
    /// active, inactive, sold, delivered or disabled; by default for sale, or sold to the order
    #[arg(long)]
    status: Option<KeyStatus>,
    /// The ref of the order that the keys are for
    #[arg(long, requires = "product")]
    order: Option<String>,
    /// The name of its shop, where several have such an order
    #[arg(long, requires = "order")]
    shop: Option<String>,
    /// Days that they are valid from their purchase on; the generator's by default
    #[arg(long, value_name = "DAYS")]
    valid_for_days: Option<i64>,
}

impl Generate {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        let work = GenerateWork {
            generator: GeneratorId(self.generator),
            quantity: self.quantity,
            sequence: self.sequence,
            product: self.product,
            status: self.status,
            order: named_order(self.order, self.shop),
            valid_for_days: self.valid_for_days,
        };
        let outcome = Worker::find(config)?.carry_out(Work::Generate(work))?;
        match unless_failed(outcome)? {
            Outcome::Made { made } => print_line(format_args!("made {made} keys")),
            other => bail!("the server answered {other:?}, which is no making of keys"),
        }
        Ok(())
    }
}
