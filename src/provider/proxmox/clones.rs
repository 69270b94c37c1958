//! Clones: full or linked, known by their names. Names are not unique there, and a clone has its name from its first
//! moment; so one is looked for before it is asked for, one at a time, and a call that was begun is never left half sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::Guest;
use super::cluster::Cluster;
use super::place::Place;
use super::power::STOP_FOLLOWED_ON;
use super::{CloneKind, GuestKind, LIST_AGE_MAX, Proxmox};
use crate::engine::id::CloneId;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, Trouble};
use crate::provider::bare;
use crate::provider::mark::Mark;

/// The tag of every guest that an Anteroom made.
const TAG: &str = "anteroom";

/// How long the making of a clone is followed; a full one of a large disk goes on by itself.
pub(super) const CLONE_FOLLOWED: Duration = Duration::from_secs(60);

/// How long a deletion is followed.
const DELETE_FOLLOWED: Duration = Duration::from_secs(60);

/// How many numbers are tried that somebody else takes at the same time.
const NUMBERS_MAX: u32 = 10;

/// The guests of one name.
pub(super) struct Named {
    pub(super) places: Vec<(Place, Option<MachineState>)>,
    /// Guests without a name in the list that can't be asked for it, by their nodes: a node that is off.
    unsure: Vec<(String, Trouble)>,
}

impl Named {
    /// The first of them; none when it is sure that there is none.
    pub(super) fn first(self) -> Result<Option<(Place, Option<MachineState>)>, Trouble> {
        match (
            self.places.into_iter().next(),
            self.unsure.into_iter().next(),
        ) {
            (Some(place), _) => Ok(Some(place)),
            (None, Some((_, trouble))) => Err(trouble),
            (None, None) => Ok(None),
        }
    }
}

