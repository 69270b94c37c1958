//! Clones of the process: made by taking a port, found by what is written down, removed when they have ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::record::Files;
use super::{Inner, KIND, Process, Settings, blocking, finished, group, ports};
use crate::engine::id::{CloneId, InstanceId, ServiceName};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, Trouble};
use crate::provider::bare;
use crate::provider::mark::Mark;

impl Process {
    pub(super) async fn find_clones(&self) -> Result<Vec<Owned>, Trouble> {
        let seed = Arc::clone(&self.seed);
        let all = blocking(move || seed.all_clones()).await?;
        let mut owned = Vec::new();
        for (service, clone) in all {
            if service == self.seed.settings.service {
                let machine = self.look(InstanceId::Clone(clone)).await?;
                owned.push(Owned { clone, machine });
            }
        }
        Ok(owned)
    }

    pub(super) async fn make(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let seed = Arc::clone(&self.seed);
        blocking(move || seed.take_port(clone)).await?;
        self.look(InstanceId::Clone(clone)).await
    }

    pub(super) async fn remove(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let instance = InstanceId::Clone(clone);
        if let Some(inner) = self.of(instance).await? {
            let ending = finished(async move {
                let _turn = inner.turn.acquire().await;
                inner.stop().await
            });
            let ended = ending.await?;
            if ended.state != MachineState::Stopped {
                return Ok(ended);
            }
        }
        let (seed, clones) = (Arc::clone(&self.seed), Arc::clone(&self.clones));
        blocking(move || {
            seed.forget_clone(clone)?;
            let mut clones = clones.lock().unwrap_or_else(PoisonError::into_inner);
            clones.remove(&clone);
            Ok(bare(MachineState::Missing))
        })
        .await
    }
}

/// Of the seed alone.
impl Inner {
    fn files_of(&self, clone: CloneId) -> Result<Files, Trouble> {
        let Settings {
            service, state_dir, ..
        } = &self.settings;
        let files = Files::of(service, InstanceId::Clone(clone), state_dir);
        files.map_err(|error| self.no_files(&error))
    }

    /// The clone, if it exists.
    pub(super) fn clone_that_is(
        &self,
        clone: CloneId,
        clones: &Mutex<BTreeMap<CloneId, Arc<Inner>>>,
    ) -> Result<Option<Arc<Inner>>, Trouble> {
        let port = ports::of(&self.files_of(clone)?).map_err(|e| self.no_files(&e))?;
        let mut clones = clones.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(port) = port else {
            clones.remove(&clone);
            return Ok(None);
        };
        if let Some(inner) = clones.get(&clone) {
            return Ok(Some(Arc::clone(inner)));
        }
        let mut settings = self.settings.clone();
        settings.port = port;
        let inner = Inner::new(settings, InstanceId::Clone(clone));
        let inner = Arc::new(inner.map_err(|e| self.no_files(&e))?);
        clones.insert(clone, Arc::clone(&inner));
        Ok(Some(inner))
    }

    fn take_port(&self, clone: CloneId) -> Result<(), Trouble> {
        let Settings {
            state_dir, port, ..
        } = &self.settings;
        let files = self.files_of(clone)?;
        match ports::take(&files, state_dir, *port).map_err(|e| self.no_files(&e))? {
            Some(_) => Ok(()),
            None => {
                let detail = format!("no port of 127.0.0.1 is free after {port}");
                Err(Trouble::new(ErrorClass::Capacity, detail))
            }
        }
    }

    /// Nothing of it runs any more, whatever was or was not written down.
    fn forget_clone(&self, clone: CloneId) -> Result<(), Trouble> {
        let files = self.files_of(clone)?;
        group::sweep(files.marker());
        ports::give_back(&files).map_err(|e| self.no_files(&e))
    }

    /// All clones in the folder, of every service.
    pub(super) fn all_clones(&self) -> Result<Vec<(ServiceName, CloneId)>, Trouble> {
        let all = ports::all(&self.settings.state_dir).map_err(|e| self.no_files(&e))?;
        Ok(all.into_iter().map(|(of, clone, _)| (of, clone)).collect())
    }

    pub(super) fn mark_of(&self, service: &ServiceName) -> Mark {
        Mark::new(service, KIND, &self.settings.state_dir.to_string_lossy())
    }
}
