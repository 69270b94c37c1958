//! The relative links of a page lead to something.

use std::path::{Path, PathBuf};

/// The links of a page that lead nowhere, each with its line. The path is the page's, from the repository's root,
/// and so is what `exists` is asked about.
pub(super) fn dead(
    page: &str,
    markdown: &str,
    exists: impl Fn(&Path) -> bool,
) -> Vec<(usize, String)> {
    let directory = page.rsplit_once('/').map_or("", |(directory, _)| directory);
    let leads = |link: &str| within(directory, link).is_some_and(|file| exists(&file));
    relative_links(markdown)
        .into_iter()
        .filter(|(_, link)| !leads(link))
        .map(|(line, link)| (line, format!("there is no {link}")))
        .collect()
}

/// Where a link leads from a directory, by their names alone; none when it leaves the repository.
fn within(directory: &str, link: &str) -> Option<PathBuf> {
    let mut path = PathBuf::from(directory);
    for step in link.split('/') {
        match step {
            "." => {}
            ".." if path.pop() => {}
            ".." => return None,
            name => path.push(name),
        }
    }
    Some(path)
}

/// The files that a page links to: `[text](file#part)`, outside code.
fn relative_links(markdown: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(markdown.lines()) {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect();
        for rest in prose.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            let outside = file.contains("://") || file.starts_with("mailto:");
            if !file.is_empty() && !outside {
                links.push((number, file.to_owned()));
            }
        }
    }
    links
}

#[test]
fn a_link_is_followed_from_its_page_and_never_out_of_the_repository() {
    let exists = |file: &Path| file == Path::new("docs/a.md");
    let dead = |page: &str, text: &str| dead(page, text, exists).len();
    assert_eq!(
        dead(
            "docs/b.md",
            "[a](a.md) [a](./a.md#part) [a](../docs/a.md \"title\")"
        ),
        0
    );
    assert_eq!(dead("docs/deep/b.md", "[a](../a.md) [b](a.md)"), 1);
    assert_eq!(dead("docs/b.md", "[a](../../docs/a.md)\n\n![b](b.png)"), 2);
}

#[test]
fn code_and_links_to_elsewhere_are_no_links_to_a_file() {
    let page =
        "```\n[a](gone.md)\n```\n`[b](gone.md)` [c](#part) [d](mailto:a@b.c) [e](https://x.y/z)";
    assert_eq!(dead("docs/page.md", page, |_| false), []);
}
