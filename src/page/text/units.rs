//! Numbers with their units, as a language says them: "1 minute 5 seconds". Which form a number takes is CLDR's rule
//! for the language; the page's script follows the same rule by the browser's `Intl.PluralRules`.

use icu_locale_core::Locale;
use icu_plurals::{PluralCategory, PluralRules};
use serde::{Deserialize, Serialize};

use super::fill;

/// How a length of time is said. It comes in one form only, so that it fits every sentence.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Units {
    /// How `{first}` and `{second}` stand together: hours and minutes, or minutes and seconds.
    pub pair: String,
    /// Whole hours.
    pub hours: Forms,
    /// Whole minutes.
    pub minutes: Forms,
    /// Whole seconds.
    pub seconds: Forms,
}

/// A unit with `{n}`, in the forms that the language has.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named like CLDR's categories")]
pub struct Forms {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub two: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub few: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub many: Option<String>,
    pub other: String,
}

impl Forms {
    /// The form for this number in this language.
    #[must_use]
    pub fn of(&self, number: u64, lang: &str) -> &str {
        let form = match category(number, lang) {
            PluralCategory::Zero => &self.zero,
            PluralCategory::One => &self.one,
            PluralCategory::Two => &self.two,
            PluralCategory::Few => &self.few,
            PluralCategory::Many => &self.many,
            PluralCategory::Other => &None,
        };
        form.as_ref().unwrap_or(&self.other)
    }

    /// The number with its unit.
    pub(super) fn said(&self, number: u64, lang: &str, digits: &str) -> String {
        fill(self.of(number, lang), &[("n", &written(number, digits))])
    }
}

impl Units {
    /// Two lengths, the longer unit first.
    pub(super) fn both(&self, first: &str, second: &str) -> String {
        fill(&self.pair, &[("first", first), ("second", second)])
    }
}

/// Which form a number takes (CLDR, cardinal).
pub(in crate::page) fn category(number: u64, lang: &str) -> PluralCategory {
    let rules = lang.parse::<Locale>().ok();
    let rules = rules.and_then(|lang| PluralRules::try_new_cardinal((&lang).into()).ok());
    rules.map_or(PluralCategory::Other, |rules| rules.category_for(number))
}

/// A number in the language's own digits.
fn written(number: u64, digits: &str) -> String {
    let own = |digit: char| {
        let place = digit
            .to_digit(10)
            .and_then(|place| usize::try_from(place).ok());
        place
            .and_then(|place| digits.chars().nth(place))
            .unwrap_or(digit)
    };
    number.to_string().chars().map(own).collect()
}
