//! What a theme takes the place of, and what it can't take away.

use super::*;
use theme::Files;

fn theme(files: &[(&str, &str)]) -> Arc<Theme> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    let files = Files(files.iter().map(owned).collect());
    Arc::new(Theme::new(files).unwrap())
}

fn in_theme(theme: &Arc<Theme>) -> Page {
    let mut ask = ask("<b>blog.test", WakeBy::Page);
    ask.theme = Some(Arc::clone(theme));
    render(&waking(Stage::MachineUp, Span::secs(9)), NOW, &ask)
}

#[test]
fn a_theme_sees_the_variables_of_our_page() {
    let text = "{{ text.lang }} {{ title }} {{ scene }} {{ on_its_way }} {{ percent }} {{ stages[2].class }} \
                {{ stages[2].mark }} {{ elapsed }} {{ button }} {{ nonce }} {{ refresh }} {{ unsent_lead }}";
    let page = in_theme(&theme(&[("waiting.html", text)]));
    assert_eq!(page.fault, None);
    assert_eq!(
        html(&page),
        "en Waking up: &lt;b&gt;blog.test waking True 30 now now 9 seconds so far None v1.1c7.nonce 5 None"
    );
}

#[test]
fn what_a_theme_lacks_is_ours_in_its_style() {
    let page = in_theme(&theme(&[("style.css", "h1{color:red}")]));
    assert!(html(&page).contains("<style>h1{color:red}</style>"));
    assert!(html(&page).contains("id=\"heading\""));
    let ours = render(&view(Phase::Asleep), NOW, &ask("blog.test", WakeBy::Page));
    assert_ne!(page.csp, ours.csp, "its style may be used");
}

#[test]
fn a_theme_that_fails_gives_way_to_our_page() {
    let text = "{% if scene == 'waking' %}{{ nobody }}{% endif %}fine";
    let theme = theme(&[("waiting.html", text), ("style.css", "h1{color:red}")]);
    let page = in_theme(&theme);
    let fault = page.fault.clone().unwrap().to_string();
    assert!(fault.contains("waiting.html:1"), "{fault}");
    assert!(html(&page).contains("id=\"heading\"") && !html(&page).contains("color:red"));
    let ours = render(&view(Phase::Asleep), NOW, &ask("blog.test", WakeBy::Page));
    assert_eq!(page.csp, ours.csp);
    assert!(theme.is_first_fault() && !theme.is_first_fault());
    assert!(samples::fault(&theme).is_some());
}

#[test]
fn a_theme_may_have_its_own_page_of_a_challenge() {
    let theme = theme(&[(
        "challenge.html",
        "{{ nonce }} {{ or }} {{ back }} {{ nonce }}",
    )]);
    let asked = Asked {
        nonce: "v2",
        back: "/<a",
        puzzle: Puzzle::None,
        or: "c1",
        wait: Span::secs(15),
        tried: Tried::Nothing,
    };
    let page = challenge(Lang::ENGLISH, Some(&theme), "blog.test", asked);
    assert_eq!((html(&page), &page.fault), ("v2 c1 &#x2f;&lt;a v2", &None));
}

#[test]
fn a_theme_puts_the_nonce_in_one_place() {
    let mut ask = ask("blog.test", WakeBy::Page);
    ask.nonce = sheet::GAP.into();
    ask.theme = Some(theme(&[("waiting.html", "{{ nonce }} {{ nonce }}")]));
    let page = render(&view(Phase::Asleep), NOW, &ask);
    assert_eq!(page.fault, Some(ThemeError::NonceTwice("waiting.html")));
    assert!(html(&page).contains("id=\"heading\""), "ours");
}
