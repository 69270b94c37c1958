//! Services that are added at run time: read as those of the file are, and nothing of the file gives way to them.

use std::collections::BTreeMap;

use anteroom::config::added::{Added, Form, TEXT_MAX};
use anteroom::config::{Config, Ingress};
use anteroom::engine::id::ServiceName;
use anteroom::engine::time::Span;

const FILE: &str = r#"
[store]
url = "memory:"
services_may_run = true
[defaults]
idle_timeout = "7m"
[service.blog]
hosts = ["blog.example.com"]
port = 80
provider = { kind = "docker", container = "blog" }
[service.local]
hosts = ["local.example.com"]
port = 9001
provider = { kind = "process", command = ["./app"] }
"#;

fn env(name: &str) -> Option<String> {
    (name == "PORT").then(|| "8123".to_owned())
}

fn file(text: &str) -> Config {
    Config::parse(text, "a.toml", &env).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn add(config: &Config, texts: &[(&str, &str)], earlier: &BTreeMap<ServiceName, Form>) -> Added {
    let texts = texts
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    config.add(&texts.collect(), earlier, &env, &|_| Ok(()))
}

fn docker(host: &str, container: &str) -> String {
    format!(
        r#"{{"hosts": ["{host}"], "port": 80, "provider": {{"kind": "docker", "container": "{container}"}}}}"#
    )
}

fn names(added: &Added) -> Vec<&str> {
    added.services.keys().map(ServiceName::as_str).collect()
}

#[test]
fn a_service_in_json_is_the_service_that_the_same_keys_in_the_file_say() {
    let shop = r#"{"hosts": ["Shop.example.com"], "port": {"env": "PORT"}, "idle_timeout": "1m", "drain_timeout": "0s",
        "wake": {"per_client": "2/1d", "deny": ["203.0.113.0/24"], "per_day": 9},
        "cost": {"per_hour": 0.5, "currency": "eur"},
        "provider": {"kind": "command", "address": "10.0.0.7", "webhook": {"url": "http://127.0.0.1:1", "token": {"env": "PORT"}}}}"#;
    let toml = format!(
        "{FILE}[service.shop]\nhosts = [\"Shop.example.com\"]\nport = {{ env = \"PORT\" }}\nidle_timeout = \"1m\"\n\
         drain_timeout = \"0s\"\nwake = {{ per_client = \"2/1d\", deny = [\"203.0.113.0/24\"], per_day = 9 }}\n\
         cost = {{ per_hour = 0.5, currency = \"eur\" }}\nprovider = {{ kind = \"command\", address = \"10.0.0.7\", \
         webhook = {{ url = \"http://127.0.0.1:1\", token = {{ env = \"PORT\" }} }} }}\n"
    );
    let added = add(&file(FILE), &[("shop", shop)], &BTreeMap::new());
    assert_eq!(added.refused, BTreeMap::new());
    let expected = &file(&toml).services[&name("shop")];
    assert_eq!(&added.services[&name("shop")].0, expected);
    assert_eq!(added.services[&name("shop")].1, shop);
    // The file's [defaults] lie under it.
    let plain = docker("c.example.com", "c");
    let added = add(&file(FILE), &[("c", &plain)], &BTreeMap::new());
    let service = &added.services[&name("c")].0;
    assert_eq!(
        (service.idle_timeout, service.ingress),
        (Span::mins(7), Ingress::Proxy)
    );
}

#[test]
fn what_is_wrong_is_refused_with_its_key_and_the_mend_and_the_others_are_taken() {
    let good = docker("good.example.com", "good");
    let long = format!("{{\"hosts\": [\"{}\"]}}", "x".repeat(TEXT_MAX));
    for (text, told) in [
        ("", "this is not JSON"),
        ("{\"hosts\": [", "this is not JSON"),
        ("[]", "is not a table; write it in { }"),
        ("{}", "service.bad.port: is missing; write port = 80"),
        ("{\"hosts\": null}", "service.bad.hosts: null is not a list"),
        (
            r#"{"hosts": ["a.b"], "port": 0, "provider": {"kind": "docker", "container": "c"}}"#,
            "service.bad.port: 0 is out of bounds; write 1 to 65535",
        ),
        (
            r#"{"hosts": ["a.b"], "prot": 80, "provider": {"kind": "docker", "container": "c"}}"#,
            "service.bad.prot: is not a known key; did you mean port?",
        ),
        (
            r#"{"hosts": ["a.b"], "port": 80, "provider": {"kind": "docker"}}"#,
            "service.bad.provider.container: is missing",
        ),
        (
            r#"{"hosts": ["a.b"], "port": 80, "provider": {"kind": "command", "address": "a", "webhook": {"url": "http://a", "token": "x"}}}"#,
            "a secret is not written into this file",
        ),
        (
            &docker("blog.example.com", "x"),
            "service.bad.hosts: \"blog.example.com\" is already in service.blog",
        ),
        (
            &docker("x.example.com", "blog"),
            "service.bad.provider: the container \"blog\" belongs to service.blog",
        ),
        (
            r#"{"hosts": ["a.b"], "port": 9001, "provider": {"kind": "process", "command": ["./app"]}}"#,
            "service.bad.port: 9001 is also the port of service.local",
        ),
        (
            r#"{"hosts": ["a.b"], "port": 8080, "provider": {"kind": "process", "command": ["./app"]}}"#,
            "8080 is the port of server.listen",
        ),
        (
            r#"{"hosts": ["a.b", "A.b"], "port": 80, "provider": {"kind": "docker", "container": "c"}}"#,
            "\"a.b\" is already in service.bad",
        ),
        (
            r#"{"hosts": ["a.b"], "port": 80, "ingress": "failover", "provider": {"kind": "docker", "container": "c"}}"#,
            "service.bad.ingress: failover needs the section [traefik] in a.toml",
        ),
        (&long, "longer than 65536 bytes"),
    ] {
        let added = add(
            &file(FILE),
            &[("bad", text), ("good", &good)],
            &BTreeMap::new(),
        );
        assert_eq!(names(&added), ["good"], "{text}");
        let why = &added.refused["bad"];
        assert!(why.contains(told), "{text}: {why}");
        assert_eq!(added.refused.len(), 1);
    }
    let added = add(
        &file(FILE),
        &[("No Name", &good), ("", &good)],
        &BTreeMap::new(),
    );
    assert_eq!((added.services.len(), added.refused.len()), (0, 2));
}

