//! Whether an update of an order is the moment to issue its keys.

use crate::db::models::order::OrderState;

/// The default test [UC-68]: the state **changed** into `payment_received` or `completed`, or crossed
/// from before payment to after it.
pub(crate) fn is_ready(old: OrderState, new: OrderState) -> bool {
    let changed_into = |state| new == state && old != state;
    changed_into(OrderState::PaymentReceived)
        || changed_into(OrderState::Completed)
        || (!old.is_paid() && new.is_paid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use OrderState::{Cancelled, Completed, PaymentReceived, Pending, Processing, Refunded};

    #[test]
    fn an_order_is_ready_when_it_enters_payment_or_completion_and_only_then() {
        for (old, new, ready) in [
            (Pending, Pending, false),
            (Pending, PaymentReceived, true),
            (Pending, Processing, true),
            (Pending, Completed, true),
            (Pending, Cancelled, false),
            (PaymentReceived, PaymentReceived, false),
            (PaymentReceived, Processing, false),
            (PaymentReceived, Completed, true),
            (Processing, Completed, true),
            (Processing, Pending, false),
            (Completed, Completed, false),
            (Completed, Refunded, false),
            (Refunded, Processing, true),
            (Cancelled, PaymentReceived, true),
        ] {
            assert_eq!(is_ready(old, new), ready, "{old} to {new}");
        }
    }
}
