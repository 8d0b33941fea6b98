//! Lists at the command line: a table for people, JSON for programs.

use clap::ValueEnum;
use serde::Serialize;

use super::print_line;

/// How a list is printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum ListFormat {
    /// A table for people
    #[default]
    Table,
    /// A JSON array for programs
    Json,
}

/// Prints the rows of a list.
pub(super) fn print_list<T: Serialize, const COLUMNS: usize>(
    rows: &[T],
    format: ListFormat,
    headings: [&str; COLUMNS],
    cells: impl Fn(&T) -> [String; COLUMNS],
) -> anyhow::Result<()> {
    match format {
        ListFormat::Json => print_line(serde_json::to_string_pretty(rows)?),
        ListFormat::Table => {
            let rows: Vec<_> = rows.iter().map(cells).collect();
            print_line(table(headings, &rows).trim_end());
        }
    }
    Ok(())
}

/// What stands in a table for what may be missing.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn table<const COLUMNS: usize>(headings: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let headings = headings.map(str::to_owned);
    let lines: Vec<[String; COLUMNS]> = std::iter::once(&headings)
        .chain(rows)
        .map(|cells| cells.clone().map(|cell| printable(&cell)))
        .collect();
    let mut text = String::new();
    for cells in &lines {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let width = lines.iter().map(|cells| length(cells, column)).max();
            line.push_str(cell);
            line.extend(std::iter::repeat_n(
                ' ',
                width.unwrap_or_default() + 2 - length(cells, column),
            ));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn length(cells: &[String], column: usize) -> usize {
    cells.get(column).map_or(0, |cell| cell.chars().count())
}

/// A text on one line: names come from elsewhere, and a terminal obeys control characters.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_do_not_reach_the_terminal() {
        let rows = [
            ["1".to_owned(), "ж\u{1b}[2J".to_owned(), "x".to_owned()],
            ["12".to_owned(), "b".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["id", "name", "last"], &rows),
            "id  name   last\n1   ж\u{fffd}[2J  x\n12  b\n"
        );
    }
}
