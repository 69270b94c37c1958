//! Reads the tables of `tests/data/requests`: columns stand apart by tabs, headers by " | ", and "@name" stands for
//! headers that an earlier line names.

/// A table: its rows, and the headers that it names.
pub(crate) struct Table {
    pub(crate) rows: Vec<Vec<&'static str>>,
    names: Vec<(&'static str, String)>,
}

impl Table {
    pub(crate) fn read(text: &'static str) -> Table {
        let mut table = Table {
            rows: Vec::new(),
            names: Vec::new(),
        };
        for row in text
            .lines()
            .filter(|row| !row.is_empty() && !row.starts_with('#'))
        {
            let named = row.strip_prefix('@').and_then(|row| row.split_once('\t'));
            match named {
                Some((name, headers)) => {
                    let lines = table.lines(headers);
                    table.names.push((name, lines));
                }
                None => table.rows.push(row.split('\t').collect()),
            }
        }
        table
    }

    /// Header lines, each with its end.
    pub(crate) fn lines(&self, headers: &str) -> String {
        let parts = headers.split(" | ").filter(|part| !part.is_empty());
        parts
            .map(|part| match part.strip_prefix('@') {
                Some(name) => {
                    let known = self.names.iter().find(|known| known.0 == name);
                    known
                        .unwrap_or_else(|| panic!("no headers are named {name}"))
                        .1
                        .clone()
                }
                None => format!("{part}\r\n"),
            })
            .collect()
    }
}
