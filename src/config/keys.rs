//! The one table of everything that the configuration file may say.

use super::schema::Fallback::{Nothing, Required, Value};
use super::schema::Kind::{
    Challenge, Choice, Duration, Integer, List, Listen, Map, Named, Number, Path, Provider, Secret,
    Section, Signal, Special, Text, Truth, Url,
};
use super::schema::{Fallback, Key, Kind, SectionText};

/// The kinds of providers in this version.
pub(super) const PROVIDER_KINDS: &[&str] = &[
    "process",
    "docker",
    "command",
    "idcloudhost",
    "gce",
    "digitalocean",
    "hetzner",
    "proxmox",
    "ec2",
    "libvirt",
    "wol",
];

/// The kinds of signals of load.
pub(super) const SIGNAL_KINDS: &[&str] = &["node-exporter", "prometheus", "provider", "webhook"];

/// The kinds of challenges.
pub(super) const CHALLENGE_KINDS: &[&str] = &["pow", "chess", "turnstile", "hcaptcha"];

/// The sections of the file, in the order of the reference page.
pub(super) const SECTIONS: &[SectionText] = &[
    part("", "The file", "One TOML file with these tables."),
    part("server", "[server]", "The listener for visitors."),
    part(
        "admin",
        "[admin]",
        "The listener for admins: API, dashboard and metrics. Never public.",
    ),
    part(
        "admin webhook",
        "[admin.webhook]",
        "How Grafana signs the alerts that it sends to `/v1/scale-up` and `/v1/scale-down`. See [alerts.md](alerts.md).",
    ),
    part(
        "store",
        "[store]",
        "Where the records of the services are kept.",
    ),
    part(
        "limits",
        "[limits]",
        "Limits of the whole deployment. Those of a service are in its `wake`.",
    ),
    part(
        "privacy",
        "[privacy]",
        "What is written down of clients, and for how long. See [security.md](security.md).",
    ),
    part(
        "traefik",
        "[traefik]",
        "Optional: the Traefik in front of the room.",
    ),
    part(
        "publish",
        "traefik.publish",
        "How the routing of the services gets to Traefik.",
    ),
    part(
        "prometheus",
        "[prometheus]",
        "Optional: the Prometheus that is asked for load, and that is told of the instances.",
    ),
    part(
        "service",
        "[service.NAME]",
        "One service. NAME is 1 to 40 of a-z, 0-9 and `-`, and starts and ends with a letter or a digit. `[defaults]` takes the same keys; what a service writes itself wins, key by key, also inside the tables below.",
    ),
    part(
        "ignore",
        "A rule in `ignore`",
        "Who does not count. A client must be all that the rule says.",
    ),
    part(
        "health",
        "[service.NAME.health]",
        "How the room asks the app itself whether it is ready.",
    ),
    part(
        "wake",
        "[service.NAME.wake]",
        "What a client must do, and who it must be, to wake the service.",
    ),
    part(
        "challenge pow",
        "challenge: pow",
        "Proof of work: the visitor's browser looks for a number. It is friction for those who come in masses, and no wall; see [security.md](security.md).",
    ),
    part(
        "challenge chess",
        "challenge: chess",
        "A mate in one move, on a page of its own; for waiting rooms with a smile. The wait stands beside it. See [security.md](security.md).",
    ),
    part(
        "challenge captcha",
        "challenge: turnstile and hcaptcha",
        "Cloudflare Turnstile, or hCaptcha: its widget on a page of its own, and its answer checked at the vendor. See [security.md](security.md) for who learns what.",
    ),
    part(
        "scale",
        "[service.NAME.scale]",
        "How many instances there may be, and when there are more or fewer. With `max = 1` there is one, and nothing else of it is looked at but `seed` and `creations_per_hour`.",
    ),
    part(
        "wake instances",
        "[service.NAME.scale.wake_instances]",
        "Optional: a wake brings more than one instance where many visitors wait for it. Those count whose waiting page is open, or whose request is held, in all rooms. See [scaling.md](scaling.md).",
    ),
    part(
        "signal node-exporter",
        "signal: node-exporter",
        "The node_exporter of each instance, asked directly. An instance is told by its address, whatever its labels say.",
    ),
    part(
        "signal prometheus",
        "signal: prometheus",
        "The answer of a Prometheus to an expression of yours, in percent. The label `instance` (a host, or a host and a port) or `anteroom_instance` says whose it is; one value without either is everybody's.",
    ),
    part(
        "signal provider",
        "signal: provider",
        "The provider's own figures of the processor: of `docker` (and Podman) and of `process`.",
    ),
    part(
        "signal webhook",
        "signal: webhook",
        "Nothing is measured: only alerts that come in make it more or fewer, one step each.",
    ),
    part(
        "cost",
        "[service.NAME.cost]",
        "Optional: what a running machine costs.",
    ),
    part(
        "process",
        "provider: process",
        "The app is a child process on this host. It must listen on 127.0.0.1 at the service's `port`.",
    ),
    part(
        "docker",
        "provider: docker",
        "The app is a container that exists already; it is started and stopped, never made or removed.",
    ),
    part(
        "command",
        "provider: command",
        "Any platform: programs of yours (`start`, `stop`, `state`), or one `webhook` instead of the three.",
    ),
    part(
        "idcloudhost",
        "provider: idcloudhost",
        "A virtual machine at IDCloudHost, or at another cloud that runs Warren: it is started and stopped, never made or removed.",
    ),
    part(
        "gce",
        "provider: gce",
        "A virtual machine at Google Compute Engine: it is started, and stopped or suspended, never removed. With `clone_from`, clones of it can be made and deleted.",
    ),
    part(
        "digitalocean",
        "provider: digitalocean",
        "A droplet at DigitalOcean. It is billed in full while it is off, see [providers.md](providers.md).",
    ),
    part(
        "hetzner",
        "provider: hetzner",
        "A server at Hetzner Cloud. It is billed in full while it is off, see [providers.md](providers.md).",
    ),
    part(
        "proxmox",
        "provider: proxmox",
        "A virtual machine or a container on Proxmox VE: it is started, and stopped or suspended. It is never made or removed itself; its clones are.",
    ),
    part(
        "ec2",
        "provider: ec2",
        "A virtual machine at AWS EC2: it is started, and stopped or hibernated. It is never made or removed itself; its clones are.",
    ),
    part(
        "libvirt",
        "provider: libvirt",
        "A virtual machine of libvirt (a domain), by `virsh`: it is started, and shut down or saved with its memory; never made or removed.",
    ),
    part(
        "wol",
        "provider: wol",
        "A machine on the local network: woken by a magic packet (Wake-on-LAN), put to sleep by a program of yours. It runs when its port is open.",
    ),
    part(
        "webhook",
        "webhook of the command provider",
        "A URL that is asked to start, to stop and for the state.",
    ),
];

