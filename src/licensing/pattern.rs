//! The pattern of a generator: chunks of characters from a finite set, joined by a separator, between a
//! prefix and a suffix [SHOP-6, SHOP-12..17].

use super::text::MAX_KEY_BYTES;
use crate::db::models::generator::GeneratorColumns;
use crate::error::FieldError;
use crate::signing::dice::Dice;

/// The most chunks, and the most characters in one [SHOP-13, 14].
const MOST: i64 = 99;
/// The most characters to choose from.
const MAX_CHARSET: usize = 1000;

/// A pattern that can be drawn from.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    characters: Vec<char>,
    sides: u32,
    chunks: u32,
    chunk_length: u32,
    separator: String,
    prefix: String,
    suffix: String,
}

impl Pattern {
    /// Checks what a generator was given.
    ///
    /// # Errors
    /// Each member that is wrong.
    pub(crate) fn of(columns: &GeneratorColumns) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let characters: Vec<char> = columns.charset.chars().collect();
        check_charset(&characters, &mut errors);
        for (field, text) in [
            ("separator", &columns.separator),
            ("prefix", &columns.prefix),
            ("suffix", &columns.suffix),
        ] {
            if text.chars().any(char::is_control) {
                let detail = "holds a character that cannot be typed";
                errors.push(FieldError::new(field, "invalid", detail));
            }
        }
        let chunks = count("chunks", columns.chunks, &mut errors);
        let chunk_length = count("chunk_length", columns.chunk_length, &mut errors);
        let pattern = Self {
            sides: u32::try_from(characters.len()).unwrap_or(1),
            characters,
            chunks,
            chunk_length,
            separator: columns.separator.clone(),
            prefix: columns.prefix.clone(),
            suffix: columns.suffix.clone(),
        };
        let longest = pattern.longest();
        if errors.is_empty() && longest > MAX_KEY_BYTES {
            let detail = format!(
                "makes keys of up to {longest} bytes; a key has at most {MAX_KEY_BYTES}: fewer or shorter chunks"
            );
            errors.push(FieldError::new("chunks", "too_long", detail));
        }
        if errors.is_empty() {
            Ok(pattern)
        } else {
            Err(errors)
        }
    }

    /// How many different texts there are; `None` for more than 2^53, which JSON's readers cannot count
    /// exactly and nobody will use up.
    pub(crate) fn capacity(&self) -> Option<u64> {
        const EXACT: u64 = 1 << 53;
        u64::from(self.sides)
            .checked_pow(self.random_characters())
            .filter(|texts| *texts <= EXACT)
    }

    /// Bits of chance in a text, to a tenth and rounded down: how hard it is to guess.
    pub(crate) fn bits(&self) -> f64 {
        let bits = f64::from(self.sides).log2() * f64::from(self.random_characters());
        (bits * 10.0 + 1e-6).floor() / 10.0
    }

    /// A text, each as likely as every other.
    pub(crate) fn draw(&self, dice: &mut Dice) -> String {
        let mut text = String::with_capacity(self.longest());
        text.push_str(&self.prefix);
        for chunk in 0..self.chunks {
            if chunk > 0 {
                text.push_str(&self.separator);
            }
            for _ in 0..self.chunk_length {
                let side = usize::try_from(dice.below(self.sides)).unwrap_or(0);
                text.push(self.characters[side]);
            }
        }
        text.push_str(&self.suffix);
        text
    }

    fn random_characters(&self) -> u32 {
        self.chunks * self.chunk_length
    }

    /// The longest text, in bytes.
    fn longest(&self) -> usize {
        let character = self.characters.iter().map(|c| c.len_utf8()).max();
        let times = |count: u32, bytes: usize| bytes * usize::try_from(count).unwrap_or(usize::MAX);
        times(self.random_characters(), character.unwrap_or(0))
            + times(self.chunks.saturating_sub(1), self.separator.len())
            + self.prefix.len()
            + self.suffix.len()
    }
}

fn check_charset(characters: &[char], errors: &mut Vec<FieldError>) {
    let mut sorted = characters.to_vec();
    sorted.sort_unstable();
    let twice = sorted.windows(2).find(|pair| pair[0] == pair[1]);
    let problem = if characters.is_empty() {
        "needs at least one character".to_owned()
    } else if characters.len() > MAX_CHARSET {
        format!("has more than {MAX_CHARSET} characters")
    } else if characters.iter().any(|c| c.is_control()) {
        "holds a character that cannot be typed".to_owned()
    } else if let Some(pair) = twice {
        format!(
            "holds `{}` twice; each character counts once, so that all are equally likely",
            pair[0]
        )
    } else {
        return;
    };
    errors.push(FieldError::new("charset", "invalid", problem));
}

