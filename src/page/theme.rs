//! An operator's own pages: templates in a folder, rendered with exactly the variables of the built-in ones.
//!
//! A theme is Jinja templates (`waiting.html`, `plain.html`, and whatever these include), and if it likes a
//! `style.css` and a `script.js`, which stand in place of the built-in ones. What it lacks is built in. A template can't
//! do harm: it reads nothing but its variables and its own folder's templates, its steps and its output are bounded,
//! and every value is escaped where the template does not say `|safe`. One that fails is replaced by the built-in
//! page, for the waiting page must always be served.
//!
//! Reading the folder is the caller's; [`Theme::new`] takes what was read.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::dress::Dress;

/// The files of a theme's folder, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, String>);

/// Files in one theme.
pub const FILES_MAX: usize = 32;

/// Bytes of one of its files.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a page that it makes, before compression.
pub const PAGE_BYTES_MAX: usize = 512 * 1024;

/// Steps of the template engine for one page. The built-in waiting page, written as a theme, takes less than 500.
pub const FUEL: u64 = 100_000;

/// The pages that a theme may have; other templates are only there to be included.
pub const PAGES: [&str; 3] = ["waiting.html", "plain.html", "challenge.html"];

/// In place of the built-in style.
pub const STYLE: &str = "style.css";

/// In place of the built-in script.
pub const SCRIPT: &str = "script.js";

