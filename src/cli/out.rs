//! Printing. A reader that went away (`anteroom status | head`) is no error.

use std::io::Write;
use std::process::ExitCode;

/// One line to standard output.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// One line to standard error, and the exit code of a failure.
pub(super) fn fail(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "anteroom: {text}");
    ExitCode::FAILURE
}

/// Rows as columns, padded to the widest cell; the last column is left as it is.
pub(super) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