const fn part(id: &'static str, title: &'static str, about: &'static str) -> SectionText {
    SectionText { id, title, about }
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Fallback,
    meaning: &'static str,
    example: &'static str,
) -> Key {
    Key {
        section,
        name,
        kind,
        default,
        meaning,
        example,
    }
}

/// Every key, in the order of the reference page.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("", "server", Section("server"), Nothing("all its defaults"), "The listener for visitors.", "{}"),
    key("", "admin", Section("admin"), Nothing("all its defaults"), "The listener for admins.", "{}"),
    key("", "store", Section("store"), Nothing("all its defaults"), "Where records are kept.", "{}"),
    key("", "limits", Section("limits"), Nothing("all its defaults"), "Limits of the whole deployment.", "{}"),
    key("", "privacy", Section("privacy"), Nothing("all its defaults"), "What is written down of clients, and for how long.", "{}"),
    key("", "traefik", Section("traefik"), Nothing("no Traefik"), "The Traefik in front of the room.", "{}"),
    key("", "prometheus", Section("prometheus"), Nothing("all its defaults"), "The Prometheus that is asked for load, and that is told of the instances.", "{}"),
    key("", "defaults", Section("service"), Nothing("none"), "Any key a service may have; it holds for every service that does not write its own.", "{}"),
    key("", "service", Named("service"), Nothing("no services"), "The services, by their names.", "{}"),

    key("server", "listen", Listen, Value(r#""127.0.0.1:8080""#), "Where visitors, or Traefik for them, connect. Port 0 lets the system choose one.", r#""127.0.0.1:8080""#),
    key("server", "trusted_proxies", List("networks"), Value(r#"["127.0.0.0/8", "::1/128"]"#), "Whose `X-Forwarded-*` headers are believed, hop by hop from the right. A single address is a network of one.", r#"["127.0.0.0/8", "::1/128"]"#),
    key("server", "drain_timeout", Duration("0s", "1h"), Value(r#""30s""#), "How long running requests may take to end when Anteroom itself is stopped.", r#""30s""#),
    key("server", "theme", Path, Nothing("the built-in page"), "A folder with pages of your own: its `plain.html` is shown under hosts that no service has. Services name theirs, or `[defaults]` does. See [themes.md](themes.md).", r#""/etc/anteroom/theme""#),

    key("admin", "listen", Listen, Value(r#""127.0.0.1:8081""#), "Where admins connect. Anything but loopback needs a `token`.", r#""127.0.0.1:8081""#),
    key("admin", "token", Secret, Nothing("only loopback is served"), "What an admin must send as `Authorization: Bearer`, or as a password.", r#"{ env = "ANTEROOM_ADMIN_TOKEN" }"#),
    key("admin", "webhook", Section("admin webhook"), Nothing("alerts carry the admin token, or come from this host"), "How alerts that come in are signed.", r#"{ secret = { env = "ANTEROOM_WEBHOOK_SECRET" } }"#),

    key("admin webhook", "secret", Secret, Required, "The key of the signature (HMAC-SHA256), as it stands in Grafana's contact point.", r#"{ env = "ANTEROOM_WEBHOOK_SECRET" }"#),
    key("admin webhook", "timestamp_header", Special("the name of a header"), Nothing("the body alone is signed"), "Grafana's \"timestamp header\": the time is signed as well, and a call that is older than 5 minutes is refused.", r#""X-Grafana-Alerting-Timestamp""#),

    key("store", "url", Special("the address of a store"), Value(r#""file:anteroom.db""#), "`memory:` forgets everything at the end of the process; `file:PATH` keeps it in one file; `redis://HOST:PORT/DB`, `rediss://`, `redis+sentinel://HOST,HOST/MASTER/DB` and `redis+cluster://HOST,HOST` keep it in Redis, see [redis.md](redis.md). One with a password comes from `{ env = \"...\" }` or `{ file = \"...\" }`.", r#""file:anteroom.db""#),
    key("store", "prefix", Special("a prefix"), Value(r#""anteroom""#), "The first word of every stored key: 1 to 40 of letters, digits, `-`, `_` and `.`.", r#""anteroom""#),
    key("store", "services_may_run", Truth, Value("false"), "Whether a service that was added in Redis may run programs on this host: the kinds `process`, `wol` and `libvirt`, and the programs of `command`. See [security.md](security.md).", "false"),

    key("limits", "over_all", Special("a rate"), Value(r#""off""#), "Wakes of all services together.", r#""500/1d""#),
    key("limits", "pages_per_client", Special("a rate"), Value(r#""200/4s""#), "Answers of the room itself (pages, statuses, refusals; nothing that an app answers) to each IPv4 address or IPv6 /64. Above it, a client gets an empty 429.", r#""200/4s""#),

    key("privacy", "addresses", Choice(&["full", "network", "keyed"]), Value(r#""full""#), "`full`: the address of whoever asks for a wake is kept for `address_kept`, in the list of triggerers and in the keys of limits, and its network (/24, /48) for `network_kept`. `network`: no address is kept. `keyed`: not even a network, but a name made with a key that is another one each day.", r#""network""#),
    key("privacy", "address_kept", Duration("0s", "366d"), Value(r#""24h""#), "How long an address is kept. At most `network_kept`.", r#""24h""#),
    key("privacy", "network_kept", Duration("1d", "366d"), Value(r#""30d""#), "How long a network or a name is kept, and the ledger with it.", r#""30d""#),

    key("traefik", "publish", Section("publish"), Required, "How the routing of the services gets to Traefik.", r#"{ kind = "none" }"#),
    key("traefik", "room_url", Url, Nothing("`http://` and `server.listen`"), "How Traefik reaches the room. Without a path. Must be written when `server.listen` is not one address and port.", r#""http://127.0.0.1:8080""#),
    key("traefik", "public_url", Url, Nothing("the visitors' way is not probed"), "How our probe reaches Traefik, to prove that visitors meet the room before a machine is stopped.", r#""http://127.0.0.1:80""#),
    key("traefik", "api", Url, Nothing("must be written for `ingress = \"failover\"`"), "Traefik's API and `/metrics`: activity, and proof that a publish took.", r#""http://127.0.0.1:8082""#),
    key("traefik", "entrypoints", List("names of entry points"), Value(r#"["web"]"#), "The entry points of Traefik that the services are published on.", r#"["web"]"#),

    key("publish", "kind", Choice(&["file", "http", "none"]), Required, "`file` writes a file that Traefik watches; `http` waits for Traefik to fetch `/traefik` from the admin listener; `none` leaves it to you.", r#""file""#),
    key("publish", "path", Path, Nothing("must be written for `kind = \"file\"`"), "The file, in a folder that Traefik's file provider watches. Only for `kind = \"file\"`.", r#""/etc/traefik/dynamic/anteroom.yml""#),

    key("prometheus", "url", Url, Nothing("none is asked"), "Where Prometheus is asked.", r#""http://127.0.0.1:9090""#),
    key("prometheus", "token", Secret, Nothing("none is sent"), "Sent as `Authorization: Bearer`.", r#"{ env = "PROMETHEUS_TOKEN" }"#),
    key("prometheus", "username", Text, Nothing("none is sent"), "Sent with `password`, instead of `token`.", r#""anteroom""#),
    key("prometheus", "password", Secret, Nothing("none is sent"), "Sent with `username`.", r#"{ env = "PROMETHEUS_PASSWORD" }"#),
    key("prometheus", "targets_file", Path, Nothing("it is only fetched, from `/prometheus/targets`"), "A file that the list of instances is written to, for Prometheus' `file_sd`; its name ends in `.json`.", r#""/etc/prometheus/targets/anteroom.json""#),
    key("prometheus", "job", Text, Value(r#""anteroom""#), "The label `job` of the instances in that list.", r#""anteroom""#),

    key("service", "hosts", List("hostnames"), Required, "The names visitors ask for, without scheme and port. A name belongs to one service.", r#"["blog.example.com"]"#),
    key("service", "port", Integer(1, 65535), Required, "The app's port, on every instance.", "80"),
    key("service", "ingress", Choice(&["failover", "proxy"]), Nothing("`failover` with `[traefik]`, else `proxy`"), "`failover`: Traefik sends the visitors of an awake service straight to it. `proxy`: every request passes the room.", r#""failover""#),
    key("service", "idle_timeout", Duration("1s", "365d"), Value(r#""30m""#), "How long there must be no traffic before the service is put to sleep.", r#""30m""#),
    key("service", "min_awake", Duration("0s", "365d"), Value(r#""10m""#), "How long a woken service stays awake at least.", r#""10m""#),
    key("service", "start_timeout", Duration("1s", "24h"), Value(r#""5m""#), "How long a wake may take before it counts as failed.", r#""5m""#),
    key("service", "drain_timeout", Duration("0s", "24h"), Value(r#""30s""#), "How long running requests may take to end before the machine is stopped.", r#""30s""#),
    key("service", "hold", Duration("0s", "10m"), Nothing("not held"), "How long a request that does not ask for HTML is held while the service wakes, instead of being answered 503. `0s` holds nothing.", r#""60s""#),
    key("service", "ramp", Integer(0, 1_000), Value("100"), "Requests a second that pass the room to an app in the first 30 s after a wake, evenly; the rest waits its turn, first come first served, and none is refused. `0`: all at once. Each room counts for itself. With `ingress = \"failover\"`, what Traefik sends straight to the app is bounded only as pages: `ramp` / 2 visitors a second. See [operations.md](operations.md).", "100"),
    key("service", "health", Section("health"), Nothing("all its defaults"), "How the app is asked whether it is ready.", "{}"),
    key("service", "app_errors", List("statuses"), Value(r#"["502-504"]"#), "The answers that Traefik brings to the room as errors. Leave 503 out when the app's own 503 pages are to pass.", r#"["502", "504"]"#),
    key("service", "provider", Provider, Required, "Where the machine lives.", r#"{ kind = "docker", container = "blog" }"#),
    key("service", "wake", Section("wake"), Nothing("all its defaults"), "Who may wake the service, and how.", "{}"),
    key("service", "copies", List("paths"), Value(r#"["/robots.txt", "/favicon.ico", "/apple-touch-icon*.png", "/sitemap.xml", "/.well-known/*"]"#), "Paths of which the room keeps the last good copy, and answers with it while the app can't: each may have one `*`. `[]` keeps none.", r#"["/robots.txt", "/ads.txt"]"#),
    key("service", "ignore", Special("a list of parts of user agents, or of rules"), Value("[]"), "Whose requests neither wake the service nor keep it awake: those whose `User-Agent` holds such a text, in any case of letters, or those that a rule holds (the next table).", r#"["UptimeRobot", { agent = "Pingdom", networks = ["203.0.113.0/24"], answer = 200 }]"#),
    key("service", "traps", List("paths"), Value(r#"["/.env", "/.git/", "/.aws/", "/.ssh/", "/.svn/", "/.htpasswd", "/wp-config.php", "/wp-config.php.bak", "/vendor/phpunit/", "/cgi-bin/luci", "/boaform/"]"#), "Paths that no honest visitor opens. Whoever asks for one while the service sleeps is banned from waking anything, with its network (/24, /48), for `trap_ban`; what is awake it may visit. One that ends with `/` holds all below it. `[]` for none. Where nobody uses WordPress, add `/wp-login.php` and `/xmlrpc.php`.", r#"["/.env", "/wp-login.php"]"#),
    key("service", "trap_ban", Duration("1m", "30d"), Value(r#""1h""#), "How long that lasts.", r#""1h""#),
    key("service", "origins", List("origins"), Nothing("none"), "Pages of other origins that call this service, as scheme, host and port. While the room answers in the app's place, the scripts of these may read what it says (CORS), also with cookies. Name only those that the app itself lets in: their preflights are granted without asking it.", r#"["https://app.example.com"]"#),
    key("service", "theme", Path, Nothing("the built-in pages"), "A folder with pages of your own. It is read at the start and at a reload. See [themes.md](themes.md).", r#""/etc/anteroom/theme""#),
    key("service", "scale", Section("scale"), Nothing("one instance"), "How many instances there may be.", "{}"),
    key("service", "cost", Section("cost"), Nothing("not known"), "What a running machine costs.", "{ per_hour = 0.0288 }"),

    key("ignore", "agent", Text, Nothing("any"), "A part of the `User-Agent`, in any case of letters.", r#""UptimeRobot""#),
    key("ignore", "networks", List("networks"), Nothing("any address"), "Where it comes from; not written: from anywhere.", r#"["203.0.113.0/24"]"#),
    key("ignore", "answer", Integer(200, 200), Nothing("503, as for everybody"), "`200`: while the service is not there, and its last wake did not fail, a GET or HEAD is answered 200 with `X-Anteroom`. Needs `networks`.", "200"),
    key("ignore", "trust_agent", Truth, Value("false"), "With `answer = 200`, the user agent is enough. Anybody can write it.", "false"),

    key("health", "path", Special("a path that starts with /"), Value(r#""/""#), "What is asked for, by GET.", r#""/healthz""#),
    key("health", "status", Special("a list of statuses"), Value(r#""200-399""#), "The answers that mean ready: statuses and ranges with commas between.", r#""200-299,401""#),
    key("health", "interval", Duration("100ms", "1h"), Value(r#""1s""#), "The longest pause between two probes. The first seconds of a wake have shorter ones.", r#""1s""#),
    key("health", "timeout", Duration("100ms", "5m"), Value(r#""2s""#), "How long the app may take to answer a probe.", r#""2s""#),
    key("health", "host", Special("a hostname"), Nothing("the first of `hosts`"), "The `Host` header of the probe.", r#""blog.example.com""#),

    key("wake", "by", Choice(&["page", "click", "request", "challenge"]), Value(r#""page""#), "`page`: the waiting page's script or its button. `click`: only the button. `request`: any request, also from scanners and link previews. `challenge`: whoever solves what `challenge` asks for.", r#""page""#),
    key("wake", "challenge", Challenge, Nothing("with `by = \"challenge\"`, proof of work"), "What a visitor must solve. Looked at only with `by = \"challenge\"`.", r#"{ kind = "pow" }"#),
    key("wake", "deny", List("networks"), Value("[]"), "Clients that may not wake the service.", r#"["203.0.113.0/24"]"#),
    key("wake", "allow", List("networks"), Value("[]"), "When not empty, only these clients may wake the service. `deny` still wins.", r#"["198.51.100.0/24"]"#),
    key("wake", "per_client", Special("a rate"), Value(r#""24/1d""#), "Wakes by each IPv4 address or IPv6 /64. Visitors who come to a sleep that somebody else ends, and everybody's requests to the awake app, cost nothing.", r#""24/1d""#),
    key("wake", "per_network", Special("a rate"), Value(r#""48/1d""#), "Wakes by each IPv4 /24 or IPv6 /48.", r#""48/1d""#),
    key("wake", "per_service", Special("a rate"), Value(r#""96/1d""#), "Wakes of this service by all clients together.", r#""96/1d""#),
    key("wake", "per_day", Integer(1, 1_000_000), Nothing("no budget"), "Wakes of this service from midnight to midnight, UTC: a budget that is there again all at once.", "48"),

    key("challenge pow", "kind", Choice(CHALLENGE_KINDS), Required, "What a visitor must solve.", r#""pow""#),
    key("challenge pow", "bits", Integer(8, 24), Value("17"), "How many zero bits the hash begins with, while few ask: each one doubles the work. 17 are some 130,000 hashes, a fraction of a second in a browser.", "17"),
    key("challenge pow", "bits_max", Integer(8, 24), Nothing("`bits` + 5, 24 at most"), "How many under load, at most: one more for each doubling of the wishes to wake the service.", "22"),
    key("challenge pow", "patience", Duration("5s", "5m"), Value(r#""15s""#), "The other way in, without a script: to press the button, wait so long, and press again. Under load it doubles with each bit.", r#""15s""#),
    key("challenge chess", "kind", Choice(CHALLENGE_KINDS), Required, "What a visitor must solve.", r#""chess""#),
    key("challenge chess", "patience", Duration("5s", "5m"), Value(r#""30s""#), "The other way in: to wait so long and press the button. Under load it doubles, up to eight times as long.", r#""30s""#),

    key("challenge captcha", "kind", Choice(CHALLENGE_KINDS), Required, "What a visitor must solve.", r#""turnstile""#),
    key("challenge captcha", "sitekey", Special("a sitekey"), Required, "The widget's public key. Its list of hosts at the vendor must hold the service's `hosts`.", r#""0x4AAAAAAABkMYinukE8nzY""#),
    key("challenge captcha", "secret", Secret, Required, "The key that goes with it, which the vendor alone is told.", r#"{ env = "TURNSTILE_SECRET" }"#),
    key("challenge captcha", "url", Url, Nothing("where the vendor checks them"), "Where answers are checked.", r#""https://challenges.cloudflare.com/turnstile/v0/siteverify""#),
    key("challenge captcha", "script", Url, Nothing("where the vendor has it"), "Where the visitor's browser gets the widget. The page's policy lets it load from that origin, and nothing else.", r#""https://challenges.cloudflare.com/turnstile/v0/api.js""#),
    key("challenge captcha", "send_address", Truth, Value("false"), "Whether the visitor's address is sent along when its answer is checked (`remoteip`). The visitor's browser shows it to the vendor anyway.", "true"),
    key("challenge captcha", "patience", Duration("5s", "5m"), Value(r#""15s""#), "The other way in: to press the button, wait so long, and press again. Under load it doubles, up to eight times as long.", r#""15s""#),

    key("scale", "seed", Choice(&["serves", "template"]), Value(r#""serves""#), "`serves`: the machine itself takes requests, beside its clones. `template`: clones alone do, which a wake makes and a sleep deletes; the machine itself is neither started nor stopped. See [scaling.md](scaling.md).", r#""template""#),
    key("scale", "min", Integer(1, 50), Value("1"), "Instances at least, while the service is awake.", "1"),
    key("scale", "max", Integer(1, 50), Value("1"), "Instances at most; the machine itself is one of them if it serves. More than one need a provider that makes clones with its settings, and a `signal`.", "3"),
    key("scale", "mode", Choice(&["threshold", "projected"]), Value(r#""threshold""#), "When an instance goes. `threshold`: the load is below `down_at`. `projected`: the rest would still be `margin` below `up_at`.", r#""projected""#),
    key("scale", "margin", Integer(0, 50), Value("10"), "How far below `up_at` the rest must stay in the mode `projected`, in points of percent; less than `up_at`.", "10"),
    key("scale", "up_at", Integer(20, 99), Value("70"), "Above this mean load of the instances there are more of them, in percent.", "70"),
    key("scale", "down_at", Integer(1, 98), Nothing("`up_at` / 2 - 5"), "Below this there is one fewer in the mode `threshold`, in percent; less than `up_at`.", "30"),
    key("scale", "up_window", Duration("2s", "1h"), Value(r#""1m""#), "What is averaged before there are more; at least two times `interval`.", r#""1m""#),
    key("scale", "down_window", Duration("2s", "24h"), Nothing("`15m`; in the mode `projected` `30m`"), "How long the load must have stayed low before there is one fewer; at least two times `interval`.", r#""20m""#),
    key("scale", "cooldown", Duration("0s", "24h"), Value(r#""3m""#), "How long after a change none goes. More come at once; with a `webhook` alone, they wait too.", r#""3m""#),
    key("scale", "interval", Duration("1s", "5m"), Value(r#""15s""#), "How often is measured.", r#""15s""#),
    key("scale", "creations_per_hour", Integer(1, 1_000), Value("20"), "Clones that are made within an hour, at most, whatever happens.", "20"),
    key("scale", "wake_instances", Section("wake instances"), Nothing("one instance"), "How many instances a wake brings when many visitors wait for it.", "{ visitors_each = 20, max = 3 }"),
    key("scale", "signal", Signal, Nothing("must be written for `max` above 1"), "What tells how busy the instances are.", r#"{ kind = "node-exporter", port = 9100 }"#),

    key("wake instances", "visitors_each", Integer(1, 100_000), Required, "One instance for each so many visitors that wait. One client, by its address, counts for so many at most.", "20"),
    key("wake instances", "max", Integer(2, 50), Nothing("`max` of the service"), "Instances at most that a wake brings, the machine itself among them; up to `max` of the service.", "3"),

    key("signal node-exporter", "kind", Choice(SIGNAL_KINDS), Required, "What tells how busy the instances are.", r#""node-exporter""#),
    key("signal node-exporter", "port", Integer(1, 65535), Value("9100"), "Its port, at the address of each instance.", "9100"),
    key("signal node-exporter", "path", Special("a path that starts with /"), Value(r#""/metrics""#), "Where its metrics are.", r#""/metrics""#),
    key("signal node-exporter", "of", List("`cpu`, `memory`"), Value(r#"["cpu"]"#), "What of the machine counts: its processors, its memory, or whichever of them is busier.", r#"["cpu", "memory"]"#),

    key("signal prometheus", "kind", Choice(SIGNAL_KINDS), Required, "What tells how busy the instances are.", r#""prometheus""#),
    key("signal prometheus", "query", Special("a PromQL expression"), Required, "What is asked, at every `interval`.", r#"'100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[1m])))'"#),
    key("signal prometheus", "at", Special("a PromQL expression"), Nothing("the last scrape, where it succeeded: `timestamp(up) * up`"), "When each instance was measured, in seconds since the epoch: needed where figures are pushed and there is no `up`. Without it, or where it has nothing of an instance, that instance has no sample.", r#""timestamp(pushed_load)""#),
    key("signal prometheus", "url", Url, Nothing("that of `[prometheus]`"), "Another Prometheus than that of `[prometheus]`. It is asked without a name or a token.", r#""http://127.0.0.1:9090""#),

    key("signal provider", "kind", Choice(SIGNAL_KINDS), Required, "What tells how busy the instances are.", r#""provider""#),

    key("signal webhook", "kind", Choice(SIGNAL_KINDS), Required, "What tells how busy the instances are.", r#""webhook""#),

    key("cost", "per_hour", Number(0.0, 1_000_000.0), Required, "The price of an hour.", "0.0288"),
    key("cost", "currency", Special("a currency of three letters"), Value(r#""USD""#), "The currency, by its three letters.", r#""USD""#),
    key("cost", "billing_increment", Duration("1s", "31d"), Nothing("billed by use"), "What is paid for in one piece. A paid piece is used up before the machine is stopped.", r#""1h""#),

    key("process", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""process""#),
    key("process", "command", List("the program and its arguments"), Required, "What is run, without a shell. `{port}` stands for the port to listen on, here and in `env`; a clone gets the next free one.", r#"["./app", "--port", "{port}"]"#),
    key("process", "cwd", Path, Nothing("Anteroom's own"), "The folder it runs in.", r#""/srv/app""#),
    key("process", "env", Map, Nothing("Anteroom's own alone"), "Variables that are added to the environment.", r#"{ MODE = "production" }"#),
    key("process", "stop_timeout", Duration("0s", "1h"), Value(r#""10s""#), "How long it may take to end by itself before it is killed.", r#""10s""#),

    key("docker", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""docker""#),
    key("docker", "container", Text, Required, "The container's name or id.", r#""blog""#),
    key("docker", "endpoint", Special("the address of Docker"), Value(r#""unix:///var/run/docker.sock""#), "Where Docker listens: `unix://` and a path, or `tcp://` with host and port.", r#""tcp://127.0.0.1:2375""#),
    key("docker", "address", Choice(&["container", "published"]), Value(r#""container""#), "`container`: the container's own address. `published`: the port it publishes on the host.", r#""container""#),
    key("docker", "clone_from", Choice(&["image", "disk"]), Value(r#""image""#), "`image`: a clone begins with the container's image. `disk`: with its disk as it is, for which the container stands still while it is copied. Volumes are not copied.", r#""disk""#),
    key("docker", "stop_timeout", Duration("0s", "1h"), Value(r#""10s""#), "How long it may take to end by itself before it is killed.", r#""10s""#),

    key("command", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""command""#),
    key("command", "start", List("the program and its arguments"), Nothing("must be written without `webhook`"), "Starts the machine; a running one is left alone.", r#"["./vm", "start"]"#),
    key("command", "stop", List("the program and its arguments"), Nothing("must be written without `webhook`"), "Stops the machine; a stopped one is left alone.", r#"["./vm", "stop"]"#),
    key("command", "state", List("the program and its arguments"), Nothing("must be written without `webhook`"), "Prints `running`, `stopped`, `starting`, `stopping`, `suspended` or `missing`.", r#"["./vm", "state"]"#),
    key("command", "webhook", Section("webhook"), Nothing("the three programs"), "A URL instead of the three programs.", r#"{ url = "https://hooks.example.com/vm" }"#),
    key("command", "address", Special("a host, or a host and a port"), Required, "Where the app listens when the machine runs. Without a port, the service's `port`.", r#""10.0.0.7:8000""#),
    key("command", "timeout", Duration("1s", "1h"), Value(r#""60s""#), "How long one program, or one call of the webhook, may take.", r#""60s""#),

    key("idcloudhost", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""idcloudhost""#),
    key("idcloudhost", "location", Text, Required, "The location, as in the cloud's paths: 1 to 64 letters, digits and `-`.", r#""jkt01""#),
    key("idcloudhost", "uuid", Text, Required, "The machine's id.", r#""f80b1d62-ffe4-43ef-9210-60f05445456a""#),
    key("idcloudhost", "apikey", Secret, Required, "The account's API token.", r#"{ env = "IDCLOUDHOST_APIKEY" }"#),
    key("idcloudhost", "address", Choice(&["private", "public"]), Value(r#""private""#), "`private`: the address in its private network. `public`: the public address that is assigned to it.", r#""private""#),
    key("idcloudhost", "stop_timeout", Duration("1s", "1h"), Value(r#""2m""#), "How long it may take to shut down by itself before it is switched off.", r#""2m""#),
    key("idcloudhost", "clone_timeout", Duration("1m", "2h"), Value(r#""30m""#), "How long making a clone may take. A clone whose answer was lost is looked for so long before it counts as never made.", r#""30m""#),
    key("idcloudhost", "billing_account", Integer(1, 1_000_000_000_000), Nothing("the one that the token is bound to"), "The billing account whose public addresses are listed, for a token that may use several.", "6"),
    key("idcloudhost", "base_url", Url, Value(r#""https://api.idcloudhost.com/v1""#), "The cloud's address, up to the version in its path.", r#""https://api.pilvio.com/v1""#),
    key("idcloudhost", "ca", Path, Nothing("the system's authorities alone"), "A file of certificates (PEM) that are believed beside those of the system.", r#""/etc/anteroom/ca.pem""#),

    key("gce", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""gce""#),
    key("gce", "project", Text, Required, "The id of its project.", r#""blog-471008""#),
    key("gce", "zone", Text, Required, "Its zone.", r#""europe-west1-b""#),
    key("gce", "instance", Text, Required, "Its name.", r#""blog""#),
    key("gce", "credentials", Path, Nothing("found as Google's own programs find them"), "A file: the key of a service account, or a person's own login. Without it, what `GOOGLE_APPLICATION_CREDENTIALS` names, then the file that gcloud writes, then the metadata server of the machine that Anteroom runs on.", r#""/etc/anteroom/gce.json""#),
    key("gce", "sleep", Choice(&["stop", "suspend"]), Value(r#""stop""#), "`stop`: it is shut down. `suspend`: its memory is kept, for 60 days at most; a machine that can't be suspended is stopped.", r#""suspend""#),
    key("gce", "address", Choice(&["private", "public"]), Value(r#""private""#), "`private`: the address in the network of its first interface. `public`: its external address, whichever it has after each start.", r#""private""#),
    key("gce", "clone_from", Special("the path of a machine image or an instance template"), Nothing("no clones are made"), "What clones of the machine are made of: a machine image, or an instance template (also a regional one).", r#""projects/blog-471008/global/machineImages/blog-1""#),
    key("gce", "stop_timeout", Duration("1s", "1h"), Value(r#""2m""#), "How long it may take to shut down by itself before that is cut short.", r#""2m""#),
    key("gce", "base_url", Url, Value(r#""https://compute.googleapis.com/compute/v1""#), "The cloud's address, up to the version in its path.", r#""https://compute.googleapis.com/compute/v1""#),
    key("gce", "ca", Path, Nothing("the system's authorities alone"), "A file of certificates (PEM) that are believed beside those of the system.", r#""/etc/anteroom/ca.pem""#),

    key("digitalocean", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""digitalocean""#),
    key("digitalocean", "token", Secret, Required, "The account's API token.", r#"{ env = "DIGITALOCEAN_TOKEN" }"#),
    key("digitalocean", "droplet", Integer(1, i64::MAX), Nothing("needed with `sleep = \"power_off\"`"), "The droplet's id, a number: its name may be another's too.", "3164444"),
    key("digitalocean", "sleep", Choice(&["power_off", "snapshot_destroy"]), Value(r#""power_off""#), "`power_off`: it is switched off, and billed in full. `snapshot_destroy`: it is destroyed, and made again from its snapshot: see [providers.md](providers.md) before.", r#""power_off""#),
    key("digitalocean", "tag", Special("a tag"), Nothing("needed with `sleep = \"snapshot_destroy\"`"), "The tag by which the droplet is found: no other droplet has it.", r#""blog-vm""#),
    key("digitalocean", "ssh_keys", List("ids or fingerprints"), Nothing("none"), "The SSH keys that a droplet which is made again is given. Without one, DigitalOcean sends a password by mail.", r#"["289794"]"#),
    key("digitalocean", "address", Choice(&["private", "public"]), Value(r#""private""#), "`private`: the address in its VPC network. `public`: its public IPv4 address.", r#""private""#),
    key("digitalocean", "stop_timeout", Duration("1s", "1h"), Value(r#""2m""#), "How long it may take to shut down by itself before it is switched off.", r#""2m""#),
    key("digitalocean", "base_url", Url, Value(r#""https://api.digitalocean.com""#), "The cloud's address.", r#""https://api.digitalocean.com""#),
    key("digitalocean", "ca", Path, Nothing("the system's authorities alone"), "A file of certificates (PEM) that are believed beside those of the system.", r#""/etc/anteroom/ca.pem""#),

    key("hetzner", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""hetzner""#),
    key("hetzner", "token", Secret, Required, "The project's API token, with the permission Read & Write.", r#"{ env = "HCLOUD_TOKEN" }"#),
    key("hetzner", "server", Integer(1, i64::MAX), Nothing("needed with `sleep = \"power_off\"`"), "The server's id, a number.", "42"),
    key("hetzner", "sleep", Choice(&["power_off", "snapshot_destroy"]), Value(r#""power_off""#), "`power_off`: it is switched off, and billed in full. `snapshot_destroy`: it is destroyed, and made again from its snapshot: see [providers.md](providers.md) before.", r#""power_off""#),
    key("hetzner", "label", Special("a label"), Nothing("needed with `sleep = \"snapshot_destroy\"`"), "The label by which the server is found, as `key=value`: no other server has it.", r#""anteroom=blog""#),
    key("hetzner", "ssh_keys", List("ids or names"), Nothing("none"), "The SSH keys that a server which is made again is given. Without one, Hetzner makes a password that nobody sees.", r#"["my-key"]"#),
    key("hetzner", "address", Choice(&["private", "public"]), Value(r#""private""#), "`private`: the address in its first private network. `public`: its public IPv4 address.", r#""private""#),
    key("hetzner", "stop_timeout", Duration("1s", "1h"), Value(r#""2m""#), "How long it may take to shut down by itself before it is switched off.", r#""2m""#),
    key("hetzner", "base_url", Url, Value(r#""https://api.hetzner.cloud/v1""#), "The cloud's address, up to the version in its path.", r#""https://api.hetzner.cloud/v1""#),
    key("hetzner", "ca", Path, Nothing("the system's authorities alone"), "A file of certificates (PEM) that are believed beside those of the system.", r#""/etc/anteroom/ca.pem""#),

    key("proxmox", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""proxmox""#),
    key("proxmox", "base_url", Url, Required, "The address of one of its nodes, or of what stands before them.", r#""https://pve.example.com:8006""#),
    key("proxmox", "token_id", Text, Required, "The name of an API token.", r#""anteroom@pve!power""#),
    key("proxmox", "secret", Secret, Required, "The token's secret.", r#"{ env = "PROXMOX_SECRET" }"#),
    key("proxmox", "vmid", Integer(100, 999_999_999), Required, "The guest's number. It is found on whatever node it is.", "100"),
    key("proxmox", "guest", Choice(&["qemu", "lxc"]), Nothing("either will do"), "What the guest must be: a virtual machine or a container.", r#""qemu""#),
    key("proxmox", "address", Special("`guest`, a host, or a host and a port"), Value(r#""guest""#), "Where the app is reached. `guest`: the address that the guest tells, a virtual machine by its guest agent. Else where the app listens; without a port, the service's `port`.", r#""10.0.0.7""#),
    key("proxmox", "sleep", Choice(&["stop", "suspend"]), Value(r#""stop""#), "`stop`: it is shut down. `suspend`: its memory is written to disk, and read back when it is woken; a container is shut down.", r#""suspend""#),
    key("proxmox", "stop_timeout", Duration("1s", "1h"), Value(r#""2m""#), "How long it may take to shut down by itself before it is switched off.", r#""2m""#),
    key("proxmox", "clone", Choice(&["full", "linked"]), Value(r#""full""#), "`full`: a clone has disks of its own. `linked`: it holds what differs from what it was made from, which must be a template.", r#""linked""#),
    key("proxmox", "clone_from", Integer(100, 999_999_999), Nothing("the guest itself"), "The number of the guest that clones are made from, for example a template.", "9000"),
    key("proxmox", "pool", Text, Nothing("none"), "The pool that clones are put in; a token may have its rights on that pool alone.", r#""anteroom""#),
    key("proxmox", "storage", Text, Nothing("where the disks of their source are"), "Where the disks of full clones go.", r#""local-lvm""#),
    key("proxmox", "fingerprint", Special("the SHA-256 of a certificate"), Nothing("its authority and its name are checked"), "The one certificate that is believed, whoever signed it: 64 hexadecimal digits, as the node's page of certificates shows them.", r#""9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08""#),
    key("proxmox", "ca", Path, Nothing("the system's authorities alone"), "A file of certificates (PEM) that are believed beside those of the system.", r#""/etc/anteroom/pve-root-ca.pem""#),

    key("ec2", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""ec2""#),
    key("ec2", "region", Text, Required, "The region.", r#""eu-central-1""#),
    key("ec2", "instance", Text, Required, "The machine's id.", r#""i-0123456789abcdef0""#),
    key("ec2", "access_key_id", Text, Nothing("keys are looked for where every tool of AWS does: the environment, the files of profiles, the role of the machine that Anteroom runs on"), "The id of an access key.", r#""AKIAIOSFODNN7EXAMPLE""#),
    key("ec2", "secret_access_key", Secret, Nothing("see `access_key_id`"), "The access key's secret.", r#"{ env = "ANTEROOM_AWS_SECRET" }"#),
    key("ec2", "session_token", Secret, Nothing("the key has none"), "The session's token, of an access key that does not last.", r#"{ env = "ANTEROOM_AWS_SESSION" }"#),
    key("ec2", "profile", Text, Nothing("see `access_key_id`"), "The profile that has the keys, in AWS's files of profiles.", r#""anteroom""#),
    key("ec2", "address", Choice(&["private", "public"]), Value(r#""private""#), "`private`: the address in its private network, which stays. `public`: its public IPv4 address, another one after each start unless it is an Elastic IP.", r#""private""#),
    key("ec2", "sleep", Choice(&["stop", "hibernate"]), Value(r#""stop""#), "`stop`: it is shut down. `hibernate`: its memory is kept on its disk; a machine that was not launched for that is shut down.", r#""hibernate""#),
    key("ec2", "stop_timeout", Duration("1s", "1h"), Value(r#""5m""#), "How long it may take to shut down by itself before it is switched off.", r#""5m""#),
    key("ec2", "launch_template", Text, Nothing("there are no clones"), "The launch template that clones are launched from, by its name or its id.", r#""blog""#),
    key("ec2", "launch_template_version", Text, Value(r#""$Default""#), "Which version of it: a number, `$Default` or `$Latest`.", r#""7""#),
    key("ec2", "base_url", Url, Nothing("the region's own"), "EC2's address.", r#""https://ec2.eu-central-1.api.aws""#),
    key("ec2", "ca", Path, Nothing("the system's authorities alone"), "A file of certificates (PEM) that are believed beside those of the system.", r#""/etc/anteroom/ca.pem""#),

    key("libvirt", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""libvirt""#),
    key("libvirt", "uri", Text, Value(r#""qemu:///system""#), "Where libvirt is, as `virsh --connect` takes it.", r#""qemu+ssh://anteroom@host/system""#),
    key("libvirt", "domain", Text, Required, "The domain's name or UUID.", r#""media""#),
    key("libvirt", "address", Special("`lease`, `agent`, `arp`, a host, or a host and a port"), Value(r#""lease""#), "Where the app is reached. `lease`: the address that libvirt's own network gave it. `agent`: the one that the guest agent tells. `arp`: the one in the host's table of neighbours. Else where the app listens; without a port, the service's `port`.", r#""192.168.122.23""#),
    key("libvirt", "sleep", Choice(&["stop", "save"]), Value(r#""stop""#), "`stop`: it is shut down. `save`: its memory is written to the host's disk, and read back when it is woken.", r#""save""#),
    key("libvirt", "stop_timeout", Duration("1s", "1h"), Value(r#""2m""#), "How long it may take to shut down before it is switched off; and how long saving its memory may take.", r#""2m""#),
    key("libvirt", "virsh", Text, Value(r#""virsh""#), "The program that is run: a name on the path, or a path.", r#""/usr/bin/virsh""#),

    key("wol", "kind", Choice(PROVIDER_KINDS), Required, "Where the machine lives.", r#""wol""#),
    key("wol", "mac", Special("the address of a network card"), Required, "The address of its network card.", r#""52:54:00:12:34:56""#),
    key("wol", "address", Special("a host, or a host and a port"), Required, "Where the app listens when the machine runs. Without a port, the service's `port`.", r#""192.168.1.7:8096""#),
    key("wol", "broadcast", Special("an address to send to"), Value(r#""255.255.255.255:9""#), "Where the packet is sent: the broadcast address of the machine's network, or a relay there. `255.255.255.255` leaves by one network alone, that of the default route. Without a port, 9.", r#""192.168.1.255:9""#),
    key("wol", "password", Secret, Nothing("the card wants none"), "The card's SecureOn password: 4 or 6 bytes like `00:11:22:33:44:55`.", r#"{ env = "WOL_PASSWORD" }"#),
    key("wol", "stop", List("the program and its arguments"), Required, "Puts the machine to sleep. Run without a shell.", r#"["ssh", "box", "systemctl", "suspend"]"#),
    key("wol", "stop_timeout", Duration("1s", "1h"), Value(r#""60s""#), "How long `stop` may take, and after it the machine until its port is closed.", r#""60s""#),
    key("wol", "wake_timeout", Duration("1s", "1h"), Value(r#""3m""#), "How long packets are sent, every 10 s, and a closed port means that the machine is on its way.", r#""3m""#),

    key("webhook", "url", Url, Required, "What is called.", r#""https://hooks.example.com/vm""#),
    key("webhook", "token", Secret, Nothing("none is sent"), "Sent as `Authorization: Bearer`.", r#"{ env = "WEBHOOK_TOKEN" }"#),
];
