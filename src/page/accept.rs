//! What a client says it takes, with weights (RFC 9110 §12.4.2): its languages, chosen from here, and its codings.

use super::Lang;

/// Elements that are looked at; browsers send up to ten.
const ELEMENTS_MAX: usize = 12;

/// Bytes of a line that are looked at: ten languages with their regions and weights take 150.
const LINE_MAX: usize = 512;

/// The longest range that is looked at, as long as a tag need be (RFC 5646 §4.4.1).
const RANGE_MAX: usize = 35;

/// The parts of a range that are looked at: none of our tags has more.
const PARTS_MAX: usize = 2;

/// One element of a line: what it names, and its weight in thousandths. An element whose weight is none is left out.
/// So is all that is behind the bounds.
pub fn elements(line: &str) -> impl Iterator<Item = (&str, u16)> {
    let elements = beginning(line).split(',').take(ELEMENTS_MAX);
    elements.filter_map(|element| {
        let mut parts = element
            .split(';')
            .map(|part| part.trim_matches([' ', '\t']));
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim_end()
                .eq_ignore_ascii_case("q")
                .then_some(value.trim_start())
        });
        Some((name, weight.map_or(Some(1_000), thousandths)?))
    })
}

/// The whole elements within [`LINE_MAX`].
fn beginning(line: &str) -> &str {
    if line.len() <= LINE_MAX {
        return line;
    }
    let mut bytes = line.as_bytes().iter().take(LINE_MAX + 1);
    let end = bytes.rposition(|byte| *byte == b',').unwrap_or(0);
    line.get(..end).unwrap_or_default()
}

/// `0`, `1`, and up to three digits behind the point.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, rest) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = rest.len() <= 3 && rest.bytes().all(|digit| digit.is_ascii_digit());
    let scale = [1_000, 100, 10, 1].get(rest.len()).filter(|_| digits)?;
    let part = match rest {
        "" => 0,
        rest => rest.parse::<u16>().ok()? * scale,
    };
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1_000),
        _ => None,
    }
}

impl Lang {
    /// The language that a visitor with this `Accept-Language` reads best (RFC 9110 §12.5.4, RFC 4647 §3.4); English
    /// when it takes none of ours. Nothing is allocated.
    #[must_use]
    pub fn chosen(line: Option<&str>) -> Lang {
        let tags = || Lang::all().map(Lang::tag);
        let best = line.and_then(|line| choose(line, tags));
        best.and_then(|at| Lang::all().nth(at))
            .unwrap_or(Lang::ENGLISH)
    }
}

/// The place of the best tag. The first one answers for those who take anything.
fn choose<T>(line: &str, tags: impl Fn() -> T) -> Option<usize>
where
    T: Iterator<Item = &'static str>,
{
    let mut excluded = 0_u64;
    let ranges = || elements(line).filter(|(range, _)| range.len() <= RANGE_MAX);
    let refused = ranges().filter(|(_, weight)| *weight == 0);
    for (range, _) in refused {
        let range = same(range);
        let hit = |tag: &str| is_within(tag, range);
        let places = tags().enumerate().filter(|(_, tag)| hit(tag));
        excluded = places.fold(excluded, |all, (at, _)| all | bit(at));
    }
    let mut best: Option<(u16, usize)> = None;
    for (range, weight) in ranges() {
        // Of two that weigh the same the first one counts.
        if weight == 0 || best.is_some_and(|(most, _)| weight <= most) {
            continue;
        }
        let found = match range {
            "*" => (0..tags().count()).find(|at| excluded & bit(*at) == 0),
            range => lookup(range, &tags).filter(|at| excluded & bit(*at) == 0),
        };
        best = found.map(|at| (weight, at)).or(best);
    }
    best.map(|(_, at)| at)
}

/// A place as one bit; there are fewer than 64 languages.
fn bit(at: usize) -> u64 {
    1 << (at % 64)
}

/// Whether a tag is the range, or a narrower one (RFC 4647 §3.3.1).
fn is_within(tag: &str, range: &str) -> bool {
    let head = tag.as_bytes().get(..range.len());
    let narrower = matches!(tag.as_bytes().get(range.len()), None | Some(b'-'));
    narrower && head.is_some_and(|head| head.eq_ignore_ascii_case(range.as_bytes()))
}

/// The tag for a range: itself, or what is left when its end is taken off, piece by piece; else another of the same
/// language.
fn lookup<T>(range: &str, tags: &impl Fn() -> T) -> Option<usize>
where
    T: Iterator<Item = &'static str>,
{
    let mut left = same(range);
    let rest = left.match_indices('-').nth(PARTS_MAX - 1);
    let mut pieces = left.split('-');
    let language = pieces.next().unwrap_or_default();
    if language.eq_ignore_ascii_case("zh") {
        left = script(pieces);
    } else if let Some((end, _)) = rest {
        left = left.get(..end).unwrap_or_default();
    }
    // Most that is asked for in vain is a language that nobody here speaks.
    let near = tags().position(|tag| !language.is_empty() && is_within(tag, language))?;
    loop {
        if let Some(at) = tags().position(|tag| tag.eq_ignore_ascii_case(left)) {
            return Some(at);
        }
        match left.rsplit_once('-') {
            Some((shorter, _)) => left = shorter,
            None => return Some(near),
        }
    }
}

