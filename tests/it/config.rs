//! The configuration: good files are taken, every fault is named with its line, its key and the mend.

use std::fs;
use std::path::{Path, PathBuf};

use anteroom::config::provider::ec2::Keys;
use anteroom::config::scale::Scale;
use anteroom::config::signal::{NodeExporter, Resources, Signal};
use anteroom::config::{
    self, Config, Ingress, Problem, PrometheusLogin, Provider, Publish, StoreUrl, WakeBy,
};
use anteroom::engine::admit::Rate;
use anteroom::engine::load::Share;
use anteroom::engine::record::Base;
use anteroom::engine::scale::{Crowd, Mode, Terms};
use anteroom::engine::time::Span;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn env(name: &str) -> Option<String> {
    match name {
        "ANTEROOM_ADMIN_TOKEN" => Some("correct horse".to_owned()),
        "ANTEROOM_WEBHOOK_SECRET" => Some("the key of a contact point".to_owned()),
        "BLOG_HOST" => Some("blog.example.com".to_owned()),
        "DIGITALOCEAN_TOKEN" | "HCLOUD_TOKEN" | "PROXMOX_SECRET" | "AWS_SECRET" => {
            Some("a-token".to_owned())
        }
        "BLOG_PORT" => Some("8000".to_owned()),
        "EMPTY" => Some(" ".to_owned()),
        _ => None,
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(ROOT).join("tests/data/config").join(folder);
    let entries = fs::read_dir(&folder).expect("the folder is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    files.sort();
    files
}

fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, "a.toml", &env)
}

fn good(name: &str) -> Config {
    let path = Path::new(ROOT).join("tests/data/config/good").join(name);
    let text = fs::read_to_string(path).expect("the file is there");
    parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_good_file_is_taken() {
    let files = files("good");
    assert!(files.len() >= 4);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let result = parse(&text);
        assert!(result.is_ok(), "{}: {result:#?}", file.display());
    }
}

#[test]
fn every_bad_file_is_refused_with_the_message_it_expects() {
    let files = files("bad");
    assert!(files.len() >= 20);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap_or_default();
        let expected = first
            .strip_prefix("# expect: ")
            .unwrap_or_else(|| panic!("{}: the first line says what to expect", file.display()));
        let problems = parse(&text).expect_err(&format!("{} is bad", file.display()));
        let shown = shown(&problems);
        assert!(
            shown.iter().any(|line| line.contains(expected)),
            "{}: expected {expected:?} in {shown:#?}",
            file.display()
        );
        assert_eq!(shown.len(), 1, "one fault, one message: {shown:#?}");
    }
}

#[test]
fn all_faults_of_a_file_are_said_at_once_in_the_order_of_the_file() {
    let problems = parse(
        "[server]\nlisten = \":80\"\n[service.a]\nhosts = [\"a.b:80\", \"*.c\"]\nport = 0\nidle_timout = \"1m\"\n\
         provider = { kind = \"docker\", container = \"\" }\n",
    )
    .unwrap_err();
    let lines: Vec<_> = problems.iter().filter_map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 4, 4, 5, 6, 7], "{:#?}", shown(&problems));
}

#[test]
fn a_fault_reads_as_file_line_key_and_mend() {
    let problems = parse(&minimal("idle_timeout = \"30x\"")).unwrap_err();
    let expected = "a.toml:5: service.a.idle_timeout: \"30x\" is not a duration; \
                    write it like \"30m\" or \"1h 30m\"";
    assert_eq!(shown(&problems), [expected]);
}

#[test]
fn a_fault_in_the_defaults_is_said_once_and_where_it_was_written() {
    let text = format!(
        "{}\n[service.b]\nhosts = [\"b.c\"]\nport = 1\nprovider = {{ kind = \"docker\", container = \"b\" }}\n\
         [defaults]\nhold = \"1y\"\n",
        minimal("")
    );
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.len(), 1, "{:#?}", shown(&problems));
    assert_eq!(problems[0].key, "defaults.hold");
    assert_eq!(problems[0].line, Some(text.lines().count()));
}

#[test]
fn faults_of_the_syntax_name_the_line() {
    let problems = parse("[server]\nlisten = \n[admin\n").unwrap_err();
    assert_eq!(problems[0].line, Some(2), "{:#?}", shown(&problems));
}