/// Why a theme, or one page of it, can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThemeError {
    /// Too many files in its folder.
    #[error("{0} files are too many; a theme has at most {FILES_MAX}")]
    TooManyFiles(usize),
    /// A file of it is too long.
    #[error("{0} is longer than {FILE_BYTES_MAX} bytes")]
    TooLong(String),
    /// Neither a page nor a style nor a script is in it.
    #[error("it has none of waiting.html, plain.html, challenge.html, style.css and script.js")]
    Empty,
    /// A template can't be read, or did not come to its end. Names the file and the line.
    #[error("{0}")]
    Template(String),
    /// The nonce stands in a page more than once.
    #[error("{0} puts the nonce in more than one place")]
    NonceTwice(&'static str),
    /// A page is too long.
    #[error("{0} makes a page of more than {PAGE_BYTES_MAX} bytes")]
    PageTooLong(&'static str),
}

/// A theme, ready to render pages.
#[derive(Debug)]
pub struct Theme {
    templates: Environment<'static>,
    dress: Dress,
    /// Whether a fault of it was told.
    told: AtomicBool,
}

impl Theme {
    /// A theme of these files. Files of other kinds than `.html`, [`STYLE`] and [`SCRIPT`] are ignored.
    ///
    /// # Errors
    ///
    /// Names what can't be used. That a page comes to its end is seen only when it is rendered.
    pub fn new(files: Files) -> Result<Theme, ThemeError> {
        let mut files = files.0;
        if files.len() > FILES_MAX {
            return Err(ThemeError::TooManyFiles(files.len()));
        }
        if let Some((name, _)) = files.iter().find(|(_, text)| text.len() > FILE_BYTES_MAX) {
            return Err(ThemeError::TooLong(name.clone()));
        }
        let (style, script) = (files.remove(STYLE), files.remove(SCRIPT));
        files.retain(|name, _| name.ends_with(".html"));
        let has_page = PAGES.iter().any(|page| files.contains_key(*page));
        if !has_page && style.is_none() && script.is_none() {
            return Err(ThemeError::Empty);
        }
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_fuel(Some(FUEL));
        for (name, text) in files {
            templates
                .add_template_owned(name, text)
                .map_err(|error| ThemeError::Template(error.to_string()))?;
        }
        Ok(Theme {
            templates,
            dress: Dress::of(style, script),
            told: AtomicBool::new(false),
        })
    }

    /// Whether nobody has been told of a fault of it until now; from then on somebody has.
    pub fn is_first_fault(&self) -> bool {
        !self.told.swap(true, Relaxed)
    }

    /// Its style and script; ours where it has none.
    pub(super) fn dress(&self) -> &Dress {
        &self.dress
    }

    /// Its own version of this page; none where it has none.
    pub(super) fn render(
        &self,
        page: &'static str,
        variables: &impl Serialize,
    ) -> Option<Result<String, ThemeError>> {
        let template = self.templates.get_template(page).ok()?;
        let mut written = Bounded(Vec::new());
        Some(
            match template.render_captured_to(Serde(variables), &mut written) {
                Ok(_) => String::from_utf8(written.0)
                    .map_err(|error| ThemeError::Template(format!("{page}: {error}"))),
                Err(_) if written.is_full() => Err(ThemeError::PageTooLong(page)),
                Err(error) => Err(ThemeError::Template(error.to_string())),
            },
        )
    }
}

/// Takes bytes up to [`PAGE_BYTES_MAX`]; what would pass that makes it full.
struct Bounded(Vec<u8>);

impl Bounded {
    fn is_full(&self) -> bool {
        self.0.len() > PAGE_BYTES_MAX
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (PAGE_BYTES_MAX + 1).saturating_sub(self.0.len());
        self.0.extend(bytes.iter().take(room));
        match self.is_full() {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Variables {
        host: &'static str,
        stages: [&'static str; 3],
    }

    const VARIABLES: Variables = Variables {
        host: "<b>blog.test",
        stages: ["one", "two", "three"],
    };

    fn files(files: &[(&str, &str)]) -> Files {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Files(files.iter().map(owned).collect())
    }

    fn render(waiting: &str) -> Result<String, ThemeError> {
        let theme = Theme::new(files(&[("waiting.html", waiting)]))?;
        theme.render("waiting.html", &VARIABLES).unwrap()
    }

    #[test]
    fn values_are_escaped_and_templates_include_each_other() {
        let theme = Theme::new(files(&[
            (
                "waiting.html",
                "{{ host }}{% for s in stages %}{% include 'stage.html' %}{% endfor %}",
            ),
            ("stage.html", "[{{ s }}]"),
            ("README.md", "{{ not a template"),
            ("style.css", "p{}"),
        ]))
        .unwrap();
        let page = theme.render("waiting.html", &VARIABLES).unwrap().unwrap();
        assert_eq!(page, "&lt;b&gt;blog.test[one][two][three]");
        assert_eq!(theme.render("plain.html", &VARIABLES), None);
        assert_eq!(theme.dress().style, "p{}");
        assert!(!theme.dress().script.is_empty(), "ours");
    }

    #[test]
    fn a_template_that_is_wrong_is_named_with_its_line() {
        for (text, said) in [
            ("a\n{{ host", "waiting.html:2"),
            ("a\n\n{{ nobody }}", "waiting.html:3"),
            ("{% include 'elsewhere.html' %}", "elsewhere.html"),
            ("{% include '../../etc/passwd' %}", "passwd"),
            ("{% include 'waiting.html' %}", "waiting.html"),
        ] {
            let error = render(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_template_comes_to_its_end() {
        let long = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        let error = render(long).unwrap_err();
        assert!(error.to_string().contains("fuel"), "{error}");
        // Few steps, much text.
        let wide = format!(
            "{{% for a in range(999) %}}{}{{% endfor %}}",
            "x".repeat(9_999)
        );
        let page = render(&wide);
        assert_eq!(page, Err(ThemeError::PageTooLong("waiting.html")));
    }

    #[test]
    fn a_folder_that_is_no_theme_is_refused() {
        let refused = |given| Theme::new(given).unwrap_err();
        assert_eq!(refused(Files::default()), ThemeError::Empty);
        assert_eq!(refused(files(&[("a.html", "")])), ThemeError::Empty);
        let text = "x".repeat(FILE_BYTES_MAX + 1);
        let error = ThemeError::TooLong("style.css".into());
        assert_eq!(refused(files(&[("style.css", &text)])), error);
        let many = (0..33).map(|n| (format!("{n}.html"), String::new()));
        assert_eq!(refused(Files(many.collect())), ThemeError::TooManyFiles(33));
    }
}
