//! Every format, and what holds for all of them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::Code;
use crate::licensing::text::MAX_KEY_BYTES;

mod properties;

fn parse(options: FormatOptions, text: impl AsRef<[u8]>) -> Result<Output, Refusal> {
    let mut out = Vec::new();
    let mut parser = Parser::new(options)?;
    parser.push(text.as_ref(), &mut out)?;
    parser.finish(&mut out)?;
    Ok(out)
}

fn of(format: Format, text: impl AsRef<[u8]>) -> Output {
    parse(FormatOptions::new(format), text).unwrap()
}

/// The records as `line sequence key`, the failures as `line !code`.
fn shown(out: Output) -> Vec<String> {
    out.into_iter()
        .map(|outcome| match outcome {
            Ok(record) => match record.sequence {
                Some(name) => format!("{} {} {}", record.line, name.as_str(), record.key.as_str()),
                None => format!("{} {}", record.line, record.key.as_str()),
            },
            Err(failed) => format!("{} !{}", failed.line, failed.code),
        })
        .collect()
}

fn table(format: Format, columns: &[&str], header: Header) -> FormatOptions {
    FormatOptions {
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        header,
        ..FormatOptions::new(format)
    }
}

/// [SHOP-47]
#[test]
fn keys_are_taken_line_by_line_and_byte_for_byte() {
    let body = "\u{feff}K1\r\n\r\n  K 2 \n \t \nсекрет\n\n钥匙\tx\n\"q\",\na\rb\n\u{feff}K\0";
    let keys: Vec<String> = of(Format::Lines, body)
        .into_iter()
        .map(|record| record.unwrap().key.as_str().to_owned())
        .collect();
    assert_eq!(
        keys,
        [
            "K1",
            "  K 2 ",
            "секрет",
            "钥匙\tx",
            "\"q\",",
            "a\rb",
            "\u{feff}K\0"
        ]
    );
}

#[test]
fn what_is_no_utf_8_refuses_the_whole_and_names_the_line() {
    for wrong in [&b"K1\nK\xff2\n"[..], b"K1\n\xd0", b"K1\r\n\xf0\x9f\x94"] {
        for format in Format::ALL {
            let refusal = parse(FormatOptions::new(*format), wrong).unwrap_err();
            assert_eq!(refusal.code, Code::MalformedRequest);
            assert!(refusal.detail.contains("Line 2"), "{}", refusal.detail);
        }
    }
}

#[test]
fn a_line_of_any_length_fails_alone_and_no_detail_repeats_a_key() {
    let long = "SECRET".repeat(100_000);
    for (format, line, good) in [
        (Format::Lines, format!("{long}\n"), "K1\n"),
        (Format::Tsv, format!("pool\t{long}\n"), "pool\tK1\n"),
        (Format::Csv, format!("\"{long}\n,{long}\"\n"), "K1\n"),
        (
            Format::Block,
            format!("pool\n{long}\n{long}\n.\n"),
            "pool\nK1\n.\n",
        ),
        (Format::Block, format!("{long}\nK0\n.\n"), "pool\nK1\n.\n"),
    ] {
        let out = of(format, format!("{line}{good}"));
        let [Err(failed), Ok(record)] = out.as_slice() else {
            panic!("{format}: {} outcomes", out.len())
        };
        assert_eq!((failed.line, record.key.as_str()), (1, "K1"), "{format}");
        assert!(!failed.detail.contains("SECRET"), "{}", failed.detail);
        assert!(failed.code.ends_with("too_long"), "{}", failed.code);
    }
}

#[test]
fn the_longest_key_is_taken_in_every_format() {
    let key = "k".repeat(MAX_KEY_BYTES);
    for (format, text) in [
        (Format::Lines, key.clone()),
        (Format::Csv, key.clone()),
        (Format::Tsv, format!("pool\t{key}")),
        (Format::Block, format!("pool\n{key}\n.")),
    ] {
        assert_eq!(of(format, &text)[0].as_ref().unwrap().key.as_str(), key);
        let longer = of(format, text.replace(&key, &format!("{key}k")));
        assert_eq!(longer[0].as_ref().unwrap_err().code, "too_long", "{format}");
    }
}

