//! How a client wants to be told what we have to say: the form by its request's kind, the language and the coding by
//! what it takes.

use http::header;

use super::head::Head;
use crate::engine::route::Form;
use crate::page::sheet::Coding;
use crate::page::{Lang, accept};

/// How a client wants to be answered by us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// In what form.
    pub(super) form: Form,
    /// In which language.
    pub(super) lang: Lang,
    /// In what coding, where there is a choice.
    pub(super) coding: Coding,
}

impl Manner {
    /// How the sender of this head wants to be answered, in this form.
    pub(super) fn of(head: &impl Head, form: Form) -> Manner {
        Manner {
            form,
            lang: Lang::chosen(head.line(&header::ACCEPT_LANGUAGE)),
            coding: coding(head.line(&header::ACCEPT_ENCODING)),
        }
    }

    /// The same in another form.
    pub(super) fn in_form(self, form: Form) -> Manner {
        Manner { form, ..self }
    }
}

/// The coding for this `Accept-Encoding` (RFC 9110 §12.5.3): gzip where it is named, or covered by a wildcard, and
/// not liked less than the plain bytes. Who takes neither gets the plain bytes all the same.
fn coding(line: Option<&str>) -> Coding {
    let (mut gzip, mut plain, mut any) = (None, None, None);
    for (name, weight) in accept::elements(line.unwrap_or_default()) {
        let is = |other| name.eq_ignore_ascii_case(other);
        let place = match () {
            () if is("gzip") || is("x-gzip") => &mut gzip,
            () if is("identity") => &mut plain,
            () if is("*") => &mut any,
            () => continue,
        };
        *place = place.or(Some(weight));
    }
    let gzip = gzip.or(any).unwrap_or(0);
    match gzip > 0 && gzip >= plain.unwrap_or(0) {
        true => Coding::Gzip,
        false => Coding::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_compressed_for_those_who_take_it() {
        for (line, gzip) in [
            ("gzip, deflate, br, zstd", true),
            ("x-gzip", true),
            ("GZIP;q=0.1", true),
            ("*", true),
            ("br, *;q=0.1", true),
            ("gzip;q=1.0, identity;q=0.5, *;q=0", true),
            ("identity;q=0.5, gzip;q=0.5", true),
            ("identity;q=0, gzip", true),
            ("", false),
            ("br", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("*;q=0", false),
            ("identity, gzip;q=0.5", false),
            ("identity;q=0", false),
            ("gzip;q=7", false),
            ("gzipped", false),
        ] {
            assert_eq!(coding(Some(line)) == Coding::Gzip, gzip, "{line:?}");
        }
        assert_eq!(coding(None), Coding::Plain);
    }
}