/// Chinese is written in two ways: the script says in which, else the place where it is spoken.
fn script<'a>(pieces: impl Iterator<Item = &'a str>) -> &'static str {
    for piece in pieces {
        let is = |other: &&str| piece.eq_ignore_ascii_case(other);
        if ["hant", "tw", "hk", "mo"].iter().any(is) {
            return "zh-Hant";
        }
        if ["hans", "cn", "sg", "my"].iter().any(is) {
            return "zh-Hans";
        }
    }
    "zh-Hans"
}

/// The name that a language has today, or that of the one which its readers read as well.
fn same(range: &str) -> &str {
    let language = range.split('-').next().unwrap_or_default();
    let names = [
        ("in", "id"),
        ("iw", "he"),
        ("mo", "ro"),
        ("no", "nb"),
        ("nn", "nb"),
        ("yue", "zh-Hant"),
    ];
    let named = names
        .iter()
        .find(|(old, _)| language.eq_ignore_ascii_case(old));
    named.map_or(range, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAGS: [&str; 10] = [
        "en", "ar", "de", "he", "id", "nb", "pt", "ro", "zh-Hans", "zh-Hant",
    ];

    fn chosen(line: &str) -> &'static str {
        choose(line, || TAGS.into_iter()).map_or("none", |at| TAGS[at])
    }

    #[test]
    fn everybody_reads_the_language_that_they_like_best() {
        for (line, lang) in [
            ("en", "en"),
            ("id-ID,id;q=0.9,en-US;q=0.8,en;q=0.7", "id"),
            ("DE-at", "de"),
            ("en;q=0.5, id;q=0.9", "id"),
            ("en;q=0.5,id;Q=0.50", "en"),
            ("de , id ; q = 1.000", "de"),
            ("id;q=0.001", "id"),
            // Old names, and languages that their readers read too.
            ("in", "id"),
            ("in-ID", "id"),
            ("iw-IL", "he"),
            ("no", "nb"),
            ("nn-NO", "nb"),
            ("nb", "nb"),
            ("mo", "ro"),
            ("pt-PT", "pt"),
            ("pt-BR", "pt"),
            // Chinese.
            ("zh", "zh-Hans"),
            ("zh-CN", "zh-Hans"),
            ("zh-SG", "zh-Hans"),
            ("zh-TW", "zh-Hant"),
            ("zh-hk", "zh-Hant"),
            ("zh-Hant", "zh-Hant"),
            ("zh-Hant-CN", "zh-Hant"),
            ("zh-Hans-HK", "zh-Hans"),
            ("yue-HK", "zh-Hant"),
            // One that we don't speak, then one that we do.
            ("tlh, eo;q=0.9, de;q=0.1", "de"),
            ("sr-Latn-RS-x-own", "none"),
            // Wildcards, and what is refused.
            ("*", "en"),
            ("tlh, *;q=0.5", "en"),
            ("*;q=0.5, de;q=0.7", "de"),
            ("de;q=0.2, *;q=0.5", "en"),
            ("en;q=0, *", "ar"),
            ("de;q=0, de-AT", "none"),
            ("de-AT;q=0, de", "de"),
            ("zh;q=0, zh-TW, id;q=0.1", "id"),
            ("*;q=0", "none"),
            // Odd and broken.
            ("", "none"),
            (",,;q=1,, de", "de"),
            ("de;q=2, id;q=0.1", "id"),
            ("de;q=, id;q=0.1", "id"),
            ("de;q=-1, id;q=.5", "none"),
            ("de;q=0.1234, id;q=0.1", "id"),
            ("de;level=1;q=0.5, id;q=0.6", "id"),
            ("-", "none"),
            ("i", "none"),
            ("e", "none"),
            ("en-", "en"),
            ("zh-", "zh-Hans"),
        ] {
            assert_eq!(chosen(line), lang, "{line:?}");
        }
    }

    #[test]
    fn only_so_many_elements_are_looked_at() {
        let line = |strangers: usize| format!("{}de", "tlh,".repeat(strangers));
        assert_eq!(chosen(&line(ELEMENTS_MAX - 1)), "de");
        assert_eq!(chosen(&line(ELEMENTS_MAX)), "none");
    }

    #[test]
    fn only_so_many_bytes_are_looked_at() {
        let line = |first: &str| format!("{first},{}", "id;q=0.9,".repeat(9));
        let strange = |length| "tlh-".repeat(length / 4);
        assert_eq!(chosen(&line(&strange(LINE_MAX - 88))), "id");
        assert_eq!(chosen(&line(&strange(LINE_MAX))), "none", "nothing whole");
        let (long, longer) = ("x".repeat(RANGE_MAX - 3), "x".repeat(RANGE_MAX - 2));
        assert_eq!(chosen(&format!("de-{long}")), "de");
        assert_eq!(chosen(&format!("de-{longer}")), "none");
        // The cut is between letters of two bytes.
        assert_eq!(chosen(&format!("de,{}", "ä".repeat(LINE_MAX))), "de");
    }

    /// The same by the words of the standard, with all the time and memory that it takes.
    fn slowly(line: &str) -> &'static str {
        let all: Vec<(String, u16)> = line
            .split(',')
            .filter_map(|element| {
                let (range, parameters) = element.split_once(';').unwrap_or((element, ""));
                let weight = parameters.split(';').find_map(|parameter| {
                    let (name, value) = parameter.split_once('=')?;
                    (name.trim() == "q").then(|| value.trim().to_owned())
                });
                let weight = match weight {
                    None => 1_000,
                    Some(text) => thousandths(&text)?,
                };
                let range = same(range.trim()).to_ascii_lowercase();
                (!range.is_empty()).then_some((range, weight))
            })
            .collect();
        let is = |tag: &str, range: &str| {
            let tag = tag.to_ascii_lowercase();
            tag == range || tag.starts_with(&format!("{range}-"))
        };
        let refused = |tag: &str| {
            all.iter()
                .any(|(range, weight)| *weight == 0 && is(tag, range))
        };
        let found = |range: &str| {
            let parts: Vec<&str> = range.split('-').collect();
            if parts[0] == "zh" {
                return Some(script(parts[1..].iter().copied()));
            }
            let shorter = (1..=parts.len())
                .rev()
                .map(|count| parts[..count].join("-"));
            let exact = shorter
                .filter_map(|left| TAGS.into_iter().find(|tag| tag.eq_ignore_ascii_case(&left)));
            let mut near = exact.chain(TAGS.into_iter().filter(|tag| is(tag, parts[0])));
            near.next()
        };
        let mut best = (0, "none");
        for (range, weight) in &all {
            let tag = match &**range {
                "*" => TAGS.into_iter().find(|tag| !refused(tag)),
                range => found(range).filter(|tag| !refused(tag)),
            };
            if let Some(tag) = tag.filter(|_| *weight > best.0) {
                best = (*weight, tag);
            }
        }
        best.1
    }

    #[test]
    fn our_own_tags_choose_themselves() {
        let parts = |lang: Lang| lang.tag().split('-').count();
        assert!(Lang::all().all(|lang| parts(lang) <= PARTS_MAX));
        assert!(Lang::all().count() <= 64, "one bit each");
        for lang in Lang::all() {
            assert_eq!(Lang::chosen(Some(lang.tag())), lang);
        }
        assert_eq!(Lang::chosen(Some("tlh")), Lang::ENGLISH);
        assert_eq!(Lang::chosen(None), Lang::ENGLISH);
    }

    proptest! {
        #[test]
        fn garbage_never_fails(line in ".{0,200}") {
            chosen(&line);
        }

        #[test]
        fn what_looks_like_a_line_never_fails(line in "([a-zA-Z*]{0,4}(-[a-zA-Z0-9]{0,5}){0,3} ?(; ?q=[0-9.]{0,5})?,?){0,12}") {
            let first = chosen(&line);
            // What weighs less than all the others changes nothing where there was a choice.
            let more = format!("{line},ar;q=0.001");
            let second = chosen(&more);
            prop_assert!(first == "none" || first == second || line.contains("0.00"), "{first} {second}");
        }

        #[test]
        fn a_short_line_is_read_as_the_standard_says(
            line in "((en|de|zh|in|no|nn|pt|yue|mo|iw|tlh|\\*)(-(AT|hant|TW|Hans|x)){0,3} ?(; ?q=(0|1|0\\.[0-9]{1,3}|7))?(,|, )){0,11}"
        ) {
            prop_assert_eq!(chosen(&line), slowly(&line));
        }

        #[test]
        fn the_heaviest_wins(weights in prop::collection::vec(1..=1_000_u16, 1..TAGS.len())) {
            let written = |weight: &u16| format!("{}.{:03}", weight / 1_000, weight % 1_000);
            let line: Vec<String> = TAGS.iter().zip(&weights).map(|(tag, weight)| format!("{tag};q={}", written(weight))).collect();
            let most = weights.iter().max().unwrap();
            let at = weights.iter().position(|weight| weight == most).unwrap();
            prop_assert_eq!(chosen(&line.join(", ")), TAGS[at]);
        }
    }
}
