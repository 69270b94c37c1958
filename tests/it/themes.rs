//! Pages of an operator's own: shown by the real room, read again at a reload, replaced by ours where they fail, and
//! shown in all their states by `anteroom preview`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anteroom::app::theme;
use anteroom::page::samples;
use anteroom::page::theme::FILE_BYTES_MAX;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::lifecycle::service;
use crate::support::anteroom::{Anteroom, binary};
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::visitor::soon;

const SOON: Duration = Duration::from_secs(20);
const HOST: &str = "blog.example.com";

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/theme")
}

async fn get(url: String) -> reqwest::Response {
    let client = anteroom::telemetry::http_client().no_proxy().build();
    let request = client.expect("a client").get(url).header("host", HOST);
    let answer = request.header("accept", "text/html").send().await;
    answer.expect("an answer")
}

async fn page(anteroom: &Anteroom) -> String {
    let answer = get(format!("http://{}/", anteroom.room)).await;
    assert_eq!(answer.headers()["x-anteroom"], "asleep");
    answer.text().await.expect("a text")
}

/// Sends the signal to read everything again, and waits until that is done.
async fn reload(anteroom: &Anteroom) -> usize {
    let mark = anteroom.mark();
    anteroom.hang_up();
    anteroom
        .log_after(mark, "the configuration is reloaded", SOON)
        .await;
    mark
}

#[tokio::test]
async fn a_theme_is_shown_read_again_at_a_reload_and_replaced_where_it_fails() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("theme");
    std::fs::create_dir(&folder).expect("a folder");
    let write = |text: &str| std::fs::write(folder.join("waiting.html"), text).expect("a file");
    write("<!doctype html><title>{{ title }}</title>first {{ nonce }}");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let theme = format!("theme = {:?}\n", folder.display().to_string());
    let anteroom = Anteroom::start(dir.path(), &service(&machine, &theme)).await;
    anteroom.phase("blog", "asleep", SOON).await;
    assert!(page(&anteroom).await.contains("first v"));

    write("<!doctype html><title>{{ title }}</title>second");
    reload(&anteroom).await;
    assert!(page(&anteroom).await.ends_with("second"));

    // Wrong from the start: told at the reload, and nobody is without a page.
    write("{{ nobody }}");
    let mark = reload(&anteroom).await;
    assert!(page(&anteroom).await.contains("id=\"heading\""), "ours");
    anteroom
        .log_after(mark, "the theme can't be used", SOON)
        .await;
    anteroom.log_after(mark, "waiting.html:1", SOON).await;

    // No folder at all.
    std::fs::remove_dir_all(&folder).expect("it is ours");
    reload(&anteroom).await;
    assert!(page(&anteroom).await.contains("id=\"heading\""), "ours");
}

#[tokio::test]
async fn a_host_that_no_service_has_is_answered_in_the_deployments_theme() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("theme");
    std::fs::create_dir(&folder).expect("a folder");
    let write = |text: &str| std::fs::write(folder.join("plain.html"), text).expect("a file");
    write("first {{ scene }} {{ heading }}");
    let (room, admin) = (free_port(), free_port());
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{room}\"\ntheme = {:?}\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [store]\nurl = \"memory:\"\n",
        folder.display().to_string()
    );
    let config = dir.path().join("anteroom.toml");
    std::fs::write(&config, text).expect("a file");
    let anteroom = Anteroom::run(config, room, admin).await;
    let shown = async || {
        let answer = get(format!("http://{}/", anteroom.room)).await;
        assert_eq!(answer.status(), 404);
        answer.text().await.expect("a text")
    };
    let begins = "first unknown There is no site here";
    assert_eq!(shown().await, begins);
    write("second");
    assert_eq!(shown().await, begins, "it is read at a reload");
    reload(&anteroom).await;
    assert_eq!(shown().await, "second");
    write("{{ nobody }}");
    let mark = reload(&anteroom).await;
    assert!(shown().await.contains("<h1>There is no site here"), "ours");
    anteroom
        .log_after(mark, "the theme can't be used", SOON)
        .await;
}

