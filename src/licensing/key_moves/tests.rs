//! Every move from every standing.

use super::*;
use crate::db::models::key::KeyId;
use crate::db::models::product::{ProductColumns, ProductId};
use crate::db::models::sequence::SequenceId;
use crate::licensing::key_creation::blank;

const NOW: Timestamp = Timestamp::EARLIEST;

fn key(status: KeyStatus) -> Key {
    let assigned = matches!(status, KeyStatus::Sold | KeyStatus::Delivered);
    Key {
        sequence_id: Some(SequenceId(1)),
        product_id: assigned.then_some(ProductId(1)),
        status,
        assigned_at: assigned.then_some(NOW),
        ..blank(KeyId(1), "KEY", NOW)
    }
}

fn product() -> Product {
    Product {
        id: ProductId(7),
        columns: ProductColumns::new("sku".into(), "SKU".into(), NOW),
    }
}

#[test]
fn every_pair_of_statuses_is_allowed_or_refused_as_the_rules_say() {
    use KeyStatus::{Active, Delivered, Disabled, Inactive, Sold};
    for from in [Active, Inactive, Sold, Delivered] {
        for to in KeyStatus::ALL.iter().copied() {
            let mut key = key(from);
            let made = KeyMove::Status(to).make(&mut key, NOW);
            let allowed = from == to
                || to == Disabled
                || matches!(
                    (from, to),
                    (Active, Inactive) | (Inactive, Active) | (Sold, Delivered)
                );
            assert_eq!(made.is_ok(), allowed, "{from} to {to}");
            assert_eq!(key.status, if allowed { to } else { from });
            assert!(is_consistent(&key), "{from} to {to}");
        }
    }
}

#[test]
fn a_disabled_key_goes_back_to_where_it_was_and_nowhere_else() {
    for before in [
        KeyStatus::Active,
        KeyStatus::Inactive,
        KeyStatus::Sold,
        KeyStatus::Delivered,
    ] {
        for to in KeyStatus::ALL
            .iter()
            .copied()
            .filter(|to| *to != KeyStatus::Disabled)
        {
            let mut key = key(before);
            KeyMove::Disable.make(&mut key, NOW).unwrap();
            let made = KeyMove::Status(to).make(&mut key, NOW);
            assert_eq!(made.is_ok(), to == before, "{before} to {to}");
            assert!(is_consistent(&key));
        }
    }
}

#[test]
fn what_was_assigned_never_comes_back_for_sale() {
    for status in [KeyStatus::Active, KeyStatus::Inactive, KeyStatus::Disabled] {
        let mut key = key(KeyStatus::Active);
        KeyMove::Status(status).make(&mut key, NOW).unwrap();
        assign(&mut key, &product(), None, NOW);
        assert!(is_consistent(&key), "{status}");
        for what in [KeyMove::Disable, KeyMove::Enable] {
            what.make(&mut key, NOW).unwrap();
        }
        assert_eq!(
            (key.status, key.number_prefix.as_str()),
            (KeyStatus::Delivered, "SKU")
        );
        for to in [KeyStatus::Active, KeyStatus::Inactive] {
            assert!(KeyMove::Status(to).make(&mut key, NOW).is_err());
        }
    }
}

#[test]
fn an_order_enables_what_it_disabled_and_not_what_staff_disabled_before_or_after() {
    let mut by_order = key(KeyStatus::Sold);
    assert_eq!(disable_by_order(&mut by_order), Moved::Changed);
    let mut also_by_staff = by_order.clone();
    assert_eq!(enable_by_order(&mut by_order), Moved::Changed);
    assert_eq!(by_order.status, KeyStatus::Sold);

    assert_eq!(
        KeyMove::Disable.make(&mut also_by_staff, NOW),
        Ok(Moved::Changed)
    );
    assert_eq!(
        KeyMove::Disable.make(&mut also_by_staff, NOW),
        Ok(Moved::Unchanged)
    );
    assert_eq!(enable_by_order(&mut also_by_staff), Moved::Unchanged);

    let mut by_staff = key(KeyStatus::Sold);
    KeyMove::Disable.make(&mut by_staff, NOW).unwrap();
    assert_eq!(disable_by_order(&mut by_staff), Moved::Unchanged);
    assert_eq!(enable_by_order(&mut by_staff), Moved::Unchanged);
}

#[test]
fn terminated_is_final_and_facts_are_for_assigned_keys() {
    let all = [
        KeyMove::Revoke,
        KeyMove::Unrevoke,
        KeyMove::Suspend,
        KeyMove::Resume,
        KeyMove::Terminate,
    ];
    for what in all {
        assert!(
            what.make(&mut key(KeyStatus::Active), NOW).is_err(),
            "{what:?}"
        );
    }
    let mut key = key(KeyStatus::Delivered);
    assert_eq!(KeyMove::Terminate.make(&mut key, NOW), Ok(Moved::Changed));
    assert_eq!(KeyMove::Terminate.make(&mut key, NOW), Ok(Moved::Unchanged));
    for what in [
        KeyMove::Revoke,
        KeyMove::Disable,
        KeyMove::Enable,
        KeyMove::Resume,
    ] {
        let refusal = what.make(&mut key, NOW).unwrap_err();
        assert_eq!(refusal.facts["from"], "terminated", "{what:?}");
    }
}