fn count(field: &str, value: i64, errors: &mut Vec<FieldError>) -> u32 {
    match u32::try_from(value) {
        Ok(count) if (1..=MOST).contains(&value) => count,
        _ => {
            let detail = format!("must be from 1 to {MOST}");
            errors.push(FieldError::new(field, "out_of_range", detail));
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::db::models::generator::GeneratorKind;

    fn columns(charset: &str, chunks: i64, chunk_length: i64) -> GeneratorColumns {
        GeneratorColumns {
            name: "sample".into(),
            kind: GeneratorKind::Pattern,
            charset: charset.into(),
            chunks,
            chunk_length,
            separator: "-".into(),
            prefix: "PRE-".into(),
            suffix: "-SUF".into(),
            max_activations: None,
            expires_in_days: None,
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
        }
    }

    /// The characters of a text that are chance, with the fixed parts taken off.
    fn random_part<'a>(text: &'a str, columns: &GeneratorColumns) -> Vec<&'a str> {
        let inner = text
            .strip_prefix(columns.prefix.as_str())
            .and_then(|text| text.strip_suffix(columns.suffix.as_str()))
            .unwrap();
        inner.split(columns.separator.as_str()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// [SHOP-6, SHOP-12..14]
        #[test]
        fn a_text_has_the_chunks_characters_and_ends_of_its_pattern(
            charset in proptest::collection::hash_set("[0-9a-zA-Zж钥]", 1..20),
            chunks in 1i64..=12,
            chunk_length in 1i64..=12,
        ) {
            let charset: String = charset.into_iter().collect();
            let columns = columns(&charset, chunks, chunk_length);
            let text = Pattern::of(&columns).unwrap().draw(&mut Dice::new());
            let found = random_part(&text, &columns);
            prop_assert_eq!(i64::try_from(found.len()).unwrap(), chunks);
            for chunk in found {
                prop_assert_eq!(i64::try_from(chunk.chars().count()).unwrap(), chunk_length);
                prop_assert!(chunk.chars().all(|c| charset.contains(c)));
            }
        }
    }

    /// [SHOP-15..17]
    #[test]
    fn prefix_and_suffix_stand_at_the_ends_and_the_separator_between_chunks_alone() {
        // One character to draw: the whole text is known.
        for (chunks, length, expected) in [
            (1, 3, "PRE-XXX-SUF"),
            (3, 1, "PRE-X-X-X-SUF"),
            (4, 2, "PRE-XX-XX-XX-XX-SUF"),
        ] {
            let pattern = Pattern::of(&columns("X", chunks, length)).unwrap();
            assert_eq!(pattern.draw(&mut Dice::new()), expected);
        }
    }

    #[test]
    fn capacity_and_bits_follow_from_the_characters() {
        let capacity = |charset, chunks, length| {
            let pattern = Pattern::of(&columns(charset, chunks, length)).unwrap();
            (pattern.capacity(), pattern.bits())
        };
        assert_eq!(capacity("AB", 2, 2), (Some(16), 4.0));
        assert_eq!(capacity("A", 9, 9), (Some(1), 0.0));
        assert_eq!(capacity("0123456789", 1, 15), (Some(10u64.pow(15)), 49.8));
        assert_eq!(capacity("0123456789", 2, 8), (None, 53.1));
        assert_eq!(capacity("0123456789", 30, 30).1, 2989.7);
    }

    #[test]
    fn what_cannot_be_a_pattern_is_named() {
        let field = |columns: &GeneratorColumns| {
            let errors = Pattern::of(columns).unwrap_err();
            errors
                .iter()
                .map(|error| error.field.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(field(&columns("", 1, 1)), ["charset"]);
        assert_eq!(field(&columns("ABA", 1, 1)), ["charset"]);
        assert_eq!(field(&columns("AB", 0, 100)), ["chunks", "chunk_length"]);
        assert_eq!(field(&columns("钥匙", 99, 99)), ["chunks"]);
        let mut wrong = columns("AB", 1, 1);
        wrong.separator = "\n".into();
        assert_eq!(field(&wrong), ["separator"]);
    }
}
