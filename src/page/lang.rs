//! The languages that we speak. Each is a file in `templates/lang` and a line in the table here; its words are
//! read from the file when they are asked for first.

use std::fmt;
use std::sync::OnceLock;

use super::text::Text;

/// A language that we speak.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lang(u8);

/// A file of words, and what was read from it.
struct Entry {
    tag: &'static str,
    file: &'static str,
    text: OnceLock<Text>,
}

macro_rules! languages {
    ($($tag:literal,)*) => {
        static LANGUAGES: [Entry; [$($tag),*].len()] = [$(Entry {
            tag: $tag,
            file: include_str!(concat!("../../templates/lang/", $tag, ".toml")),
            text: OnceLock::new(),
        },)*];
    };
}

// English first: it is spoken with everybody whose own language we don't know.
languages! {
    "en",
    "ar",
    "bn",
    "cs",
    "da",
    "de",
    "el",
    "es",
    "fa",
    "fi",
    "fr",
    "he",
    "hi",
    "hu",
    "id",
    "it",
    "ja",
    "ko",
    "ms",
    "nb",
    "nl",
    "pl",
    "pt",
    "ro",
    "ru",
    "sv",
    "th",
    "tr",
    "uk",
    "ur",
    "vi",
    "zh-Hans",
    "zh-Hant",
}

impl Lang {
    /// English.
    pub const ENGLISH: Lang = Lang(0);

    /// All of them.
    pub fn all() -> impl Iterator<Item = Lang> {
        (0..).take(LANGUAGES.len()).map(Lang)
    }

    /// The language of this tag, exactly as its file is named.
    #[must_use]
    pub fn named(tag: &str) -> Option<Lang> {
        Lang::all().find(|lang| lang.tag() == tag)
    }

    /// Its place among all of them.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// BCP 47.
    #[must_use]
    pub fn tag(self) -> &'static str {
        self.entry().tag
    }

    /// Its words.
    #[must_use]
    pub fn text(self) -> &'static Text {
        let Entry { file, text, .. } = self.entry();
        text.get_or_init(|| {
            let read = Text::read(file).map_err(|why| why.message().to_owned());
            read.expect("a test reads every file of words")
        })
    }

    /// The file that they are read from.
    #[cfg(test)]
    pub(super) fn file(self) -> &'static str {
        self.entry().file
    }

    fn entry(self) -> &'static Entry {
        &LANGUAGES[usize::from(self.0)]
    }
}

impl fmt::Debug for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}