#[test]
fn the_complete_example_is_read_as_it_is_written() {
    let config = good("complete.toml");
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(
        config.admin.token.as_ref().map(|it| it.expose()),
        Some("correct horse")
    );
    let webhook = config.admin.webhook.as_ref().expect("it is there");
    assert_eq!(webhook.secret.expose(), "the key of a contact point");
    assert_eq!(
        webhook.timestamp_header.as_deref(),
        Some("x-grafana-alerting-timestamp")
    );
    assert_eq!(config.store.url, StoreUrl::File("anteroom.db".into()));
    let traefik = config.traefik.as_ref().expect("it is there");
    let path = "/etc/traefik/dynamic/anteroom.yml".into();
    assert_eq!(traefik.publish, Publish::File { path });
    assert_eq!(traefik.api.as_deref(), Some("http://127.0.0.1:8082"));
    let blog = &config.services[&"blog".parse().unwrap()];
    assert_eq!(blog.hosts, ["blog.example.com"]);
    assert_eq!(blog.ingress, Ingress::Failover);
    assert_eq!(blog.idle_timeout, Span::mins(30));
    assert_eq!(blog.health.status, [200..=399]);
    assert_eq!(blog.wake.by, WakeBy::Page);
    let rate = |rate: Option<Rate>| rate.map(|rate| rate.to_string()).unwrap_or_default();
    let rules = &blog.wake.rules;
    assert_eq!(rate(rules.per_client), "24/1d");
    assert_eq!(rate(rules.per_network), "48/1d");
    assert_eq!(rate(rules.per_service), "96/1d");
    assert_eq!((rules.per_day, rules.deny.len()), (Some(48), 1));
    assert_eq!(rate(config.limits.over_all), "500/1d");
    assert_eq!(rate(config.limits.pages_per_client), "200/4s");
    let cost = blog.cost.as_ref().expect("it is there");
    assert_eq!(cost.billing_increment, Some(Span::mins(60)));
    assert_eq!(blog.provider.kind(), "docker");
}

#[test]
fn a_minimal_file_takes_the_documented_defaults() {
    let config = parse(&minimal("")).unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.admin.listen, "127.0.0.1:8081".parse().unwrap());
    assert_eq!(config.warnings, []);
    let service = config.services.values().next().expect("it is there");
    assert_eq!(service.ingress, Ingress::Proxy);
    assert_eq!(service.idle_timeout, Span::mins(30));
    assert_eq!(service.min_awake, Span::mins(10));
    assert_eq!(service.start_timeout, Span::mins(5));
    assert_eq!(service.drain_timeout, Span::secs(30));
    assert_eq!(service.hold, None);
    let rate = |rate: Option<Rate>| rate.map(|rate| rate.to_string()).unwrap_or_default();
    let rules = &service.wake.rules;
    assert_eq!(rate(rules.per_client), "24/1d");
    assert_eq!(rate(rules.per_service), "96/1d");
    assert_eq!((rules.per_day, config.limits.over_all), (None, None));
    assert_eq!(service.app_errors, ["502-504"]);
    assert!(service.health.accepts(399) && !service.health.accepts(400));
}

#[test]
fn a_service_wins_over_the_defaults_key_by_key() {
    let config = good("defaults.toml");
    let service = |name: &str| &config.services[&name.parse().unwrap()];
    assert_eq!(service("blog").idle_timeout, Span::mins(10));
    assert_eq!(service("shop").idle_timeout, Span::mins(60));
    assert_eq!(service("shop").health.path, "/healthz");
    assert_eq!(service("shop").health.timeout, Span::secs(5));
    let Provider::Docker(docker) = &service("blog").provider else {
        panic!("it is docker");
    };
    assert_eq!(docker.stop_timeout, Span::secs(20));
    assert_eq!(service("tool").provider.kind(), "process");
}

#[test]
fn values_come_from_the_environment_and_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "s3cret\n").unwrap();
    let text = format!(
        "[admin]\ntoken = {{ file = {file:?} }}\n[service.blog]\nhosts = [{{ env = \"BLOG_HOST\" }}]\n\
         port = {{ env = \"BLOG_PORT\" }}\nprovider = {{ kind = \"docker\", container = \"blog\" }}\n"
    );
    let config = parse(&text).unwrap();
    assert_eq!(
        config.admin.token.as_ref().map(|it| it.expose()),
        Some("s3cret")
    );
    let blog = config.services.values().next().expect("it is there");
    assert_eq!(
        (blog.hosts[0].as_str(), blog.port),
        ("blog.example.com", 8000)
    );
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn doubtful_values_are_warned_of_and_taken() {
    let text = format!(
        "{}\n[service.b]\nhosts = [\"b.c\"]\nport = 1\nprovider = {{ kind = \"docker\", container = \"b\" }}\n\
         idle_timeout = \"1s\"\nhealth.interval = \"5s\"\n",
        "[store]\nurl = \"file:/no/such/folder/a.db\""
    );
    let warnings = shown(&parse(&text).unwrap().warnings);
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings[0].starts_with("a.toml:2: store.url: the folder /no/such/folder"));
    assert!(
        warnings[1].starts_with("a.toml:7: service.b.idle_timeout: 1s is less than"),
        "{warnings:?}"
    );
}

