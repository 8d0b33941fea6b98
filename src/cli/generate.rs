//! `countersign generate`

use anyhow::bail;
use clap::Args;

use super::print_line;
use super::work::{Standing, Worker, unless_failed};
use crate::config::Config;
use crate::control::work::{GenerateWork, Outcome, Work};
use crate::db::models::generator::GeneratorId;

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
    #[command(flatten)]
    standing: Standing,
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
            order: self.standing.order(),
            product: self.standing.product,
            status: self.standing.status,
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
