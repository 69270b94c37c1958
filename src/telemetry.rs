//! Logs and every metric name in one table.
//!
//! Used by every floor above the engine; knows only the engine's words.

mod labels;

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::engine::id::ServiceName;
use crate::engine::time::Span;
use crate::engine::view::Phase;
use labels::{OfAsked, OfCall, OfKind, OfService, of, of_kind};

/// Upper bounds of the wake buckets, in seconds.
const WAKE_BUCKETS: [f64; 10] = [1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0];

/// Upper bounds of the buckets of a question about load, in seconds.
const ASKED_BUCKETS: [f64; 8] = [0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0];

#[derive(Clone)]
struct WakeBuckets;

#[derive(Clone, Debug)]
struct AskedBuckets;

impl MetricConstructor<Histogram> for AskedBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(ASKED_BUCKETS)
    }
}

impl MetricConstructor<Histogram> for WakeBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(WAKE_BUCKETS)
    }
}

/// Every metric of the program. The labels are bounded: services are configured, kinds are written in the code.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    wakes: Family<OfKind, Counter>,
    wake_seconds: Family<OfService, Histogram, WakeBuckets>,
    stage_seconds: Family<OfKind, Histogram, WakeBuckets>,
    wakes_failed: Family<OfService, Counter>,
    wakes_joined: Family<OfService, Counter>,
    wakes_refused: Family<OfKind, Counter>,
    traps_sprung: Family<OfService, Counter>,
    tokens: Family<OfKind, Counter>,
    stops: Family<OfKind, Counter>,
    awake_seconds: Family<OfService, Counter<f64, AtomicU64>>,
    stops_cancelled: Family<OfService, Counter>,
    retries: Family<OfService, Counter>,
    provider_seconds: Family<OfCall, Histogram, WakeBuckets>,
    publish_failures: Family<OfService, Counter>,
    vanished: Family<OfService, Counter>,
    phase: Family<OfKind, Gauge>,
    instances: Family<OfKind, Gauge>,
    instances_wanted: Family<OfService, Gauge>,
    scalings: Family<OfKind, Counter>,
    scalings_hindered: Family<OfService, Counter>,
    clones: Family<OfKind, Counter>,
    blind: Family<OfService, Gauge>,
    answers: Family<OfKind, Counter>,
    moved: Family<OfService, Counter>,
    alerts: Family<OfKind, Counter>,
    load_samples: Family<OfKind, Counter>,
    load_asked: Family<OfAsked, Histogram, AskedBuckets>,
    steal: Family<OfService, Gauge<f64, AtomicU64>>,
    store_up: Gauge,
    bans: Gauge,
    refused_values: Gauge,
}

impl std::fmt::Debug for WakeBuckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WakeBuckets")
    }
}

/// The metrics of this process.
pub fn metrics() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(Metrics::new)
}

