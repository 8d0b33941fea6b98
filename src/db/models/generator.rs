//! Generators: the patterns from which keys are made.

use crate::db::types::row_id;

row_id! {
    /// The id of a generator.
    GeneratorId
}
