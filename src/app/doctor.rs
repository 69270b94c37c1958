//! What `anteroom doctor` finds out: for each service whether its provider would do as it is told, by reading alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::timeout;

use super::build;
use crate::config::{Config, Cost, Service, StoreUrl};
use crate::engine::id::{CloneId, ServiceName};
use crate::engine::machine::{ErrorClass, MachineState, Trouble};
use crate::engine::record::Base;
use crate::http::Challenger;
use crate::provider::mark::Mark;
use crate::provider::{Checkup, Known, May, Provider};

/// One service is examined so long.
const EXAMINED_WITHIN: Duration = Duration::from_secs(90);

/// What was found.
pub struct Findings {
    /// The services, in the order of their names.
    pub services: Vec<Examined>,
    /// Machines that no service of this configuration wants.
    pub strays: Vec<Stray>,
    /// What could not be found out, for people.
    pub unsure: Vec<String>,
}

impl Findings {
    /// Nothing is wrong.
    #[must_use]
    pub fn well(&self) -> bool {
        let wrong = self
            .services
            .iter()
            .any(|service| !service.wrong.is_empty());
        !wrong && self.strays.is_empty()
    }
}

/// One service.
pub struct Examined {
    /// Its name.
    pub name: ServiceName,
    /// The kind of its provider.
    pub kind: &'static str,
    /// What the provider says; none when there is no provider or no answer in time.
    pub checkup: Option<Checkup>,
    /// What the configuration says that it costs.
    pub cost: Option<Cost>,
    /// What is wrong, each with its mend.
    pub wrong: Vec<Wrong>,
    /// Its clones, running or not.
    pub clones: BTreeSet<CloneId>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What.
    pub what: String,
    /// What a person can do.
    pub mend: String,
}

/// A machine that carries the mark of an Anteroom, and is wanted by no service of this configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray {
    /// Its name.
    pub name: String,
    /// The kind of provider at which it is.
    pub kind: &'static str,
    /// The service that its name tells.
    pub service: String,
}

/// Examines every service of a configuration, and those that were added in its Redis. Changes nothing.
pub async fn examine(mut config: Config) -> Findings {
    let mut unsure = Vec::new();
    if let Err(error) = add_services(&mut config).await {
        unsure.push(format!(
            "services that were added in Redis are not known: {error:#}"
        ));
    }
    let state_dir = build::state_dir(&config);
    let services = config.services.values();
    let examined = services.map(|service| {
        let provider = build::provider(service, &state_dir);
        async move {
            let of_provider = async {
                match provider {
                    Ok(provider) => of_provider(service, provider).await,
                    Err(error) => not_built(service, &error),
                }
            };
            join(of_provider, secret(service)).await
        }
    });
    let mut services = Vec::new();
    for (mut service, secret) in join_all(examined).await {
        match secret {
            Ok(wrong) => service.wrong.extend(wrong),
            Err(why) => unsure.push(format!("the secret of {}'s challenge: {why}", service.name)),
        }
        services.push(service);
    }
    for service in &services {
        if let Some(Err(trouble)) = service.checkup.as_ref().map(|it| &it.marked) {
            unsure.push(format!(
                "machines left behind at {}: {trouble}",
                service.kind
            ));
        }
    }
    unsure.dedup();
    Findings {
        strays: strays(&services),
        services,
        unsure,
    }
}

/// Those of a file's store are not read: the file may be in use.
async fn add_services(config: &mut Config) -> anyhow::Result<()> {
    if !matches!(config.store.url, StoreUrl::Redis(_)) {
        return Ok(());
    }
    let store = build::store(config).await?;
    let Some(surface) = store.surface() else {
        return Ok(());
    };
    let texts = surface.services("").await?.texts.unwrap_or_default();
    let env = |name: &str| std::env::var(name).ok();
    let added = config.add(&texts, &BTreeMap::new(), &env, &|_| Ok(()));
    let services = added.services.into_values();
    config
        .services
        .extend(services.map(|(service, _)| (service.name.clone(), service)));
    Ok(())
}

/// Whether the verifier of a service's challenge knows its secret.
async fn secret(service: &Service) -> Result<Option<Wrong>, &'static str> {
    let Some(challenge) = service.wake.challenge.clone() else {
        return Ok(None);
    };
    match Challenger::new(challenge).knows_secret().await {
        None | Some(Ok(true)) => Ok(None),
        Some(Ok(false)) => Ok(Some(Wrong {
            what: "the verifier of the challenge does not know its secret: visitors can only wait and press".to_owned(),
            mend: "give wake.challenge the secret that goes with its sitekey; one in the environment must be set for this command too".to_owned(),
        })),
        Some(Err(why)) => Err(why),
    }
}

fn not_built(service: &Service, error: &anyhow::Error) -> Examined {
    Examined {
        name: service.name.clone(),
        kind: service.provider.kind(),
        checkup: None,
        cost: service.cost.clone(),
        wrong: vec![Wrong {
            what: format!("the provider can't be built: {error:#}"),
            mend: "mend its settings".to_owned(),
        }],
        clones: BTreeSet::new(),
    }
}