impl Metrics {
    fn new() -> Metrics {
        let mut registry = Registry::with_prefix("anteroom");
        let r = &mut registry;
        let wakes = Family::default();
        r.register("wakes", "Wakes that began, by asker", Clone::clone(&wakes));
        let wake_seconds = Family::new_with_constructor(WakeBuckets);
        let help = "From the trigger to the app's first good answer";
        r.register_with_unit(
            "wake_duration",
            help,
            Unit::Seconds,
            Clone::clone(&wake_seconds),
        );
        let stage_seconds = Family::new_with_constructor(WakeBuckets);
        let help = "From the trigger to each stage of the wake";
        r.register_with_unit(
            "wake_stage",
            help,
            Unit::Seconds,
            Clone::clone(&stage_seconds),
        );
        let wakes_failed = Family::default();
        r.register(
            "wakes_failed",
            "Wakes that failed",
            Clone::clone(&wakes_failed),
        );
        let wakes_joined = Family::default();
        let help = "Requests for a wake that joined one which was asked for already";
        r.register("wakes_joined", help, Clone::clone(&wakes_joined));
        let wakes_refused = Family::default();
        let help = "Requests for a wake that were refused, by rule";
        r.register("wakes_refused", help, Clone::clone(&wakes_refused));
        let traps_sprung = Family::default();
        let help = "Networks that opened a trap, and may wake nothing for a while";
        r.register("traps_sprung", help, Clone::clone(&traps_sprung));
        let tokens = Family::default();
        let help = "Tokens of captcha services that visitors brought, by what came of them";
        r.register("tokens_checked", help, Clone::clone(&tokens));
        let stops = Family::default();
        r.register(
            "stops",
            "Stops that were seen done, by what decided them",
            Clone::clone(&stops),
        );
        let awake_seconds = Family::default();
        let help = "Time that the service was awake, counted when it falls asleep";
        r.register_with_unit("awake", help, Unit::Seconds, Clone::clone(&awake_seconds));
        let stops_cancelled = Family::default();
        r.register(
            "stops_cancelled",
            "Stops that were called off",
            Clone::clone(&stops_cancelled),
        );
        let retries = Family::default();
        r.register(
            "provider_retries",
            "Provider calls tried again",
            Clone::clone(&retries),
        );
        let provider_seconds = Family::new_with_constructor(WakeBuckets);
        r.register_with_unit(
            "provider_call",
            "Calls to clouds, by call and outcome",
            Unit::Seconds,
            Clone::clone(&provider_seconds),
        );
        let publish_failures = Family::default();
        let help = "Routings that could not be put in force";
        r.register("publish_failures", help, Clone::clone(&publish_failures));
        let vanished = Family::default();
        let help = "Machines that went away by themselves or by somebody else's hand";
        r.register("machines_vanished", help, Clone::clone(&vanished));
        let phase = Family::default();
        r.register(
            "phase",
            "1 for the phase that the service is in",
            Clone::clone(&phase),
        );
        let instances = Family::default();
        let help = "Instances that serve, are being made, start, or leave";
        r.register("instances", help, Clone::clone(&instances));
        let instances_wanted = Family::default();
        let help =
            "Instances that are wanted for the load, or that there are where nothing is scaled";
        r.register("instances_wanted", help, Clone::clone(&instances_wanted));
        let scalings = Family::default();
        let help = "Changes of the number of instances that is wanted, up and down";
        r.register("scalings", help, Clone::clone(&scalings));
        let scalings_hindered = Family::default();
        let help = "Times that the number of instances could not be what the load asked for";
        r.register("scalings_hindered", help, Clone::clone(&scalings_hindered));
        let clones = Family::default();
        r.register(
            "clones",
            "Steps in the lives of clones",
            Clone::clone(&clones),
        );
        let blind = Family::default();
        r.register(
            "blind",
            "1 while a required source of activity is missing",
            Clone::clone(&blind),
        );
        let answers = Family::default();
        r.register(
            "answers",
            "Answers of the room itself, by kind",
            Clone::clone(&answers),
        );
        let moved = Family::default();
        let help = "Requests that one instance did not answer, and another was asked";
        r.register("requests_moved", help, Clone::clone(&moved));
        let alerts = Family::default();
        let help = "Alerts that came in, by what was done about them";
        r.register("alerts", help, Clone::clone(&alerts));
        let load_samples = Family::default();
        let help = "Instances whose load was looked at: with a sample, or with none";
        r.register("load_samples", help, Clone::clone(&load_samples));
        let load_asked = Family::new_with_constructor(AskedBuckets);
        let help = "Questions about load, by signal and outcome";
        r.register_with_unit("load_asked", help, Unit::Seconds, Clone::clone(&load_asked));
        let steal = Family::default();
        let help = "What of an instance's processors its host gave to others, of the instance with the most";
        r.register_with_unit("load_steal", help, Unit::Ratios, Clone::clone(&steal));
        let store_up = Gauge::default();
        let help = "1 while the store answers, 0 while it or a part of it is away";
        r.register("store_up", help, Clone::clone(&store_up));
        let bans = Gauge::default();
        r.register("bans", "Bans in force", Clone::clone(&bans));
        let refused_values = Gauge::default();
        let help = "What stands in the store and is refused; the hash `refused` says why";
        r.register("refused_values", help, Clone::clone(&refused_values));
        Metrics {
            registry,
            wakes,
            wake_seconds,
            stage_seconds,
            wakes_failed,
            wakes_joined,
            wakes_refused,
            traps_sprung,
            tokens,
            stops,
            awake_seconds,
            stops_cancelled,
            retries,
            provider_seconds,
            publish_failures,
            vanished,
            phase,
            instances,
            instances_wanted,
            scalings,
            scalings_hindered,
            clones,
            blind,
            answers,
            moved,
            alerts,
            load_samples,
            load_asked,
            steal,
            store_up,
            bans,
            refused_values,
        }
    }