#[test]
fn a_folder_with_too_much_in_it_is_given_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("a file");
    let fault = || theme::read(dir.path()).map(drop).unwrap_err();
    write("plain.html", &"x".repeat(FILE_BYTES_MAX + 1));
    let said = format!("{:#}", fault());
    assert!(
        said.contains("plain.html") && said.contains("longer than"),
        "{said}"
    );
    write("plain.html", "{{ heading }}");
    theme::read(dir.path()).expect("it is good");
    for number in 0..1_000 {
        write(&format!("{number}.txt"), "");
    }
    let said = format!("{:#}", fault());
    assert!(said.contains("more than 1000 names"), "{said}");
}

#[test]
fn check_says_what_is_wrong_with_a_theme() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("theme");
    std::fs::create_dir(&folder).expect("a folder");
    let file = dir.path().join("anteroom.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:1\"\n[service.blog]\nhosts = [\"{HOST}\"]\nport = 80\ntheme = {:?}\n\
         provider = {{ kind = \"docker\", container = \"blog\" }}\n",
        folder.display().to_string()
    );
    std::fs::write(&file, text).expect("a file");
    let check = || {
        let mut check = std::process::Command::new(binary());
        let done = check.args(["check", "-c"]).arg(&file).output();
        let done = done.expect("it runs");
        let said = [done.stdout, done.stderr].concat();
        (
            done.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    for (page, said) in [
        ("", "it has none of waiting.html"),
        ("{% if %}", "waiting.html:1"),
        // Only a failed wake has this, so only some samples fail.
        (
            "{% if scene == 'failed' %}{{ nobody }}{% endif %}",
            "failed-",
        ),
    ] {
        match page {
            "" => {}
            text => std::fs::write(folder.join("waiting.html"), text).expect("a file"),
        }
        let (good, all) = check();
        assert!(!good && all.contains(said), "{page:?}: {all}");
    }
    std::fs::write(folder.join("waiting.html"), "{{ heading }}").expect("a file");
    let (good, all) = check();
    assert!(good, "{all}");
}

#[test]
fn the_theme_of_the_docs_makes_every_page() {
    let theme = theme::read(&example()).expect("it is good");
    for sample in samples::all() {
        let html = sample
            .page_in(anteroom::page::Lang::ENGLISH, Some(&theme), "v2.0")
            .html;
        let html = String::from_utf8_lossy(&html).into_owned();
        assert!(
            html.contains(sample.name) || html.contains("<h1"),
            "{}",
            sample.name
        );
        assert!(html.len() > 500, "{}: {html}", sample.name);
    }
}

#[tokio::test]
async fn the_preview_shows_every_page_in_every_language() {
    let mut child = Command::new(binary())
        .args(["preview", "--port", "0", "--theme"])
        .arg(example())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let line = soon(lines.next_line()).await.expect("a line").expect("one");
    let (_, rest) = line.split_once("http://").expect("an address");
    let (address, _) = rest.split_once('/').expect("its end");
    let index = get(format!("http://{address}/?lang=ar")).await;
    let index = index.text().await.expect("a text");
    for sample in samples::all() {
        let link = format!("href=\"/{}?lang=ar\"", sample.name);
        assert!(index.contains(&link), "{link}");
        let answer = get(format!("http://{address}/{}?lang=ar", sample.name)).await;
        assert_eq!(answer.status(), 200, "{}", sample.name);
        let csp = answer.headers()["content-security-policy"].clone();
        assert!(
            csp.to_str()
                .is_ok_and(|csp| csp.contains("default-src 'none'"))
        );
        let page = answer.text().await.expect("a text");
        assert!(page.contains("dir=\"rtl\""), "{}: {page}", sample.name);
    }
    let none = get(format!("http://{address}/nothing-of-the-kind")).await;
    assert_eq!(none.status(), 404);
}
