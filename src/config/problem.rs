//! What is wrong with a configuration, said so that a person can mend it.

use std::fmt;

/// One fault in the configuration, or one warning about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named to us.
    pub file: String,
    /// The line, counted from 1; none when the whole file is meant.
    pub line: Option<usize>,
    /// The key with its tables, as in `service.blog.idle_timeout`; empty when no key is meant.
    pub key: String,
    /// What is wrong and how to mend it, as one sentence.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Problem {}

/// The known word that is nearest to `wrong`, when one is near enough to be what was meant.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = 1 + wrong.chars().count() / 3;
    known
        .map(|word| (distance(wrong, word), word))
        .filter(|(steps, _)| *steps <= far)
        .min()
        .map(|(_, word)| word)
}

/// How many letters must be added, removed or changed to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_the_word_that_was_meant() {
        let known = || ["idle_timeout", "start_timeout", "hosts", "port"].into_iter();
        assert_eq!(nearest("idle_timout", known()), Some("idle_timeout"));
        assert_eq!(nearest("host", known()), Some("hosts"));
        assert_eq!(nearest("colour", known()), None);
    }

    #[test]
    fn a_problem_without_a_line_or_a_key_still_reads_well() {
        let problem = Problem {
            file: "a.toml".into(),
            line: None,
            key: String::new(),
            message: "cannot be read".into(),
        };
        assert_eq!(problem.to_string(), "a.toml: cannot be read");
    }
}