#[test]
fn a_file_that_is_not_there_is_a_problem_that_names_it() {
    let problems = Config::load(Path::new("/no/such/anteroom.toml")).unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .starts_with("/no/such/anteroom.toml: cannot be read: ")
    );
}

#[test]
fn the_reference_page_is_what_the_program_says() {
    let path = Path::new(ROOT).join("docs/configuration.md");
    let page = config::reference();
    if std::env::var_os("ANTEROOM_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is stale; run the test with ANTEROOM_BLESS=1"
    );
}

/// A file with one service, whose last line is `line`.
fn minimal(line: &str) -> String {
    format!(
        "[service.a]\nhosts = [\"a.example.com\"]\nport = 80\n\
         provider = {{ kind = \"docker\", container = \"a\" }}\n{line}"
    )
}

#[test]
fn no_line_of_a_file_can_be_lost_or_broken_so_that_the_reader_panics() {
    let wrong = [
        "",
        "[]",
        "{}",
        "\"\"",
        "[\"\"]",
        "[[1]]",
        "-1",
        "1e99",
        "true",
        "{ env = 1 }",
        "{ env = \"EMPTY\" }",
    ];
    for file in files("good").into_iter().chain(files("bad")) {
        let text = fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for at in 0..lines.len() {
            let key = lines[at].split_once(" = ").map(|(key, _)| key);
            for value in wrong {
                let mut lines = lines.clone();
                let broken = key
                    .map(|key| format!("{key} = {value}"))
                    .unwrap_or_default();
                lines[at] = &broken;
                if let Err(problems) = parse(&lines.join("\n")) {
                    assert!(!problems.is_empty());
                }
            }
        }
    }
}

#[test]
fn a_hostname_from_the_environment_is_compared_too() {
    let service = |name: &str, host: &str| {
        format!(
            "[service.{name}]\nhosts = [{host}]\nport = 80\n\
             provider = {{ kind = \"docker\", container = \"{name}\" }}\n"
        )
    };
    let text = service("a", "\"blog.example.com\"") + &service("b", "{ env = \"BLOG_HOST\" }");
    let problems = parse(&text).unwrap_err();
    assert!(
        problems[0]
            .message
            .contains("is already in service.a.hosts at line 2"),
        "{problems:?}"
    );
}

#[test]
fn guests_of_proxmox_and_machines_at_ec2_are_read() {
    let config = good("proxmox_and_ec2.toml");
    assert!(config.warnings.is_empty(), "{:?}", shown(&config.warnings));
    let services: Vec<_> = config.services.values().collect();
    let mut addresses = Vec::new();
    let mut keys = Vec::new();
    for service in services {
        assert!(!format!("{:?}", service.provider).contains("a-token"));
        match &service.provider {
            Provider::Proxmox(kind) => {
                assert_eq!(kind.secret.expose(), "a-token");
                addresses.push((kind.vmid, kind.address.clone()));
            }
            Provider::Ec2(kind) => keys.push(kind.keys.clone()),
            other => panic!("{other:?}"),
        }
    }
    let fixed = Some("10.0.0.7:8096".to_owned());
    assert_eq!(addresses, [(100, None), (101, fixed)]);
    let written =
        |key: &Keys| matches!(key, Keys::Written { id, .. } if id == "AKIAIOSFODNN7EXAMPLE");
    assert!(keys.contains(&Keys::Anywhere) && keys.iter().any(written));
    assert!(keys.contains(&Keys::Profile("anteroom".to_owned())));
}

#[test]
fn a_cloud_that_bills_a_machine_while_it_is_off_is_warned_of() {
    let config = good("billed_off.toml");
    let warnings = shown(&config.warnings);
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    for (warning, key) in warnings.iter().zip(["blog", "shop"]) {
        assert!(
            warning.contains(&format!("service.{key}.provider.kind")),
            "{warning}"
        );
        assert!(warning.contains("billed in full"), "{warning}");
    }
    for service in config.services.values() {
        let token = match &service.provider {
            Provider::DigitalOcean(kind) => &kind.token,
            Provider::Hetzner(kind) => &kind.token,
            other => panic!("{other:?}"),
        };
        assert_eq!(token.expose(), "a-token");
        assert!(!format!("{:?}", service.provider).contains("a-token"));
    }
}