impl Proxmox {
    /// The guests of this clone's name, which other guests can have as well; never the seed, what is cloned from, nor a
    /// template.
    pub(super) async fn named(&self, guests: &[Guest], clone: CloneId) -> Result<Named, Trouble> {
        let wanted = self.mark.name(clone);
        let mut named = Named {
            places: Vec::new(),
            unsure: Vec::new(),
        };
        for guest in guests {
            let Some(place) = self.candidate(guest) else {
                continue;
            };
            match self.name_of(guest, &place).await {
                Ok(name) if name.as_ref() == Some(&wanted) => {
                    named.places.push((place, guest.state()));
                }
                Ok(_) => {}
                Err(trouble) if trouble.class == ErrorClass::Transient => {
                    named.unsure.push((place.node, trouble));
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(named)
    }

    fn candidate(&self, guest: &Guest) -> Option<Place> {
        let place = guest.place()?;
        let ours = [Some(self.settings.vmid), self.settings.clone_from];
        let other = !ours.contains(&Some(place.vmid)) && !guest.is_template();
        other.then_some(place)
    }

    /// A guest that was just made has no name in the list for some seconds.
    async fn name_of(&self, guest: &Guest, place: &Place) -> Result<Option<String>, Trouble> {
        match &guest.name {
            Some(name) => Ok(Some(name.clone())),
            None => match self.cluster.config(place).await {
                Ok(config) => Ok(config.name),
                Err(trouble) if trouble.class == ErrorClass::NotFound => Ok(None),
                Err(trouble) => Err(trouble),
            },
        }
    }

    pub(super) async fn find_clones(&self) -> Result<Vec<Owned>, Trouble> {
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        let since = young.max(self.latest_write());
        let guests = self.cluster.guests(since.unwrap_or_else(Instant::now));
        let guests = guests.await?;
        let mut found = Vec::new();
        for guest in guests.iter() {
            let Some(place) = self.candidate(guest) else {
                continue;
            };
            let name = match self.name_of(guest, &place).await {
                // Its node is off. Whoever asks for it by its name is told so; the others are found.
                Err(trouble) if trouble.class == ErrorClass::Transient => {
                    tracing::debug!(vmid = place.vmid, %trouble, "a guest without a name");
                    None
                }
                name => name?,
            };
            if let Some(clone) = name.and_then(|name| self.mark.clone_of(&name)) {
                let machine = self.machine_at(place, guest.state()).await?;
                found.push(Owned { clone, machine });
            }
        }
        Ok(found)
    }

    /// The names of all guests that carry the mark of any Anteroom.
    pub(super) async fn marked(&self) -> Result<Vec<String>, Trouble> {
        let guests = self.cluster.guests(Instant::now()).await?;
        let names = guests.iter().filter_map(|guest| guest.name.clone());
        Ok(names
            .filter(|name| Mark::service_of(name).is_some())
            .collect())
    }

    pub(super) async fn make(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let guests = self.cluster.guests(Instant::now()).await?;
        let source = self.settings.clone_from.unwrap_or(self.settings.vmid);
        let source = guests.iter().find(|guest| guest.is(source));
        let source = source.and_then(Guest::place).ok_or_else(|| {
            let vmid = self.settings.clone_from.unwrap_or(self.settings.vmid);
            self.missing(&format!("{vmid} to clone from"))
        })?;
        if let Some(machine) = self.made_already(clone, &source).await? {
            return Ok(machine);
        }
        let (cluster, fields) = (Arc::clone(&self.cluster), self.fields(&source, clone));
        // Also when whoever asked goes away: the next one that looks must see what was asked for.
        let from = source.clone();
        let asked = tokio::spawn(async move {
            let _turn = turn;
            ask_for_clone(&cluster, &source, fields).await
        });
        let asked = asked.await.map_err(|error| {
            let detail = format!("asking for a clone ended early: {error}");
            Trouble::new(ErrorClass::Ambiguous, detail)
        })?;
        let (vmid, task) = match asked {
            Ok(asked) => asked,
            Err(trouble) if trouble.class == ErrorClass::Ambiguous => {
                return match self.made_already(clone, &from).await {
                    Ok(Some(machine)) => Ok(machine),
                    _ => Err(trouble),
                };
            }
            Err(trouble) => return Err(trouble),
        };
        self.wrote(vmid);
        match self
            .cluster
            .follow(&from.node, &task, CLONE_FOLLOWED)
            .await?
        {
            Some(()) => Ok(bare(MachineState::Stopped)),
            None => Ok(bare(MachineState::Starting)),
        }
    }

    /// A clone is made on the node of its source, so what can't be asked elsewhere does not matter.
    async fn made_already(
        &self,
        clone: CloneId,
        source: &Place,
    ) -> Result<Option<Machine>, Trouble> {
        let guests = self.cluster.guests(Instant::now()).await?;
        let mut named = self.named(&guests, clone).await?;
        named.unsure.retain(|(node, _)| *node == source.node);
        match named.first()? {
            Some((place, state)) => Ok(Some(self.machine_at(place, state).await?)),
            None => Ok(None),
        }
    }

    /// What asks for a clone, beside its number.
    fn fields(&self, source: &Place, clone: CloneId) -> Vec<(&'static str, String)> {
        let service = self.mark.service();
        let full = match self.settings.clone {
            CloneKind::Full => "1",
            CloneKind::Linked => "0",
        };
        let name = match source.kind {
            GuestKind::Qemu => "name",
            GuestKind::Lxc => "hostname",
        };
        let told = format!("Made by Anteroom for the service {service}. It will be deleted.");
        let mut fields = vec![
            (name, self.mark.name(clone)),
            ("full", full.to_owned()),
            ("description", told),
        ];
        for (key, value) in [
            ("pool", &self.settings.pool),
            ("storage", &self.settings.storage),
        ] {
            fields.extend(value.clone().map(|value| (key, value)));
        }
        fields
    }

    /// What a clone took over from its source and must not have: that it starts with its host, and that it can't be
    /// deleted. Done before its start. A token that may not do this is told so in the log, and the clone works.
    pub(super) async fn finish(&self, place: &Place) -> Result<(), Trouble> {
        let config = self.cluster.config(place).await?;
        let tags = config.tags.unwrap_or_default();
        if tags.split([';', ',', ' ']).any(|tag| tag == TAG) {
            return Ok(());
        }
        let tags = match tags.is_empty() {
            true => TAG.to_owned(),
            false => format!("{tags};{TAG}"),
        };
        let fields = [
            ("onboot", "0"),
            ("protection", "0"),
            ("tags", tags.as_str()),
        ];
        match self.cluster.configure(place, &fields).await {
            Ok(()) => Ok(()),
            Err(trouble) if trouble.class == ErrorClass::Forbidden => {
                tracing::warn!(vmid = place.vmid, %trouble, "a clone keeps what its source said of starting with its host");
                Ok(())
            }
            Err(trouble) => Err(trouble),
        }
    }

    pub(super) async fn remove(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let _turn = self.turn.acquire().await;
        let guests = self.cluster.guests(Instant::now()).await?;
        let wanted = self.mark.name(clone);
        let mut going = false;
        let named = self.named(&guests, clone).await?;
        for (place, _) in named.places {
            // The list may be behind: what is deleted is what says this name itself.
            match self.cluster.config(&place).await {
                Ok(config) if config.name.as_ref() == Some(&wanted) => {}
                Ok(_) => continue,
                Err(trouble) if trouble.class == ErrorClass::NotFound => continue,
                Err(trouble) => return Err(trouble),
            }
            going |= !self.delete_guest(&place).await?;
        }
        if let Some((_, trouble)) = named.unsure.into_iter().next() {
            return Err(trouble);
        }
        Ok(bare(match going {
            true => MachineState::Stopping,
            false => MachineState::Missing,
        }))
    }

    /// Whether the guest is gone; if not, it is on its way.
    async fn delete_guest(&self, place: &Place) -> Result<bool, Trouble> {
        let deleted = match self.delete_once(place).await {
            Err(trouble) if trouble.class == ErrorClass::InvalidState => {
                // It runs, or it took over from its source that it can't be deleted.
                let free = [("protection", "0")];
                self.cluster.configure(place, &free).await?;
                let off = self.cluster.change(place, "status/stop", &[]).await;
                match off {
                    Ok(task) => {
                        let off = self.cluster.follow(&place.node, &task, STOP_FOLLOWED_ON);
                        off.await?;
                    }
                    Err(trouble) if trouble.class == ErrorClass::AlreadyThere => {}
                    Err(trouble) => return Err(trouble),
                }
                self.delete_once(place).await
            }
            deleted => deleted,
        };
        match deleted {
            Err(trouble) if trouble.class == ErrorClass::NotFound => Ok(true),
            deleted => deleted,
        }
    }

    async fn delete_once(&self, place: &Place) -> Result<bool, Trouble> {
        let asked = self.cluster.delete(place).await;
        self.wrote(place.vmid);
        let task = match asked {
            Ok(task) => task,
            Err(trouble) if trouble.class == ErrorClass::Ambiguous => {
                let left = self.cluster.config(place).await;
                return match left {
                    Err(gone) if gone.class == ErrorClass::NotFound => Ok(true),
                    _ => Err(trouble),
                };
            }
            Err(trouble) => return Err(trouble),
        };
        let ended = self.cluster.follow(&place.node, &task, DELETE_FOLLOWED);
        Ok(ended.await?.is_some())
    }
}

/// Asks for a clone under the next free number; somebody else may take it first.
async fn ask_for_clone(
    cluster: &Cluster,
    source: &Place,
    fields: Vec<(&'static str, String)>,
) -> Result<(u32, String), Trouble> {
    let mut least = 0;
    let mut tries = 0;
    loop {
        let vmid = cluster.next_number().await?.max(least);
        let number = vmid.to_string();
        let mut all = vec![("newid", number.as_str())];
        all.extend(fields.iter().map(|(key, value)| (*key, value.as_str())));
        tries += 1;
        match cluster.change(source, "clone", &all).await {
            Ok(task) => return Ok((vmid, task)),
            Err(trouble) if is_taken(&trouble) && tries < NUMBERS_MAX => least = vmid + 1,
            Err(trouble) => return Err(trouble),
        }
    }
}

fn is_taken(trouble: &Trouble) -> bool {
    trouble.detail.contains("already exists")
}
