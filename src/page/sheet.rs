//! A page with a gap for the nonce: it is prepared once for everybody who sees the same, and each answer puts a nonce
//! of its own into the gap while it is sent.

use bytes::Bytes;

/// How long a nonce is, in bytes.
pub const GAP_LENGTH: usize = 72;

/// What a page is rendered with in place of a nonce: a character that stands in no page.
pub const GAP: &str = match str::from_utf8(&[GAP_BYTE; GAP_LENGTH]) {
    Ok(gap) => gap,
    Err(_) => panic!("it is ASCII"),
};

const GAP_BYTE: u8 = 1;

/// A document, cut where its gap is.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    before: Bytes,
    /// None: there is no gap.
    after: Option<Bytes>,
}

impl Sheet {
    /// A document that was rendered with [`GAP`] in one place.
    #[must_use]
    pub fn cut(document: Bytes) -> Sheet {
        let start = document.iter().position(|byte| *byte == GAP_BYTE);
        let gap = start.filter(|start| document[*start..].starts_with(GAP.as_bytes()));
        match gap {
            Some(start) => Sheet {
                before: document.slice(..start),
                after: Some(document.slice(start + GAP_LENGTH..)),
            },
            None => document.into(),
        }
    }

    /// Its length with a nonce, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        let after = self.after.as_ref();
        self.before.len() + after.map_or(0, |after| GAP_LENGTH + after.len())
    }

    /// The pieces of the document with this nonce, which must have [`GAP_LENGTH`]; without a gap it goes nowhere.
    #[must_use]
    pub fn pieces<'a>(&'a self, nonce: &'a str) -> [&'a [u8]; 3] {
        debug_assert!(self.after.is_none() || nonce.len() == GAP_LENGTH);
        match &self.after {
            Some(after) => [&self.before, nonce.as_bytes(), after],
            None => [&self.before, b"", b""],
        }
    }

    /// The document with this nonce, in one piece.
    #[must_use]
    pub fn whole(&self, nonce: &str) -> Bytes {
        match &self.after {
            Some(_) => self.pieces(nonce).concat().into(),
            None => self.before.clone(),
        }
    }
}

impl From<Bytes> for Sheet {
    /// A document without a gap.
    fn from(document: Bytes) -> Sheet {
        Sheet {
            before: document,
            after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_goes_into_the_gap_and_nowhere_else() {
        let nonce = "n".repeat(GAP_LENGTH);
        for (document, whole) in [
            (format!("a{GAP}b"), format!("a{nonce}b")),
            (GAP.into(), nonce.clone()),
            ("a".into(), "a".into()),
            ("a\u{1}b".into(), "a\u{1}b".into()),
            (String::new(), String::new()),
        ] {
            let sheet = Sheet::cut(document.into());
            assert_eq!(sheet.whole(&nonce), whole);
            assert_eq!(sheet.pieces(&nonce).concat(), whole.as_bytes());
            assert_eq!(sheet.length(), whole.len());
        }
    }
}
