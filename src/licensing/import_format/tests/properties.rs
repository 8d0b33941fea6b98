//! What a format is written as reads back, however the bytes are cut.

use std::fmt::Write;

use super::*;
use crate::licensing::text::Text;

/// A record of the formats: sequence and key.
type Pair = (String, String);

/// How a text is written.
#[derive(Clone, Debug)]
struct Layout {
    end: &'static str,
    has_mark: bool,
    ends_with_line: bool,
    has_blank_lines: bool,
}

fn layout() -> impl Strategy<Value = Layout> {
    let end = prop::sample::select(vec!["\n", "\r\n"]);
    (end, any::<[bool; 3]>()).prop_map(|(end, [has_mark, ends_with_line, has_blank_lines])| {
        Layout {
            end,
            has_mark,
            ends_with_line,
            has_blank_lines,
        }
    })
}

impl Layout {
    fn render(&self, rows: impl Iterator<Item = String>) -> String {
        let gap = if self.has_blank_lines { self.end } else { "" };
        let mut text = String::from(if self.has_mark { "\u{feff}" } else { "" });
        text.push_str(gap);
        for row in rows {
            let _ = write!(text, "{row}{}{gap}", self.end);
        }
        if !self.ends_with_line {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        text
    }
}

/// Texts of the characters that formats give a meaning to, and a few others.
fn text(without: &'static str) -> impl Strategy<Value = String> {
    let all = "aK7 \t\"',;.\r\n-жé钥🔑\u{feff}";
    let left: Vec<char> = all.chars().filter(|c| !without.contains(*c)).collect();
    prop::collection::vec(prop::sample::select(left), 1..12)
        .prop_map(|characters| characters.into_iter().collect::<String>())
        .prop_filter("blank", |text| !text.trim().is_empty())
        // A byte order mark at the start of a file is none of its first key's.
        .prop_filter("mark", |text| !text.starts_with('\u{feff}'))
        // Together with the line break it would be another line break.
        .prop_filter("CR", |text| !text.ends_with('\r'))
}

fn pairs(name: &'static str, key: &'static str) -> impl Strategy<Value = Vec<Pair>> {
    prop::collection::vec((text(name), text(key)), 0..8)
}

fn read(options: FormatOptions, bytes: &[u8], cuts: &[usize]) -> Result<Output, Refusal> {
    let mut out = Vec::new();
    let mut parser = Parser::new(options)?;
    let mut rest = bytes;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, left) = rest.split_at((*cut).min(rest.len()));
        parser.push(piece, &mut out)?;
        rest = left;
    }
    parser.finish(&mut out)?;
    Ok(out)
}

fn pairs_of(out: Output) -> Vec<Pair> {
    out.into_iter()
        .map(|outcome| {
            let record = outcome.unwrap();
            let name = record.sequence.map(Text::into_string);
            (name.unwrap_or_default(), record.key.as_str().to_owned())
        })
        .collect()
}

fn in_quotes(cell: &str) -> String {
    format!("\"{}\"", cell.replace('"', "\"\""))
}

/// As a spreadsheet writes a cell.
fn tsv_cell(cell: &str) -> String {
    if cell.contains(['"', '\t']) {
        in_quotes(cell)
    } else {
        cell.to_owned()
    }
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..6, 1..20)
}

fn options() -> impl Strategy<Value = FormatOptions> {
    prop::sample::select(vec![
        FormatOptions::new(Format::Lines),
        FormatOptions::new(Format::Csv),
        FormatOptions::new(Format::Tsv),
        FormatOptions::new(Format::Block),
        table(Format::Csv, &["key", "sequence", "seat"], Header::Absent),
        table(Format::Tsv, &["sequence", "key"], Header::Present),
        table(Format::Csv, &[], Header::Present),
    ])
}

/// Any bytes, with many of those that formats give a meaning to.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(b"\n\r\t\",. \xef\xbb\xbfkey".to_vec());
    prop::collection::vec(prop_oneof![4 => special, 1 => any::<u8>()], 0..200)
}

/// UTF-8, with a row that names columns now and then.
fn any_text() -> impl Strategy<Value = String> {
    let first = prop::sample::select(vec!["", "key,sequence\n", "\u{feff}\u{feff}"]);
    (first, prop::collection::vec(text(""), 0..20))
        .prop_map(|(first, texts)| format!("{first}{}", texts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_read_back(keys in prop::collection::vec(text("\n"), 0..8), layout in layout(), cuts in cuts()) {
        let written = layout.render(keys.iter().cloned());
        let out = read(FormatOptions::new(Format::Lines), written.as_bytes(), &cuts).unwrap();
        let read: Vec<String> = pairs_of(out).into_iter().map(|(_, key)| key).collect();
        prop_assert_eq!(read, keys);
    }

    #[test]
    fn tsv_reads_back(pairs in pairs("\n", "\n"), layout in layout(), cuts in cuts()) {
        let rows = pairs.iter().map(|(name, key)| format!("{}\t{}", tsv_cell(name), tsv_cell(key)));
        let written = layout.render(rows);
        let out = read(FormatOptions::new(Format::Tsv), written.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(pairs_of(out), pairs);
    }

    #[test]
    fn keys_of_a_tsv_without_quotes_are_never_changed(pairs in pairs("\n\t\"", "\n\""), cuts in cuts()) {
        let written: String = pairs.iter().map(|(name, key)| format!("{name}\t{key}\n")).collect();
        let out = read(FormatOptions::new(Format::Tsv), written.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(pairs_of(out), pairs);
    }

    #[test]
    fn tables_with_columns_read_back(pairs in pairs("", ""), layout in layout(), cuts in cuts(), is_csv: bool) {
        let (format, separator) = if is_csv { (Format::Csv, ",") } else { (Format::Tsv, "\t") };
        let rows = pairs.iter().map(|(name, key)| {
            [in_quotes(key), in_quotes("x"), in_quotes(name)].join(separator)
        });
        let written = layout.render(rows);
        let options = table(format, &["key", "note", "sequence"], Header::Absent);
        let out = read(options, written.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(pairs_of(out), pairs);
    }

    #[test]
    fn blocks_read_back(pairs in pairs("\n", ""), layout in layout(), cuts in cuts()) {
        let mark = "=== end ===";
        let rows = pairs.iter().map(|(name, key)| {
            format!("{name}{end}{key}{end}{mark}", end = layout.end)
        });
        let written = layout.render(rows);
        let options = FormatOptions { end_mark: mark.to_owned(), ..FormatOptions::new(Format::Block) };
        prop_assert_eq!(pairs_of(read(options, written.as_bytes(), &cuts).unwrap()), pairs);
    }

    #[test]
    fn it_does_not_matter_how_bytes_are_cut(bytes in bytes(), cuts in cuts(), options in options()) {
        let whole = read(options.clone(), &bytes, &[usize::MAX]);
        prop_assert_eq!(read(options, &bytes, &cuts), whole);
    }

    #[test]
    fn it_does_not_matter_how_text_is_cut(text in any_text(), cuts in cuts(), options in options()) {
        let whole = read(options.clone(), text.as_bytes(), &[usize::MAX]);
        prop_assert_eq!(read(options, text.as_bytes(), &cuts), whole);
    }
}
