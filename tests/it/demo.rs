//! `anteroom demo`, as the README has it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::anteroom::binary;
use crate::support::ports::free_port;
use crate::support::wait::eventually;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(20);

/// The idle time of the demo is 30 s; a little more for the sampling and the stop.
const ASLEEP_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_demo_wakes_its_app_tells_the_story_and_leaves_nothing_behind() {
    let port = free_port();
    let temporary = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(binary())
        .args(["demo", "--port", &port.to_string()])
        .env("TMPDIR", temporary.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let room = SocketAddr::from(([127, 0, 0, 1], port));
    let client = anteroom::telemetry::http_client()
        .no_proxy()
        .build()
        .expect("a client");
    let get = || {
        client
            .get(format!("http://localhost:{port}/"))
            .header("accept", "text/html")
            .send()
    };
    eventually(SOON, async || {
        tokio::net::TcpStream::connect(room).await.is_ok()
    })
    .await;
    eventually(SOON, async || {
        get()
            .await
            .is_ok_and(|answer| answer.headers()["x-anteroom"] == "asleep")
    })
    .await;
    let page = get().await.expect("a page").text().await.expect("a text");
    let nonce = crate::lifecycle::nonce_of(&page).expect("a nonce");
    let wake = client.post(format!("http://localhost:{port}/__anteroom/wake"));
    let wake = wake
        .header("x-anteroom-page", "1")
        .header("accept", "application/json");
    let wake = wake
        .form(&[("nonce", nonce)])
        .send()
        .await
        .expect("an answer");
    assert_eq!(wake.status(), 202);
    eventually(SOON, async || {
        get().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let app = get().await.expect("the app").text().await.expect("a text");
    assert!(app.contains("The app is awake."), "{app}");
    // Asking for the state must not be a visit: the room's own path tells it.
    let status = || {
        client
            .get(format!("http://localhost:{port}/__anteroom/status"))
            .send()
    };
    eventually(ASLEEP_WITHIN, async || {
        status()
            .await
            .is_ok_and(|answer| answer.headers()["x-anteroom"] == "asleep")
    })
    .await;
    let id = child.id().expect("it runs").cast_signed();
    let id = rustix::process::Pid::from_raw(id).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it is ours");
    let (mut said, mut story) = (String::new(), String::new());
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let read = async {
        tokio::join!(
            stdout.read_to_string(&mut said),
            stderr.read_to_string(&mut story)
        )
    };
    let _ = tokio::time::timeout(SOON, read).await.expect("it ends");
    assert!(child.wait().await.expect("it ended").success());
    assert!(
        said.contains(&format!("http://localhost:{port}/")),
        "{said}"
    );
    let lines = [
        "waking",
        "the machine is starting",
        "the app answers",
        "ready in",
        "idle for 30s",
        "asleep, after",
    ];
    let mut rest = story.as_str();
    for line in lines {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("no {line:?} in order in\n{story}"));
        rest = &rest[at..];
    }
    let left = std::fs::read_dir(temporary.path())
        .expect("the folder")
        .count();
    assert_eq!(left, 0, "its folder goes with it");
}
