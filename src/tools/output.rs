//! How a result is shown: Kafka's plain text, a table, or JSON.
//!
//! Invariant: without a terminal and without `--output`, every byte is what Kafka's tool prints, because scripts cut columns. Tables and
//! colour are for people: they appear on a terminal or on request, and their shape may change; JSON does not.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table as Drawing, presets};
use serde::Serialize;

use super::session::Session;

/// The form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Kafka's own text.
    Plain,
    Table,
    Json,
}

impl Format {
    /// What `--output` or `KAFKA_OUTPUT` says, else a table on a terminal.
    pub(crate) fn choose(asked: Option<&str>, terminal: bool) -> Format {
        match asked {
            Some("json") => Format::Json,
            Some("table") => Format::Table,
            Some(_) => Format::Plain,
            None if terminal => Format::Table,
            None => Format::Plain,
        }
    }
}

/// `--color` beats all; then NO_COLOR (not empty), CLICOLOR_FORCE, CLICOLOR=0, TERM=dumb, and whether it is a terminal.
pub(crate) fn wants_color(asked: Option<&str>, terminal: bool, environment: &BTreeMap<String, String>) -> bool {
    let variable = |name: &str| environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
    match asked {
        Some("always") => true,
        Some("never") => false,
        _ if variable("NO_COLOR").is_some() => false,
        _ if variable("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        _ if variable("CLICOLOR") == Some("0") || variable("TERM") == Some("dumb") => false,
        _ => terminal,
    }
}

/// How a cell is shown when there is colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Normal,
    Good,
    Warning,
    Bad,
    /// Of little interest: a default, a total's label.
    Quiet,
}

/// One cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableCell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

impl<T: ToString> From<T> for TableCell {
    fn from(text: T) -> TableCell {
        TableCell { text: text.to_string(), tone: Tone::Normal }
    }
}

impl TableCell {
    pub(crate) fn toned(text: impl ToString, tone: Tone) -> TableCell {
        TableCell { text: text.to_string(), tone }
    }
}

/// A column's heading, and whether it holds numbers: those are aligned to the right and never cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) heading: &'static str,
    pub(crate) numeric: bool,
}

/// A column of text.
pub(crate) const fn text(heading: &'static str) -> Column {
    Column { heading, numeric: false }
}

/// A column of numbers.
pub(crate) const fn number(heading: &'static str) -> Column {
    Column { heading, numeric: true }
}

/// A table for people.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<TableCell>>,
}

/// Columns are this far apart.
const GAP: usize = 2;
/// A text column is not cut below this many characters.
const NARROWEST: usize = 8;

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Table {
        Table { columns: columns.into(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl Into<Vec<TableCell>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// The width of each column, the widest text cut until the whole fits into `width`.
    fn widths(&self, width: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| column.heading.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let Some(limit) = width else { return widths };
        let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        while total(&widths) > limit {
            let widest =
                (0..widths.len()).filter(|&at| !self.columns[at].numeric && widths[at] > NARROWEST).max_by_key(|&at| (widths[at], at));
            match widest {
                Some(at) => widths[at] -= 1,
                None => break,
            }
        }
        widths
    }

    /// The table as text, each line ended; without `width` nothing is cut.
    pub(crate) fn render(&self, width: Option<usize>, color: bool) -> String {
        let widths = self.widths(width);
        let mut drawing = Drawing::new();
        drawing.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if color {
            drawing.enforce_styling();
        } else {
            drawing.force_no_tty();
        }
        drawing.set_header(self.columns.iter().map(|column| {
            let cell = Cell::new(column.heading);
            if color { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        for row in &self.rows {
            drawing.add_row(row.iter().zip(&widths).map(|(cell, &width)| {
                let drawn = Cell::new(cut(&cell.text, width));
                match cell.tone {
                    _ if !color => drawn,
                    Tone::Normal => drawn,
                    Tone::Good => drawn.fg(Color::Green),
                    Tone::Warning => drawn.fg(Color::Yellow),
                    Tone::Bad => drawn.fg(Color::Red),
                    Tone::Quiet => drawn.add_attribute(Attribute::Dim),
                }
            }));
        }
        for (at, column) in self.columns.iter().enumerate() {
            if let Some(drawn) = drawing.column_mut(at) {
                drawn.set_padding((0, if at + 1 == self.columns.len() { 0 } else { GAP as u16 }));
                if column.numeric {
                    drawn.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        let mut text = String::new();
        for line in drawing.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    pub(crate) fn print(&self, session: &mut Session) -> io::Result<()> {
        let text = self.render(session.width(), session.color());
        session.out.write_all(text.as_bytes())
    }
}

/// `text` in at most `width` characters, an ellipsis in place of what is cut.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Prints a result as JSON: indented on a terminal, on one line in a pipe.
pub(crate) fn print_json(session: &mut Session, value: &impl Serialize) -> anyhow::Result<()> {
    if session.terminals.stdout {
        serde_json::to_writer_pretty(&mut session.out, value).map_err(io::Error::from)?;
    } else {
        serde_json::to_writer(&mut session.out, value).map_err(io::Error::from)?;
    }
    writeln!(session.out)?;
    Ok(())
}

/// Rows padded as Java's `%-Ns`: each cell but the last is filled up to its width, never cut, and one blank apart.
pub(crate) fn pad(cells: &[(&str, usize)]) -> String {
    let padded: Vec<String> = cells.iter().map(|(text, width)| format!("{text:<width$}")).collect();
    padded.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_order_of_what_decides_on_colour() {
        let color = |asked, terminal, pairs: &[(&str, &str)]| wants_color(asked, terminal, &environment(pairs));
        assert!(color(None, true, &[]));
        assert!(!color(None, false, &[]));
        assert!(!color(None, true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
        assert!(color(None, true, &[("NO_COLOR", "")]));
        assert!(color(None, false, &[("CLICOLOR_FORCE", "1"), ("CLICOLOR", "0")]));
        assert!(!color(None, true, &[("CLICOLOR", "0")]));
        assert!(!color(None, true, &[("TERM", "dumb")]));
        assert!(color(Some("always"), false, &[("NO_COLOR", "1")]));
        assert!(!color(Some("never"), true, &[("CLICOLOR_FORCE", "1")]));
    }

    #[test]
    fn a_table_aligns_numbers_right_and_cuts_the_widest_text_only() {
        let mut table = Table::new([text("TOPIC"), number("LAG"), text("HOST")]);
        table.row([TableCell::from("a-rather-long-topic-name"), 1234567.into(), "/10.0.0.1".into()]);
        table.row([TableCell::from("b"), 5.into(), "-".into()]);
        assert_eq!(
            table.render(None, false),
            "TOPIC                         LAG  HOST\n\
             a-rather-long-topic-name  1234567  /10.0.0.1\n\
             b                               5  -\n"
        );
        assert_eq!(
            table.render(Some(36), false),
            "TOPIC                 LAG  HOST\n\
             a-rather-long-t…  1234567  /10.0.0.1\n\
             b                       5  -\n"
        );
    }

    #[test]
    fn padding_is_javas() {
        assert_eq!(pad(&[("GROUP", 8), ("LAG", 5), ("x", 0)]), "GROUP    LAG   x");
        assert_eq!(pad(&[("longer than that", 8), ("", 3)]), "longer than that    ");
    }
}
