//! Columns aligned as Docker's tables are: at least ten wide, three blanks between.

use std::io::{self, Write};

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Writes lines whose cells are separated by tabs with the cells aligned, at least ten wide.
pub fn write_aligned(out: &mut impl Write, text: &str) -> io::Result<()> {
    write_columns(out, text, MIN_WIDTH)
}

/// The same with columns of at least this width.
///
/// As with Go's `text/tabwriter`, the text after the last tab of a line belongs to no column, and a column ends
/// at a line that has no cell in it.
pub fn write_columns(out: &mut impl Write, text: &str, at_least: usize) -> io::Result<()> {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut line = 0;
        while line < lines.len() {
            let block = widths[line..]
                .iter()
                .take_while(|row| row.len() > column)
                .count();
            let width = lines[line..line + block]
                .iter()
                .map(|cells| cells[column].chars().count() + PADDING)
                .fold(at_least, usize::max);
            for row in &mut widths[line..line + block] {
                row[column] = width;
            }
            line += block.max(1);
        }
    }
    let mut table = String::new();
    for (cells, widths) in lines.iter().zip(&widths) {
        for (cell, width) in cells.iter().zip(widths) {
            table += &format!("{cell:width$}");
        }
        table += cells[cells.len() - 1];
        table.push('\n');
    }
    // At once: whoever has found what they looked for reads no further.
    out.write_all(table.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(text: &str) -> String {
        let mut out = Vec::new();
        write_aligned(&mut out, text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_docker_table() {
        let table = "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\nbusybox\tlatest\t0123456789ab\t3 days ago\t4.26MB\n";
        assert_eq!(
            aligned(table),
            "REPOSITORY   TAG       IMAGE ID       CREATED      SIZE\n\
             busybox      latest    0123456789ab   3 days ago   4.26MB\n"
        );
    }

    #[test]
    fn columns_are_at_least_ten_wide_and_count_characters() {
        assert_eq!(aligned("A\tB\nx…\ty\n"), "A         B\nx…        y\n");
    }

    #[test]
    fn a_line_without_the_cell_ends_the_column() {
        assert_eq!(
            aligned("a\tb\nlong line without tab\nc\td\n"),
            "a         b\nlong line without tab\nc         d\n"
        );
        assert_eq!(
            aligned("loooooooooong\tb\nx\nc\td\n"),
            "loooooooooong   b\nx\nc         d\n"
        );
    }
}
