//! The keys of the benchmark: their texts follow from their numbers, so that none has to be kept.

/// Which keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sold, for up to 1,000 installations each.
    Sold,
    /// Sold, for any number of installations.
    Unlimited,
    /// In stock where none was ever sold.
    Stock,
    /// In stock where many were sold before.
    OldStock,
    /// Of an import that is timed; the number of its round.
    Import(u32),
}

impl Kind {
    fn seed(self) -> u64 {
        match self {
            Self::Sold => 1,
            Self::Unlimited => 2,
            Self::Stock => 3,
            Self::OldStock => 4,
            Self::Import(round) => 100 + u64::from(round),
        }
    }
}

/// Characters that nobody mistakes for another.
const CHARACTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Writes the text of a key: five times five characters, as `K7Q2M-9XHD4-T3RWP-6VJNC-BY8FZ`.
pub(crate) fn write_text(kind: Kind, number: u64, text: &mut Vec<u8>) {
    let mut chance = Chance::new(kind.seed() << 40 | number);
    let mut bits = 0;
    for place in 0..25 {
        if place > 0 && place % 5 == 0 {
            text.push(b'-');
        }
        if place % 12 == 0 {
            bits = chance.next();
        }
        text.push(CHARACTERS[usize::try_from(bits & 31).unwrap_or(0)]);
        bits >>= 5;
    }
}

/// As [`write_text`], for where it does not have to be fast.
#[cfg(test)]
pub(crate) fn text(kind: Kind, number: u64) -> String {
    let mut text = Vec::with_capacity(29);
    write_text(kind, number, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Numbers that look like chance and are the same in every run (`SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(end)) >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_keys_have_one_text() {
        let kinds = [
            Kind::Sold,
            Kind::Unlimited,
            Kind::Stock,
            Kind::OldStock,
            Kind::Import(1),
        ];
        let texts: HashSet<String> = kinds
            .into_iter()
            .flat_map(|kind| (0..1000).map(move |number| text(kind, number)))
            .collect();
        assert_eq!(texts.len(), 5000);
        assert!(texts.iter().all(|text| text.len() == 29));
    }

    #[test]
    fn chance_stays_below_its_end() {
        let mut chance = Chance::new(1);
        let drawn: HashSet<u64> = (0..1000).map(|_| chance.below(10)).collect();
        assert_eq!(drawn, (0..10).collect());
    }
}