/// [UC-34]
#[test]
fn tsv_splits_at_the_first_tab_and_keeps_the_rest() {
    let text = "pool\tK1\r\n\npool 2\tK\t2 \r\n\t\r\npool\t\nK4\n\tK5\n";
    assert_eq!(
        shown(of(Format::Tsv, text)),
        [
            "1 pool K1",
            "3 pool 2 K\t2 ",
            "5 !empty_key",
            "6 !no_tab",
            "7 !empty_sequence"
        ]
    );
}

/// [UC-34]
#[test]
fn tsv_takes_a_cell_out_of_quotes_only_when_a_spreadsheet_put_it_there() {
    for (cell, key) in [
        (r#""A""B""#, r#"A"B"#),
        ("\"A\tB\"", "A\tB"),
        (r#""""A""""#, r#""A""#),
        // No reason to quote it, not closed, or quotes that are not doubled: the key has them.
        (r#""AB""#, r#""AB""#),
        (r#""AB"#, r#""AB"#),
        (r#""A"B""C""#, r#""A"B""C""#),
        (r#"A""B"#, r#"A""B"#),
        (r#"""#, r#"""#),
        (r#""""#, r#""""#),
    ] {
        assert_eq!(
            shown(of(Format::Tsv, format!("p\t{cell}"))),
            [format!("1 p {key}")]
        );
    }
    assert_eq!(shown(of(Format::Tsv, "\"p\tq\"\tK1")), ["1 p\tq K1"]);
    assert_eq!(shown(of(Format::Tsv, "\"p\tK1")), ["1 \"p K1"]);
}

#[test]
fn csv_takes_the_first_cell_of_a_row_with_quotes_and_line_breaks() {
    let text = "K1,x,y\r\n\r\n\"K,2\"\n,,\n\"K\r\n\"\"3\"\"\n\"\nK 4 \nK5\r,\n\"K6\"";
    assert_eq!(
        shown(of(Format::Csv, text)),
        [
            "1 K1",
            "3 K,2",
            "5 K\r\n\"3\"\n",
            "8 K 4 ",
            "9 K5\r",
            "10 K6"
        ]
    );
    assert_eq!(shown(of(Format::Csv, "K1\n,x\n")), ["1 K1", "2 !empty_key"]);
}

#[test]
fn a_quote_that_is_never_closed_is_a_failure_where_its_row_begins() {
    for text in ["K1\n\"K2\nK3\n", "K1\n\"", "K1\nK2,\"\n\n"] {
        let out = shown(of(Format::Csv, text));
        assert_eq!(out, ["1 K1", "2 !unclosed_quote"], "{text:?}");
    }
}

#[test]
fn declared_columns_are_the_keys_own_and_others_go_into_extra() {
    let names = [
        "seat",
        "key",
        "",
        "sequence",
        "expires_at",
        "valid_for_days",
        "max_activations",
    ];
    let row = "12A,K1,-,pool,2030-05-04T09:30:00Z,30,3";
    let with_names = format!("\n{}\r\n{row}\r\n", names.join(","));
    for (options, text) in [
        (table(Format::Csv, &names, Header::Absent), row.to_owned()),
        (
            table(Format::Csv, &names, Header::Present),
            format!("Sitz,Code\n{row}"),
        ),
        (table(Format::Csv, &[], Header::Present), with_names.clone()),
        (
            table(Format::Tsv, &[], Header::Present),
            with_names.replace(',', "\t"),
        ),
    ] {
        let out = parse(options, text).unwrap();
        let [Ok(record)] = out.as_slice() else {
            panic!("{:?}", shown(out))
        };
        assert_eq!(record.key.as_str(), "K1");
        assert_eq!(record.sequence.as_ref().unwrap().as_str(), "pool");
        assert_eq!(
            record.expires_at.unwrap().to_string(),
            "2030-05-04T09:30:00Z"
        );
        assert_eq!(
            (record.valid_for_days, record.max_activations),
            (Some(30), Some(3))
        );
        assert_eq!(json!(record.extra.0), json!({ "seat": "12A" }));
    }
}

#[test]
fn empty_cells_leave_out_and_wrong_cells_fail_with_their_line() {
    let columns = [
        "key",
        "expires_at",
        "valid_for_days",
        "max_activations",
        "seat",
    ];
    let text = "K1\nK2,,,,\nK3,tomorrow\nK4,,0\nK5,,36501\nK6,,,-1\nK7,,,x\nK8,,,,\0\nK9,,,,,\nK10,,,,a,b\n";
    let out = parse(table(Format::Csv, &columns, Header::Absent), text).unwrap();
    assert!(
        out[1]
            .as_ref()
            .is_ok_and(|record| record.extra.0.is_empty())
    );
    assert_eq!(
        shown(out),
        [
            "1 K1",
            "2 K2",
            "3 !invalid_expires_at",
            "4 !invalid_valid_for_days",
            "5 !invalid_valid_for_days",
            "6 !invalid_max_activations",
            "7 !invalid_max_activations",
            "8 !invalid_extra",
            "9 K9",
            "10 !too_many_cells",
        ]
    );
    let large = format!("K1,,,,{}\n", "x".repeat(20_000));
    let out = parse(table(Format::Csv, &columns, Header::Absent), large).unwrap();
    assert_eq!(shown(out), ["1 !invalid_extra"]);
}

#[test]
fn columns_that_cannot_be_are_refused_without_repeating_the_first_row() {
    for (options, text, field) in [
        (table(Format::Csv, &["seat"], Header::Absent), "", "columns"),
        (
            table(Format::Csv, &["key", "key"], Header::Absent),
            "",
            "columns",
        ),
        (
            table(Format::Tsv, &["key", "a", "a"], Header::Absent),
            "",
            "columns",
        ),
        (
            table(Format::Lines, &["key"], Header::Absent),
            "",
            "columns",
        ),
        (table(Format::Block, &[], Header::Present), "", "columns"),
        (
            table(Format::Csv, &[], Header::Present),
            "SECRET,SECRET\n",
            "header",
        ),
        (
            table(Format::Csv, &[], Header::Present),
            "SECRET,S\n",
            "header",
        ),
        (table(Format::Csv, &[], Header::Present), "\n\n", "header"),
    ] {
        let refusal = parse(options, text).unwrap_err();
        assert_eq!(refusal.code, Code::ValidationFailed);
        assert_eq!(refusal.errors[0].field, field);
        assert!(!refusal.detail.contains("SECRET"), "{}", refusal.detail);
    }
}

/// [UC-36]
#[test]
fn a_block_keeps_the_line_breaks_within_a_key_as_they_came() {
    let text = "\u{feff}\r\n\npool\nK1\n.\n \npool 2\r\n-----\r\n\r\n a\n. \n..\nend\n\r\n.\r\n";
    assert_eq!(
        shown(of(Format::Block, text)),
        ["3 pool K1", "7 pool 2 -----\r\n\r\n a\n. \n..\nend\n"]
    );
}

/// [UC-36]
#[test]
fn another_end_mark_is_taken_as_it_is() {
    let with_mark = |mark: &str| FormatOptions {
        end_mark: mark.to_owned(),
        ..FormatOptions::new(Format::Block)
    };
    let out = parse(with_mark("-- end"), "pool\nK1\n.\n-- end \n-- end").unwrap();
    assert_eq!(shown(out), ["1 pool K1\n.\n-- end "]);
    for wrong in ["", "a\nb", "\r", "\n"] {
        let refusal = parse(with_mark(wrong), "").unwrap_err();
        assert_eq!(refusal.errors[0].field, "end_mark", "{wrong:?}");
    }
}

#[test]
fn a_block_that_is_not_finished_is_a_failure_where_it_begins() {
    for text in [
        "p\nK1\n.\n\np\nK2\n. ",
        "p\nK1\n.\n\np\n",
        "p\nK1\n.\n\np\nK2\n\n\n",
    ] {
        let out = shown(of(Format::Block, text));
        assert_eq!(out, ["1 p K1", "5 !unfinished_block"], "{text:?}");
    }
    assert_eq!(
        shown(of(Format::Block, "p\nK1\n.")),
        ["1 p K1"],
        "no line break at the end"
    );
}

#[test]
fn a_block_without_a_key_and_an_end_mark_without_a_block_fail_alone() {
    let text = "p\n.\np\n\n.\n.\np\0\nK3\n.\np\nK4\n.\n";
    assert_eq!(
        shown(of(Format::Block, text)),
        [
            "1 !empty_key",
            "3 !empty_key",
            "6 !stray_end_mark",
            "7 !invalid_sequence",
            "10 p K4"
        ]
    );
    let long = format!("{}\nK\n.\n", "p".repeat(256));
    assert_eq!(shown(of(Format::Block, long)), ["1 !invalid_sequence"]);
}
