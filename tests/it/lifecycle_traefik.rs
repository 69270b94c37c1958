//! The main job behind the real Traefik with a real container: at 300 requests a second throughout, every answer
//! is the app's whole 200 or the room's 503 page.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;

use crate::lifecycle::{client, press};
use crate::support::anteroom::Anteroom;
use crate::support::docker::{self, Engine};
use crate::support::gce::{self, Google};
use crate::support::load::{self, Load};
use crate::support::machine::{APP, Machine};
use crate::support::ports::free_port;
use crate::support::traefik::{Places, Traefik};
use crate::support::wait::eventually;
use crate::support::warren::{self, Warren};

const SOON: Duration = Duration::from_secs(40);
const HOST: &str = "blog.example.com";
const PER_SECOND: u32 = 300;

/// Everything that a test of this module needs.
struct House {
    traefik: Traefik,
    anteroom: Anteroom,
    _dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl House {
    /// `service` is the lines of the service that say where its machine is.
    async fn start(way: &str, kind: &str, machine: SocketAddr, service: &str) -> House {
        let turn = load::TURN.lock().await;
        let dir = tempfile::tempdir().expect("a folder");
        let (room, admin) = (free_port(), free_port());
        let traefik = Traefik::start(
            dir.path(),
            way,
            &Places {
                room,
                admin,
                machine,
            },
        )
        .await;
        let services = format!(
            "{}[service.blog]\nhosts = [\"{HOST}\"]\nmin_awake = \"0s\"\nidle_timeout = \"8s\"\ndrain_timeout = \"2s\"\n\
             start_timeout = \"30s\"\nhealth = {{ interval = \"100ms\", timeout = \"1s\" }}\n{service}\n",
            traefik.section(kind, room),
        );
        let anteroom = Anteroom::start_at(dir.path(), &services, room, admin).await;
        anteroom.phase("blog", "asleep", SOON).await;
        let house = House {
            traefik,
            anteroom,
            _dir: dir,
            _turn: turn,
        };
        eventually(SOON, async || {
            house.get().await.headers().contains_key("x-anteroom")
        })
        .await;
        house
    }

    fn load(&self) -> Load {
        load::start(
            self.traefik.web,
            HOST,
            PER_SECOND,
            Duration::from_secs(120),
            APP,
        )
    }

    async fn get(&self) -> reqwest::Response {
        let request = client()
            .get(format!("http://{}/", self.traefik.web))
            .header("host", HOST);
        request
            .header("accept", "text/html")
            .send()
            .await
            .expect("Traefik answers")
    }

    /// Waits until visitors get the app.
    async fn open(&self) {
        eventually(SOON, async || {
            self.get()
                .await
                .text()
                .await
                .is_ok_and(|text| text.contains(APP))
        })
        .await;
    }

    /// Waits until the app's answers come while the room's counter stands still.
    async fn goes_direct(&self, load: &Load) {
        eventually(SOON, async || {
            let before = self.passed_the_room().await;
            let answered = load.so_far().get("200 app").copied().unwrap_or_default();
            let more = async || {
                load.so_far()
                    .get("200 app")
                    .is_some_and(|now| *now > answered + 300)
            };
            eventually(SOON, more).await;
            self.passed_the_room().await == before
        })
        .await;
    }

    async fn passed_the_room(&self) -> u64 {
        self.anteroom.admin(reqwest::Method::GET, "/blog/why").await["passed_the_room"]
            .as_u64()
            .expect("a count")
    }
}

/// A container whose app takes a second to listen.
fn container(engine: &Engine) -> String {
    let app = format!(
        "/bin/busybox mkdir -p /www; echo '{APP}' > /www/index.html; /bin/busybox sleep 1; \
         exec /bin/busybox httpd -f -p 80 -h /www"
    );
    engine.create(&[], &["/bin/busybox", "sh", "-c", &app])
}

fn docker_lines(engine: &Engine, container: &str) -> String {
    format!(
        "port = 80\nprovider = {{ kind = \"docker\", container = \"{container}\", endpoint = \"unix://{}\" }}",
        engine.socket.display()
    )
}

fn played_lines(machine: &Machine) -> String {
    format!("port = {}\n{}", machine.app_port(), machine.provider())
}

/// The machine of a cloud that is played, whose app really listens while it is on.
fn cloud_lines(warren: &Warren, machine: &Machine, secrets: &Path) -> String {
    let apikey = secrets.join("apikey");
    std::fs::write(&apikey, format!("{}\n", warren::APIKEY)).expect("the folder is ours");
    let uuid = "f80b1d62-ffe4-43ef-9210-60f05445456a";
    warren.make_real(uuid, machine);
    format!(
        "port = {}\nprovider = {{ kind = \"idcloudhost\", location = \"{}\", uuid = \"{uuid}\", \
         apikey = {{ file = \"{}\" }}, base_url = \"{}\" }}",
        machine.app_port(),
        warren::LOCATION,
        apikey.display(),
        warren.url(),
    )
}

/// A machine of Google's, whose app really listens while it is on, and the key of the service account that may wake it.
fn google_lines(google: &Google, machine: &Machine, secrets: &Path) -> String {
    google.make_real("blog-1", machine);
    format!(
        "port = {}\nprovider = {{ kind = \"gce\", project = \"{}\", zone = \"{}\", instance = \"blog-1\", \
         sleep = \"suspend\", credentials = \"{}\", base_url = \"{}\" }}",
        machine.app_port(),
        gce::PROJECT,
        gce::ZONE,
        google.desk.key_file(secrets).display(),
        google.url(),
    )
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik and docker.io: run tests/run"]
async fn a_container_wakes_serves_and_sleeps_and_no_visitor_sees_an_error() {
    let engine = docker::docker();
    let container = container(engine);
    let house = House::start(
        "published",
        "file",
        nowhere(),
        &docker_lines(engine, &container),
    )
    .await;
    let load = house.load();
    // Asleep: pages, and nothing wakes by requests alone.
    eventually(SOON, async || {
        load.so_far()
            .get("503 room, page")
            .is_some_and(|pages| *pages > 200)
    })
    .await;
    assert_eq!(house.anteroom.view("blog").await["phase"], "asleep");
    // A wake under load, until Traefik leads straight to the container.
    assert_eq!(press(&client(), &house.anteroom).await, 202);
    house.open().await;
    house.goes_direct(&load).await;
    // An admin's sleep under load: divert, drain, stop, pages again.
    house.anteroom.command("blog", "sleep").await;
    house.anteroom.phase("blog", "asleep", SOON).await;
    load::assert_clean(&load.stop().await);
    // And by itself, when nobody comes.
    press(&client(), &house.anteroom).await;
    house.open().await;
    house.anteroom.phase("blog", "asleep", SOON).await;
    assert_eq!(house.get().await.status(), 503);
    let state = engine.cli(&["inspect", "-f", "{{.State.Running}}", &container]);
    assert_eq!(state, "false");
    engine.remove(&container);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik and docker.io: run tests/run"]
async fn a_template_is_cloned_for_each_wake_and_no_visitor_sees_an_error() {
    let engine = docker::docker();
    let seed = container(engine);
    let lines = format!(
        "{}\nscale = {{ seed = \"template\", max = 1 }}",
        docker_lines(engine, &seed)
    );
    let house = House::start("published", "file", nowhere(), &lines).await;
    let load = house.load();
    let clones = || {
        let of = [
            "ps",
            "-a",
            "--format",
            "{{.Names}} {{.Label \"anteroom.of\"}}",
        ];
        let all = engine.cli(&of);
        all.lines().filter(|line| line.contains(" blog/")).count()
    };
    for _ in 0..2 {
        assert_eq!(press(&client(), &house.anteroom).await, 202);
        house.open().await;
        house.goes_direct(&load).await;
        assert_eq!(clones(), 1);
        house.anteroom.command("blog", "sleep").await;
        house.anteroom.phase("blog", "asleep", SOON).await;
        assert_eq!(clones(), 0);
    }
    load::assert_clean(&load.stop().await);
    // And by itself, when nobody comes.
    press(&client(), &house.anteroom).await;
    house.open().await;
    house.anteroom.phase("blog", "asleep", SOON).await;
    assert_eq!((house.get().await.status().as_u16(), clones()), (503, 0));
    let started = engine.cli(&["inspect", "-f", "{{.State.StartedAt}}", &seed]);
    assert!(
        started.starts_with("0001-"),
        "the seed is left alone: {started}"
    );
    engine.remove(&seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik: run tests/run"]
async fn a_clouds_machine_wakes_serves_and_sleeps_and_no_visitor_sees_an_error() {
    let warren = Warren::start();
    warren.behave(warren::Manner {
        takes: Duration::from_secs(1),
        sparse: true,
        ..warren::Manner::default()
    });
    let machine = Machine::new(Duration::from_millis(500)).await;
    let secrets = tempfile::tempdir().expect("a folder");
    let lines = cloud_lines(&warren, &machine, secrets.path());
    let house = House::start("published", "file", nowhere(), &lines).await;
    let load = house.load();
    assert_eq!(press(&client(), &house.anteroom).await, 202);
    house.open().await;
    house.goes_direct(&load).await;
    load::assert_clean(&load.stop().await);
    house.anteroom.phase("blog", "asleep", SOON).await;
    assert_eq!(house.get().await.status(), 503);
    assert_eq!((warren.running(), machine.starts()), (0, 1));
    let writes = |what| warren.calls(&format!("POST /v1/jkt01/user-resource/vm/{what}"));
    assert_eq!((writes("start"), writes("stop")), (1, 1));
    let log = house.anteroom.whole_log();
    assert!(log.contains("a cloud answered") && !log.contains(warren::APIKEY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik: run tests/run"]
async fn a_machine_of_googles_is_started_suspended_and_resumed_and_no_visitor_sees_an_error() {
    let google = Google::start();
    google.behave(gce::Manner {
        takes: Duration::from_secs(1),
        reads_old: Duration::from_millis(300),
        ..gce::Manner::default()
    });
    let machine = Machine::new(Duration::from_millis(500)).await;
    let secrets = tempfile::tempdir().expect("a folder");
    let lines = google_lines(&google, &machine, secrets.path());
    let house = House::start("published", "file", nowhere(), &lines).await;
    let load = house.load();
    for _ in 0..2 {
        assert_eq!(press(&client(), &house.anteroom).await, 202);
        house.open().await;
        house.anteroom.command("blog", "sleep").await;
        house.anteroom.phase("blog", "asleep", SOON).await;
    }
    load::assert_clean(&load.stop().await);
    // And by itself, when nobody comes. Since the machine can't be suspended now, it is shut down.
    google.behave(gce::Manner {
        takes: Duration::from_millis(300),
        suspends_not: true,
        ..gce::Manner::default()
    });
    press(&client(), &house.anteroom).await;
    house.open().await;
    house.anteroom.phase("blog", "asleep", SOON).await;
    assert_eq!(house.get().await.status(), 503);
    assert_eq!((google.running(), machine.starts()), (0, 3));
    let calls = |what: &str| google.calls(&format!("instances.{what}"));
    assert_eq!((calls("start"), calls("resume")), (1, 2));
    assert_eq!((calls("suspend"), calls("stop")), (3, 1));
    assert_eq!(google.desk.given(), 1, "one token is enough");
    let log = house.anteroom.whole_log();
    assert!(log.contains("a cloud answered"));
    assert!(!log.contains("ya29.") && !log.contains("PRIVATE KEY"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik and docker.io: run tests/run"]
async fn killing_the_app_and_anteroom_under_load_shows_no_visitor_an_error() {
    let engine = docker::docker();
    let container = container(engine);
    let mut house = House::start(
        "published",
        "file",
        nowhere(),
        &docker_lines(engine, &container),
    )
    .await;
    press(&client(), &house.anteroom).await;
    house.open().await;
    let load = house.load();
    eventually(SOON, async || {
        load.so_far()
            .get("200 app")
            .is_some_and(|answers| *answers > 500)
    })
    .await;
    // The app dies; it is noticed, woken again, and let in again.
    let mark = house.anteroom.mark();
    engine.cli(&["kill", &container]);
    house.anteroom.log_after(mark, "ready in", SOON).await;
    // Only then: while the room still forwards, it can't die unnoticed.
    house.goes_direct(&load).await;
    // Anteroom dies; the visitors do not notice, and its next life takes over.
    let kept = std::fs::read(house.traefik.dynamic.join("anteroom.yml")).expect("a routing");
    house.anteroom.kill().await;
    let answered = load.so_far().get("200 app").copied().unwrap_or_default();
    eventually(SOON, async || {
        load.so_far()
            .get("200 app")
            .is_some_and(|now| *now > answered + 500)
    })
    .await;
    house.anteroom = house.anteroom.again().await;
    house.anteroom.phase("blog", "awake", SOON).await;
    let answered = load.so_far().get("200 app").copied().unwrap_or_default();
    eventually(SOON, async || {
        load.so_far()
            .get("200 app")
            .is_some_and(|now| *now > answered + 500)
    })
    .await;
    let now = std::fs::read(house.traefik.dynamic.join("anteroom.yml")).expect("a routing");
    assert_eq!(kept, now, "an unchanged routing is not written again");
    load::assert_clean(&load.stop().await);
    house.anteroom.phase("blog", "asleep", SOON).await;
    engine.remove(&container);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik: run tests/run"]
async fn traefik_fetches_the_routing_where_there_is_no_shared_disk() {
    let machine = Machine::new(Duration::from_millis(200)).await;
    let house = House::start("published-http", "http", nowhere(), &played_lines(&machine)).await;
    assert_eq!(house.get().await.status(), 503);
    press(&client(), &house.anteroom).await;
    house.open().await;
    house.anteroom.phase("blog", "asleep", SOON).await;
    assert!(!machine.runs());
    assert_eq!(house.get().await.status(), 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik: run tests/run"]
async fn a_crawler_gets_the_last_good_copy_of_an_app_whose_visitors_went_past_the_room() {
    let machine = Machine::new(Duration::from_millis(200)).await;
    let house = House::start("published", "file", nowhere(), &played_lines(&machine)).await;
    let robots = async || {
        let request = client().get(format!("http://{}/robots.txt", house.traefik.web));
        request
            .header("host", HOST)
            .send()
            .await
            .expect("Traefik answers")
    };
    assert_eq!(robots().await.status(), 503, "nobody knows yet");
    press(&client(), &house.anteroom).await;
    house.open().await;
    // By itself: what the room fetches keeps nobody awake.
    house.anteroom.phase("blog", "asleep", SOON).await;
    let copy = robots().await;
    assert_eq!(copy.status(), 200);
    assert_eq!(copy.headers()["x-anteroom"], "asleep");
    assert!(copy.headers().contains_key("age"));
    assert_eq!(copy.text().await.expect("a text"), APP);
    assert_eq!((machine.starts(), machine.runs()), (1, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik: run tests/run"]
async fn a_websocket_through_traefik_keeps_the_service_awake() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let machine = Machine::new(Duration::from_millis(200)).await;
    let house = House::start("published", "file", nowhere(), &played_lines(&machine)).await;
    press(&client(), &house.anteroom).await;
    house.open().await;
    let mut request = format!("ws://{}/", house.traefik.web)
        .into_client_request()
        .expect("a request");
    request
        .headers_mut()
        .insert("host", HOST.parse().expect("a host"));
    let (socket, _) = tokio_tungstenite::connect_async(request)
        .await
        .expect("the upgrade passes");
    let opened = tokio::time::Instant::now();
    eventually(SOON, async || {
        let view = house.anteroom.view("blog").await;
        assert_eq!(view["phase"], "awake", "{view}");
        opened.elapsed() > Duration::from_secs(16)
    })
    .await;
    drop(socket);
    house.anteroom.phase("blog", "asleep", SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik: run tests/run"]
async fn the_hand_written_way_falls_back_to_the_room_and_counts_the_direct_traffic() {
    let machine = Machine::new(Duration::from_millis(200)).await;
    let house = House::start(
        "hand-written",
        "none",
        machine.address(),
        &played_lines(&machine),
    )
    .await;
    eventually(SOON, async || {
        house.get().await.headers().contains_key("x-anteroom")
    })
    .await;
    press(&client(), &house.anteroom).await;
    house.open().await;
    asks_the_room(&house).await;
    assert_eq!(house.anteroom.view("blog").await["phase"], "awake");
    house.anteroom.phase("blog", "asleep", SOON).await;
    assert_eq!(house.get().await.status(), 503);
}

/// What an open waiting page asks is the room's to answer, and keeps nobody awake.
async fn asks_the_room(house: &House) {
    let own = format!("http://{}/__anteroom/", house.traefik.web);
    let client = client();
    let status = client.get(format!("{own}status"));
    let turn = client
        .post(format!("{own}turn"))
        .header("x-anteroom-page", "1");
    for question in [status, turn] {
        let answer = question.header("host", HOST).send().await;
        let answer = answer.expect("Traefik answers");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-anteroom"], "awake");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik: run tests/run"]
async fn a_page_that_stands_open_asks_the_room_and_keeps_nobody_awake() {
    let machine = Machine::new(Duration::from_millis(200)).await;
    let house = House::start("published", "file", nowhere(), &played_lines(&machine)).await;
    press(&client(), &house.anteroom).await;
    house.open().await;
    // Straight to the app, past the room.
    eventually(SOON, async || {
        let before = house.passed_the_room().await;
        house.open().await;
        house.passed_the_room().await == before
    })
    .await;
    let awake = Instant::now();
    eventually(SOON, async || {
        let asleep = house.anteroom.view("blog").await["phase"] != "awake";
        if !asleep && awake.elapsed() < Duration::from_secs(6) {
            asks_the_room(&house).await;
        }
        asleep
    })
    .await;
    house.anteroom.phase("blog", "asleep", SOON).await;
}

/// The file that is published must be left whole when it is replaced, and be the operator's to read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik: run tests/run"]
async fn a_routing_that_traefik_refuses_is_put_back() {
    let machine = Machine::new(Duration::from_millis(200)).await;
    let house = House::start("published", "file", nowhere(), &played_lines(&machine)).await;
    let file: &Path = &house.traefik.dynamic.join("anteroom.yml");
    let good = std::fs::read(file).expect("a routing");
    // A second file with an unknown field blocks every change of the directory.
    let broken = house.traefik.dynamic.join("zz-broken.yml");
    std::fs::write(&broken, "http: {nonsense: 1}").expect("the directory is ours");
    press(&client(), &house.anteroom).await;
    house
        .anteroom
        .log("the routing is not in force", SOON)
        .await;
    eventually(SOON, async || {
        std::fs::read(file).is_ok_and(|now| now == good)
    })
    .await;
    // The service is awake all the same: the room forwards.
    house.open().await;
    std::fs::remove_file(&broken).expect("it is ours");
    let before = house.passed_the_room().await;
    eventually(SOON, async || {
        let now = std::fs::read_to_string(file).unwrap_or_default();
        now.contains("failover")
    })
    .await;
    assert!(before > 0);
}
