//! Just enough reading of Rust to tell code from comments, texts and tests. It keeps every line break, so a line's
//! number is the same before and after.

/// The text with every comment and the content of every string and character literal blanked.
pub(super) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = at + token(&chars, at);
        let kept = end == at + 1;
        for &c in &chars[at..end] {
            out.push(if kept || c == '\n' { c } else { ' ' });
        }
        at = end;
    }
    out
}

/// The length of the comment or literal that starts here; 1 for a character of code.
fn token(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let after_word = at > 0 && is_word(chars[at - 1]);
    match rest {
        ['/', '/', ..] => rest.iter().take_while(|c| **c != '\n').count().max(2),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => quoted(rest, '"'),
        ['r', ..] if !after_word => raw_string(rest, 1),
        ['b' | 'c', 'r', ..] if !after_word => raw_string(rest, 2),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => quoted(rest, '\''),
        _ => 1,
    }
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[char], mark: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == mark => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"..."`, `r#"..."#`, ...; a word that only begins with these letters is one character of code.
fn raw_string(rest: &[char], prefix: usize) -> usize {
    let marks = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let open = prefix + marks;
    if rest.get(open) != Some(&'"') {
        return 1;
    }
    let closes = |at: usize| {
        rest[at] == '"' && rest[at + 1..].iter().take_while(|c| **c == '#').count() >= marks
    };
    (open + 1..rest.len())
        .find(|at| closes(*at))
        .map_or(rest.len(), |at| at + 1 + marks)
}

/// The code (see [`code`]) with every item under `#[cfg(test)]` blanked.
pub(super) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(start) = out.find(MARK) {
        let end = start + item(&out[start..]);
        let blank: String = out[start..end]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// The length of an item with its attributes: to its `;`, or to the end of its braces.
fn item(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Where `word` stands in the code, as a whole word on its left side; its line, and what follows it.
pub(super) fn uses<'a>(
    code: &'a str,
    word: &'a str,
) -> impl Iterator<Item = (usize, &'a str)> + 'a {
    code.match_indices(word).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let starts_inside = word.starts_with(is_word) && before.is_some_and(is_word);
        (!starts_inside).then(|| (line_at(code, at), &code[at + word.len()..]))
    })
}

fn line_at(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[test]
fn comments_and_texts_are_blanked_and_code_is_kept() {
    for (text, expected) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"f("b\"c", 'x', '\'', '"')"#, "f(      ,    ,     ,    )"),
        (r##"f(r#"a"b"#, br"\", raw)"##, "f(        ,      , raw)"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
        ("\"\n\" x", " \n  x"),
        ("\"never closed", "             "),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
}

#[test]
fn items_under_cfg_test_are_blanked_and_the_others_kept() {
    let text = "a();\n#[cfg(test)]\nmod tests { fn x() { b(); } }\nc();\n#[cfg(test)] mod t;\nd();";
    let kept = without_tests(text);
    let words: Vec<_> = kept.split_whitespace().collect();
    assert_eq!(words, ["a();", "c();", "d();"]);
    assert_eq!(kept.lines().count(), text.lines().count());
}
