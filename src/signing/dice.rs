//! Unbiased choices from the operating system's random numbers.

use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// Random bytes fetched from the operating system at once.
const BUFFER: usize = 1024;

/// Draws numbers, each as likely as every other.
pub(crate) struct Dice {
    bytes: Zeroizing<[u8; BUFFER]>,
    used: usize,
}

impl Dice {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Zeroizing::new([0; BUFFER]),
            used: BUFFER,
        }
    }

    /// A number below `sides`. What a remainder would favour is thrown again.
    pub(crate) fn below(&mut self, sides: u32) -> u32 {
        // The largest multiple of `sides` that 32 bits hold, less one.
        let fair = u32::MAX - (u32::MAX % sides + 1) % sides;
        loop {
            let thrown = self.next();
            if thrown <= fair {
                return thrown % sides;
            }
        }
    }

    fn next(&mut self) -> u32 {
        if self.used == BUFFER {
            SysRng
                .try_fill_bytes(&mut self.bytes[..])
                .expect("the operating system has random numbers");
            self.used = 0;
        }
        let (word, _) = self.bytes[self.used..]
            .split_first_chunk::<4>()
            .expect("the buffer is a whole number of words");
        self.used += 4;
        u32::from_le_bytes(*word)
    }
}

impl std::fmt::Debug for Dice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dice")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pearson's test: for a fair die of `sides` the sum is near `sides - 1`, and beyond this bound less
    /// than once in a million runs.
    #[test]
    fn every_side_comes_up_as_often_as_every_other() {
        for (sides, bound) in [(2u32, 25.0), (10, 50.0), (36, 100.0), (62, 140.0)] {
            let throws = 100_000;
            let mut dice = Dice::new();
            let mut counts = vec![0u32; usize::try_from(sides).unwrap()];
            for _ in 0..throws {
                counts[usize::try_from(dice.below(sides)).unwrap()] += 1;
            }
            let expected = f64::from(throws) / f64::from(sides);
            let sum: f64 = counts
                .iter()
                .map(|count| (f64::from(*count) - expected).powi(2) / expected)
                .sum();
            assert!(sum < bound, "{sides} sides: {sum}");
        }
    }

    #[test]
    fn a_die_of_one_side_has_one_outcome_and_a_large_one_stays_below_its_sides() {
        let mut dice = Dice::new();
        assert_eq!(dice.below(1), 0);
        for _ in 0..10_000 {
            assert!(dice.below(3_000_000_000) < 3_000_000_000);
        }
    }
}
