//! Tables for a spreadsheet (RFC 4180): addresses, numbers, times and words of ours, so that nothing needs quoting and
//! no cell is a formula.

use std::io::{self, Write};

use super::tables::{Cell, Rows, Table};

/// Begins a table with its head.
pub fn begin<W: Write + 'static>(mut out: W, table: &'static Table) -> io::Result<Box<dyn Rows<W>>> {
    line(&mut out, table.columns.iter().map(|(name, _)| name))?;
    Ok(Box::new(Csv(out)))
}

struct Csv<W>(W);

impl<W: Write> Rows<W> for Csv<W> {
    fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        line(&mut self.0, cells)
    }

    fn end(self: Box<Self>) -> io::Result<W> {
        Ok(self.0)
    }
}

fn line(out: &mut impl Write, cells: impl IntoIterator<Item: std::fmt::Display>) -> io::Result<()> {
    for (at, cell) in cells.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(out, "{comma}{cell}")?;
    }
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::super::tables::tests::story;

    #[test]
    fn every_row_has_as_many_cells_as_its_head() {
        for (table, bytes) in story(super::begin) {
            let (name, text) = (table.name, String::from_utf8(bytes).expect("text"));
            assert!(text.ends_with("\r\n") && !text.contains('"'), "{name}");
            let widths: Vec<_> = text.lines().map(|line| line.split(',').count()).collect();
            assert!(widths.len() > 1 && widths.iter().all(|width| *width == widths[0]), "{name}: {text}");
            let sum = |column: &str| {
                let at = text.lines().next().and_then(|head| head.split(',').position(|it| it == column));
                let cell = |line: &str| line.split(',').nth(at?)?.parse::<u64>().ok();
                text.lines().skip(1).filter_map(cell).sum::<u64>()
            };
            match name {
                "seconds" | "sources" => assert_eq!(sum("refused"), 48, "{name}"),
                "incidents" => assert_eq!(sum("events"), 45),
                _ => {}
            }
        }
    }
}
