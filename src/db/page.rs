//! Lists in pages: a limit and a cursor that says after which row to go on.

use data_encoding::BASE64URL_NOPAD;

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Rows wanted, 1 to [`PageRequest::MAX`].
    pub limit: i64,
    /// The cursor of the page before; `None` for the first.
    pub after: Option<Cursor>,
}

/// A place in a list: the sort key of its last row. Opaque outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The number part of the sort key.
    pub id: i64,
    /// The text part, where a list has one.
    pub text: String,
}

/// One page and the cursor of the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The rows.
    pub items: Vec<T>,
    /// `None` on the last page.
    pub next: Option<Cursor>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self {
            limit: Self::DEFAULT,
            after: None,
        }
    }
}

impl PageRequest {
    /// Rows on a page unless the caller says otherwise.
    pub const DEFAULT: i64 = 50;
    /// Rows on a page at most.
    pub const MAX: i64 = 500;

    /// The id to go on after; 0 at the start.
    pub fn after_id(&self) -> i64 {
        self.after.as_ref().map_or(0, |cursor| cursor.id)
    }

    /// One row more than the page, to see whether another page follows.
    pub fn fetch(&self) -> i64 {
        self.limit + 1
    }
}

impl Cursor {
    /// A cursor of a list that is sorted by id alone.
    pub fn of_id(id: i64) -> Self {
        Self {
            id,
            text: String::new(),
        }
    }

    /// Reads what [`Cursor::encode`] wrote.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (id, rest) = bytes.split_first_chunk::<8>()?;
        let text = String::from_utf8(rest.to_vec()).ok()?;
        // PostgreSQL has no texts with U+0000, so no row was ever there.
        let id = i64::from_be_bytes(*id);
        (!text.contains('\0')).then_some(Self { id, text })
    }

    /// The text that callers hand back.
    pub fn encode(&self) -> String {
        let mut bytes = self.id.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.text.as_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }
}

impl<T> Paged<T> {
    /// Cuts what [`PageRequest::fetch`] brought to the page asked for.
    pub fn cut(mut items: Vec<T>, page: &PageRequest, cursor: impl Fn(&T) -> Cursor) -> Self {
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }

    /// The same page of something made of each row.
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> Paged<U> {
        Paged {
            items: self.items.into_iter().map(each).collect(),
            next: self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_from_its_own_text() {
        for cursor in [
            Cursor::of_id(7),
            Cursor {
                id: -1,
                text: "машина 1".into(),
            },
        ] {
            assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
    }

    #[test]
    fn a_page_has_a_next_one_only_when_a_further_row_was_found() {
        let page = PageRequest {
            limit: 2,
            after: None,
        };
        assert_eq!(
            Paged::cut(vec![1, 2, 3], &page, |id| Cursor::of_id(*id)).next,
            Some(Cursor::of_id(2))
        );
        assert_eq!(
            Paged::cut(vec![1, 2], &page, |id| Cursor::of_id(*id)).next,
            None
        );
    }
}