#[test]
fn the_file_wins_over_a_service_of_the_same_name() {
    let added = add(
        &file(FILE),
        &[("blog", &docker("b.example.com", "b"))],
        &BTreeMap::new(),
    );
    assert_eq!(added.services.len(), 0);
    let why = &added.refused["blog"];
    assert!(why.contains("a.toml has a service of this name"), "{why}");
}

#[test]
fn programs_run_only_where_the_file_allows_it() {
    let strict = file(&FILE.replace("services_may_run = true\n", ""));
    let process = r#"{"hosts": ["a.b"], "port": 9002, "provider": {"kind": "process", "command": ["./app"]}}"#;
    let scripts = r#"{"hosts": ["b.b"], "port": 80, "provider": {"kind": "command", "address": "10.0.0.7",
        "start": ["./vm"], "stop": ["./vm"], "state": ["./vm"]}}"#;
    let wol = r#"{"hosts": ["d.b"], "port": 80, "provider": {"kind": "wol", "mac": "52:54:00:12:34:56",
        "address": "10.0.0.7", "stop": ["ssh", "box", "poweroff"]}}"#;
    let libvirt =
        r#"{"hosts": ["e.b"], "port": 80, "provider": {"kind": "libvirt", "domain": "media"}}"#;
    let webhook = r#"{"hosts": ["c.b"], "port": 80, "provider": {"kind": "command", "address": "10.0.0.7",
        "webhook": {"url": "http://127.0.0.1:1"}}}"#;
    let texts = [
        ("a", process),
        ("b", scripts),
        ("c", webhook),
        ("d", wol),
        ("e", libvirt),
    ];
    let added = add(&strict, &texts, &BTreeMap::new());
    assert_eq!(names(&added), ["c"]);
    for why in added.refused.values() {
        assert!(why.contains("store.services_may_run = true"), "{why}");
    }
    assert_eq!(
        names(&add(&file(FILE), &texts, &BTreeMap::new())),
        ["a", "b", "c", "d", "e"]
    );
}

#[test]
fn an_earlier_form_stays_in_force_until_the_new_one_is_good() {
    let config = file(FILE);
    let first = docker("c.example.com", "c");
    let earlier = add(&config, &[("c", &first)], &BTreeMap::new()).services;
    for bad in ["{}".to_owned(), docker("blog.example.com", "c")] {
        let added = add(&config, &[("c", &bad)], &earlier);
        assert_eq!(added.services, earlier, "{bad}");
        assert!(added.refused.contains_key("c"), "{bad}");
    }
    // Refused by what builds it, too.
    let texts = BTreeMap::from([("c".to_owned(), docker("d.example.com", "d"))]);
    let added = config.add(&texts, &earlier, &env, &|_| Err("no such socket".into()));
    assert_eq!(added.services, earlier);
    assert_eq!(added.refused["c"], "no such socket");
    let next = add(&config, &[("c", &docker("d.example.com", "d"))], &earlier);
    assert_eq!(next.services[&name("c")].0.hosts, ["d.example.com"]);
    assert!(next.refused.is_empty());
    let none = add(&config, &[], &earlier);
    assert_eq!(none, Added::default());
}

#[test]
fn whoever_stands_goes_before_whoever_comes() {
    let config = file(FILE);
    let texts = [
        ("m", docker("m.example.com", "m")),
        ("n", docker("n.example.com", "n")),
    ];
    let texts: Vec<_> = texts
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let earlier = add(&config, &texts, &BTreeMap::new()).services;
    assert_eq!(earlier.len(), 2);
    // Earlier in the alphabet, and later all the same.
    let taken = docker("m.example.com", "a");
    let added = add(&config, &[("a", &taken), texts[0], texts[1]], &earlier);
    assert_eq!(names(&added), ["m", "n"]);
    assert!(added.refused["a"].contains("already in service.m"));
    // Two of them change places in one go.
    let (m, n) = (docker("n.example.com", "m"), docker("m.example.com", "n"));
    let added = add(&config, &[("m", &m), ("n", &n)], &earlier);
    assert_eq!(added.services[&name("m")].0.hosts, ["n.example.com"]);
    assert!(added.refused.is_empty());
    // One would take the other's place, whose new form is bad: both keep their old ones, and a third gets in.
    let free = docker("free.example.com", "z");
    let added = add(&config, &[("m", &m), ("n", "{}"), ("z", &free)], &earlier);
    assert_eq!(names(&added), ["m", "n", "z"]);
    assert_eq!(added.services[&name("m")], earlier[&name("m")]);
    assert_eq!(added.refused.keys().collect::<Vec<_>>(), ["m", "n"]);
}