#[test]
fn scaling_takes_the_documented_defaults_and_what_is_written() {
    let config = good("scale.toml");
    let scale = |name: &str| config.services[&name.parse().unwrap()].scale.clone();
    assert_eq!(scale("one"), None, "with one instance there is no scaling");
    let blog = Scale {
        base: Base::Seed,
        rule: Terms {
            min: 1,
            max: 3,
            mode: Mode::Threshold,
            up_at: Share::percent(70),
            down_at: Share::percent(30),
            up_window: Span::mins(1),
            down_window: Span::mins(15),
            cooldown: Span::mins(1),
            interval: Span::secs(15),
            settling: Span::mins(1),
            alerts_only: false,
            crowd: None,
        },
        creations_per_hour: 20,
        signal: Some(Signal::NodeExporter(NodeExporter {
            port: 9101,
            path: "/metrics".to_owned(),
            of: Resources::Both,
        })),
    };
    assert_eq!(
        scale("blog"),
        Some(blog),
        "the port is that of the defaults"
    );
    let terms = scale("blog").and_then(|it| it.terms());
    let terms = terms.expect("it is scaled");
    let cooldown = Span::mins(1);
    let defaults = Terms {
        max: 3,
        cooldown,
        ..Terms::default()
    };
    assert_eq!(
        terms, defaults,
        "the policy and the file have the same defaults"
    );
    let forum = scale("forum").and_then(|it| it.terms());
    assert!(forum.is_some_and(|terms| terms.alerts_only));
    let shop = scale("shop").expect("it is scaled");
    let margin = Share::percent(10);
    assert_eq!(shop.rule.mode, Mode::Projected { margin });
    assert_eq!(margin, Mode::MARGIN);
    assert_eq!(shop.rule.down_window, Span::mins(30));
    assert_eq!(shop.rule.down_at, Share::hundredths(3_250));
    assert_eq!(shop.signal, Some(Signal::Provider), "kinds do not mix");
    let crowd = |each, max| Some(Crowd { each, max });
    assert_eq!(shop.rule.crowd, crowd(20, 3), "as many as there may be");
    assert_eq!(shop.terms(), Some(shop.rule));
    let wiki = scale("wiki").expect("it is scaled");
    assert_eq!(wiki.rule.crowd, crowd(50, 4));
    assert_eq!(
        (wiki.rule.min, wiki.rule.max, wiki.creations_per_hour),
        (2, 12, 40)
    );
    let Some(Signal::Prometheus(asked)) = &wiki.signal else {
        panic!("{:?}", wiki.signal);
    };
    assert_eq!(asked.server.url, "http://127.0.0.1:9090");
    assert!(
        matches!(&asked.server.login, PrometheusLogin::Basic { username, .. } if username == "anteroom")
    );
    assert!(!format!("{config:?}").contains("a-token"));
    let night = scale("night").expect("clones are made");
    assert_eq!((night.base, night.clones_max()), (Base::Clones, 1));
    assert_eq!(
        (night.terms(), night.signal),
        (None, None),
        "of one nothing is measured"
    );
    let lab = scale("lab").expect("it is scaled");
    assert_eq!(
        (lab.base, lab.clones_max()),
        (Base::Clones, 3),
        "the seed is none of them"
    );
    assert!(lab.terms().is_some());
    assert_eq!(config.prometheus.job, "shop");
    assert_eq!(shown(&config.warnings), [""; 0]);
}

#[test]
fn a_prometheus_of_a_services_own_gets_no_credentials() {
    let text = format!(
        "[prometheus]\nurl = \"http://a:9090\"\ntoken = {{ env = \"HCLOUD_TOKEN\" }}\n{}\
         scale = {{ max = 2, signal = {{ kind = \"prometheus\", query = \"up\", url = \"http://b:9090\" }} }}",
        minimal("")
    );
    let config = parse(&text).unwrap();
    let scale = config.services.values().find_map(|it| it.scale.clone());
    let Some(Signal::Prometheus(asked)) = scale.and_then(|scale| scale.signal) else {
        panic!("it asks a Prometheus");
    };
    assert_eq!(asked.server.url, "http://b:9090");
    assert_eq!(asked.server.login, PrometheusLogin::None);
    let server = config.prometheus.server.expect("it is there");
    assert!(matches!(server.login, PrometheusLogin::Bearer(_)));
}

#[test]
fn doubtful_scaling_is_warned_of_and_taken() {
    let line = |keys: &str| {
        let text = minimal(&format!(
            "scale = {{ max = 2, signal = {{ kind = \"provider\" }}, {keys} }}"
        ));
        shown(&parse(&text).unwrap().warnings)
    };
    for (keys, warning) in [
        ("down_at = 40", "scale.down_at: is not below half of up_at"),
        (
            "margin = 5",
            "scale.margin: is not looked at in the mode \"threshold\"",
        ),
        (
            "mode = \"projected\", down_at = 20",
            "scale.down_at: is not looked at in the mode \"projected\"",
        ),
        (
            "down_window = \"45s\"",
            "scale.down_window: 45s is less than up_window (1m)",
        ),
    ] {
        let warnings = line(keys);
        assert_eq!(warnings.len(), 1, "{keys}: {warnings:#?}");
        assert!(warnings[0].contains(warning), "{keys}: {warnings:#?}");
    }
    assert_eq!(line("down_at = 34"), [""; 0]);
}