    /// All metrics in the text format of OpenMetrics.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    pub(crate) fn wake_began(&self, service: &ServiceName, by: &'static str) {
        self.wakes.get_or_create(&of_kind(service, by)).inc();
    }

    pub(crate) fn stage(&self, service: &ServiceName, stage: &'static str, after: Span) {
        self.stage_seconds
            .get_or_create(&of_kind(service, stage))
            .observe(after.as_secs_f64());
    }

    pub(crate) fn woken(&self, service: &ServiceName, took: Span) {
        self.wake_seconds
            .get_or_create(&of(service))
            .observe(took.as_secs_f64());
    }

    pub(crate) fn wake_failed(&self, service: &ServiceName) {
        self.wakes_failed.get_or_create(&of(service)).inc();
    }

    pub(crate) fn joined(&self, service: &ServiceName) {
        self.wakes_joined.get_or_create(&of(service)).inc();
    }

    pub(crate) fn refused(&self, service: &ServiceName, rule: &'static str) {
        self.wakes_refused
            .get_or_create(&of_kind(service, rule))
            .inc();
    }

    pub(crate) fn trapped(&self, service: &ServiceName) {
        self.traps_sprung.get_or_create(&of(service)).inc();
    }

    pub(crate) fn token(&self, service: &ServiceName, outcome: &'static str) {
        self.tokens.get_or_create(&of_kind(service, outcome)).inc();
    }

    pub(crate) fn slept(&self, service: &ServiceName, why: &'static str, awake: Span) {
        self.stops.get_or_create(&of_kind(service, why)).inc();
        self.awake_seconds
            .get_or_create(&of(service))
            .inc_by(awake.as_secs_f64());
    }

    pub(crate) fn stop_cancelled(&self, service: &ServiceName) {
        self.stops_cancelled.get_or_create(&of(service)).inc();
    }

    pub(crate) fn retried(&self, service: &ServiceName) {
        self.retries.get_or_create(&of(service)).inc();
    }

    pub(crate) fn provider_called(
        &self,
        provider: &'static str,
        call: &'static str,
        outcome: &'static str,
        took: Span,
    ) {
        let of = OfCall {
            provider,
            call,
            outcome,
        };
        let seconds = self.provider_seconds.get_or_create(&of);
        seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn publish_failed(&self, service: &ServiceName) {
        self.publish_failures.get_or_create(&of(service)).inc();
    }

    pub(crate) fn vanished(&self, service: &ServiceName) {
        self.vanished.get_or_create(&of(service)).inc();
    }

    pub(crate) fn phase(&self, service: &ServiceName, phase: Phase) {
        const ALL: [Phase; 8] = [
            Phase::Learning,
            Phase::Asleep,
            Phase::Waking,
            Phase::Awake,
            Phase::Diverting,
            Phase::Draining,
            Phase::Stopping,
            Phase::Failed,
        ];
        for each in ALL {
            self.phase
                .get_or_create(&of_kind(service, each.as_str()))
                .set(i64::from(each == phase));
        }
    }

    /// How many instances there are of each kind, and how many its load needs.
    pub(crate) fn instances(
        &self,
        service: &ServiceName,
        counts: [(&'static str, usize); 4],
        wanted: usize,
    ) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        for (kind, count) in counts {
            let gauge = self.instances.get_or_create(&of_kind(service, kind));
            gauge.set(number(count));
        }
        let gauge = self.instances_wanted.get_or_create(&of(service));
        gauge.set(number(wanted));
    }

    pub(crate) fn scaled(&self, service: &ServiceName, up: bool) {
        let direction = if up { "up" } else { "down" };
        self.scalings
            .get_or_create(&of_kind(service, direction))
            .inc();
    }

    pub(crate) fn scale_hindered(&self, service: &ServiceName) {
        self.scalings_hindered.get_or_create(&of(service)).inc();
    }

    pub(crate) fn cloned(&self, service: &ServiceName, step: &'static str) {
        self.clones.get_or_create(&of_kind(service, step)).inc();
    }

    pub(crate) fn blind(&self, service: &ServiceName, blind: bool) {
        self.blind.get_or_create(&of(service)).set(i64::from(blind));
    }

    /// So many instances were looked at with this outcome.
    pub(crate) fn measured(&self, service: &ServiceName, outcome: &'static str, count: usize) {
        let samples = self.load_samples.get_or_create(&of_kind(service, outcome));
        samples.inc_by(count as u64);
    }

    /// A signal of this kind asked somebody.
    pub(crate) fn load_asked(&self, kind: &'static str, outcome: &'static str, took: Span) {
        let of = OfAsked { kind, outcome };
        self.load_asked
            .get_or_create(&of)
            .observe(took.as_secs_f64());
    }

    pub(crate) fn stolen(&self, service: &ServiceName, ratio: f64) {
        self.steal.get_or_create(&of(service)).set(ratio);
    }

    pub(crate) fn store_up(&self, up: bool) {
        self.store_up.set(i64::from(up));
    }

    pub(crate) fn bans(&self, count: usize) {
        self.bans.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn refused_values(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.refused_values.set(count);
    }

    /// The counter of one kind of the room's own answers to a service's visitors.
    #[must_use]
    pub fn answers(&self, service: &ServiceName, kind: &'static str) -> Counter {
        self.answers.get_or_create(&of_kind(service, kind)).clone()
    }

    /// Counts one answer of the room itself.
    pub fn answered(&self, service: &ServiceName, kind: &'static str) {
        self.answers.get_or_create(&of_kind(service, kind)).inc();
    }

    /// Counts a request that goes to another instance than the one that did not answer it.
    pub fn moved(&self, service: &ServiceName) {
        self.moved.get_or_create(&of(service)).inc();
    }

    /// Counts an alert that came in.
    pub fn alerted(&self, service: &ServiceName, kind: &'static str) {
        self.alerts.get_or_create(&of_kind(service, kind)).inc();
    }
}

/// A builder for outgoing HTTP with our TLS provider.
pub fn http_client() -> reqwest::ClientBuilder {
    // Already installed is as good as installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().connect_timeout(std::time::Duration::from_secs(2))
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sets the log up; `RUST_LOG` overrides the level. A second call changes nothing.
pub fn init_log(format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("anteroom=info,warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false);
    let builder = builder.with_writer(std::io::stderr);
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