async fn of_provider(service: &Service, provider: Arc<dyn Provider>) -> Examined {
    let kind = provider.kind();
    let reading = async {
        let checkup = provider.checkup().await;
        let clones = match provider.finds_clones() {
            true => provider.find().await.unwrap_or_default(),
            false => Vec::new(),
        };
        (checkup, clones)
    };
    let (checkup, clones) = timeout(EXAMINED_WITHIN, reading).await.ok().unzip();
    let wrong = match &checkup {
        Some(checkup) => {
            let mut wrong = wrong(kind, checkup);
            wrong.extend(forgotten(service, checkup));
            wrong
        }
        None => vec![Wrong {
            what: format!("nothing was answered within {EXAMINED_WITHIN:?}"),
            mend: mend(ErrorClass::Transient, kind),
        }],
    };
    Examined {
        name: service.name.clone(),
        kind,
        checkup,
        cost: service.cost.clone(),
        wrong,
        clones: clones
            .into_iter()
            .flatten()
            .map(|owned| owned.clone)
            .collect(),
    }
}

/// What of a checkup is wrong. One cause is told once: a credential that is refused explains the rest.
fn wrong(kind: &str, checkup: &Checkup) -> Vec<Wrong> {
    let of = |what: &str, trouble: &Trouble| Wrong {
        what: format!("{what}: {trouble}"),
        mend: mend(trouble.class, kind),
    };
    if let Err(trouble) = &checkup.credential {
        return vec![of("the account does not answer as it should", trouble)];
    }
    let mut wrong = Vec::new();
    let said = |what: &str, mend: &str| Wrong {
        what: what.to_owned(),
        mend: mend.to_owned(),
    };
    match &checkup.seed {
        Err(trouble) => wrong.push(of("the machine can't be read", trouble)),
        Ok(machine) => match machine.state {
            MachineState::Missing => {
                let mend =
                    "is its id right, and does the credential belong to the account that has it?";
                wrong.push(said("the machine does not exist", mend));
            }
            MachineState::Failed => {
                let mend = format!("look at it at {kind}, and mend it there");
                wrong.push(said("the platform reports a fault of the machine", &mend));
            }
            _ => {}
        },
    }
    let forbidden = checkup.may.iter().filter(|(_, known)| *known == Known::No);
    for (may, _) in forbidden {
        let what = format!("the credential may not {}", words(*may));
        wrong.push(said(&what, &mend(ErrorClass::Forbidden, kind)));
    }
    wrong
}

/// A template that runs serves nobody, and nothing stops it.
fn forgotten(service: &Service, checkup: &Checkup) -> Option<Wrong> {
    let is_template = service.scale.as_ref()?.base == Base::Clones;
    let state = checkup.seed.as_ref().ok()?.state;
    let runs = matches!(state, MachineState::Running | MachineState::Starting);
    (is_template && runs).then(|| Wrong {
        what: "the machine runs, and is only a template (scale.seed)".to_owned(),
        mend: "stop it when you are done with it: nobody is led to it, and it costs what it costs \
               to run"
            .to_owned(),
    })
}

/// What a person can do about a trouble of this class.
fn mend(class: ErrorClass, kind: &str) -> String {
    match class {
        ErrorClass::Auth => "give it a credential that works; one in the environment must be set for this command too".into(),
        ErrorClass::Forbidden => format!("give the credential the rights that docs/providers.md names for {kind}"),
        ErrorClass::NotFound => "is its id right, and does the credential belong to the account that has it?".into(),
        ErrorClass::Quota => "pay the bill, or have the limit raised".into(),
        ErrorClass::RateLimited(_) => "wait, and ask again".into(),
        ErrorClass::Transient | ErrorClass::Ambiguous => {
            "can it be reached from this host? A running Anteroom tries again by itself".into()
        }
        ErrorClass::BadRequest => "the words above say which setting is not understood".into(),
        ErrorClass::AlreadyThere
        | ErrorClass::Busy
        | ErrorClass::InvalidState
        | ErrorClass::Capacity => "it may pass by itself; ask again in a minute".into(),
    }
}

/// What a credential may do, as a verb.
#[must_use]
pub fn words(may: May) -> &'static str {
    match may {
        May::Read => "read",
        May::Power => "start and stop",
        May::Clone => "make and delete clones",
    }
}

/// The marked machines of all accounts that no service wants.
fn strays(services: &[Examined]) -> Vec<Stray> {
    let mut strays = BTreeSet::new();
    for (kind, name) in services.iter().flat_map(|service| {
        let marked = service
            .checkup
            .as_ref()
            .and_then(|it| it.marked.as_ref().ok());
        marked
            .into_iter()
            .flatten()
            .map(|name| (service.kind, name))
    }) {
        let Some((of, _)) = Mark::service_of(name) else {
            continue;
        };
        let wanted = services.iter().any(|service| {
            let clone = Mark::clone_in(name);
            service.name.as_str() == of && clone.is_some_and(|it| service.clones.contains(&it))
        });
        if !wanted {
            strays.insert(Stray {
                name: name.clone(),
                kind,
                service: of.to_owned(),
            });
        }
    }
    strays.into_iter().collect()
}
