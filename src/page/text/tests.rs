//! Values in patterns, and lengths of time as people say them.

use super::*;
use crate::page::Lang;

#[test]
fn times_read_like_a_person_says_them() {
    let said = |ms| Lang::ENGLISH.text().time(Span(ms));
    assert_eq!(said(0), "0 seconds");
    assert_eq!(said(1), "1 second");
    assert_eq!(said(23_100), "24 seconds");
    assert_eq!(said(60_000), "1 minute");
    assert_eq!(said(65_000), "1 minute 5 seconds");
    assert_eq!(said(130_000), "2 minutes 10 seconds");
    assert_eq!(said(301_000), "6 minutes");
    assert_eq!(said(3_600_000), "1 hour");
    assert_eq!(said(7_801_000), "2 hours 11 minutes");
    let said = |ms| Lang::named("id").unwrap().text().time(Span(ms));
    assert_eq!(said(1_000), "1 detik");
    assert_eq!(said(7_801_000), "2 jam 11 menit");
}

#[test]
fn a_number_takes_the_form_and_the_digits_of_its_language() {
    let forms: Forms = toml::from_str(
        r#"
        zero = "{n} zero"
        one = "{n} one"
        two = "{n} two"
        few = "{n} few"
        many = "{n} many"
        other = "{n} other"
        "#,
    )
    .unwrap();
    for (lang, digits, number, said) in [
        ("en", "0123456789", 1, "1 one"),
        ("en", "0123456789", 0, "0 other"),
        ("id", "0123456789", 1, "1 other"),
        ("fr", "0123456789", 0, "0 one"),
        ("ru", "0123456789", 21, "21 one"),
        ("ru", "0123456789", 12, "12 many"),
        ("ru", "0123456789", 22, "22 few"),
        ("ar", "٠١٢٣٤٥٦٧٨٩", 0, "٠ zero"),
        ("ar", "٠١٢٣٤٥٦٧٨٩", 2, "٢ two"),
        ("ar", "٠١٢٣٤٥٦٧٨٩", 10, "١٠ few"),
        ("ar", "٠١٢٣٤٥٦٧٨٩", 59, "٥٩ many"),
        ("ar", "٠١٢٣٤٥٦٧٨٩", 100, "١٠٠ other"),
        ("zh-Hant", "0123456789", 1, "1 other"),
        ("no language", "0123456789", 1, "1 other"),
    ] {
        assert_eq!(forms.said(number, lang, digits), said, "{lang}");
    }
}

#[test]
fn a_value_is_not_searched_for_names() {
    let filled = fill(
        "{host} in {time}, {",
        &[("host", "{time}"), ("time", "5 s")],
    );
    assert_eq!(filled, "{time} in 5 s, {");
}
