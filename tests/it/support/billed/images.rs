//! Snapshots, and machines that are made from them.

use std::collections::BTreeMap;

use super::{Order, Refusal, Server, Stand, World};

/// A snapshot.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// The machine of which it was taken.
    pub(crate) of: u64,
    /// Its order has ended.
    pub(crate) ready: bool,
    /// What was written on the machine's disk.
    pub(crate) written: u64,
}

/// A machine that somebody wishes for.
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) image: u64,
    pub(crate) marks: Vec<String>,
}

impl World {
    /// Marks a machine.
    pub(crate) fn mark(&self, id: u64, mark: &str) {
        let mut all = self.all();
        let server = all.servers.get_mut(&id).expect("it is there");
        server.marks.push(mark.into());
        all.note();
    }

    /// The app writes on the disk of the one machine that runs.
    pub(crate) fn write(&self, what: u64) {
        let mut all = self.all();
        let mut running = all.servers.values_mut().filter(|it| it.on);
        running.next().expect("one runs").written = what;
        assert!(running.next().is_none(), "two machines run");
    }

    /// Orders a snapshot.
    pub(crate) fn take(
        &self,
        id: u64,
        order: &str,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<(Order, u64), Refusal> {
        let mut all = self.all();
        let manner = all.manner;
        let server = all.servers.get(&id).ok_or(Refusal::Missing)?;
        if server.busy.is_some() {
            return Err(Refusal::Busy);
        }
        // A snapshot of a machine that runs is of what happened to be on the disk: of nothing, here.
        let written = if server.on { 0 } else { server.written };
        let image = Image {
            name: name.into(),
            labels,
            of: id,
            ready: false,
            written,
        };
        let number = all.next_id();
        all.images.insert(number, image);
        let order = all.order(id, order);
        drop(all);
        let (world, ordered) = (self.clone(), order.clone());
        tokio::spawn(async move {
            tokio::time::sleep(manner.takes).await;
            let mut all = world.all();
            let errs = manner.errs == Some(ordered.name.as_str());
            if errs {
                all.images.remove(&number);
            } else if let Some(image) = all.images.get_mut(&number) {
                image.ready = true;
            }
            all.end(ordered.id, if errs { Stand::Failed } else { Stand::Done });
        });
        Ok((order, number))
    }

    /// Makes a machine from a snapshot; none when there is no such snapshot.
    pub(crate) fn grant(&self, wish: Wish, order: &str) -> Option<(u64, Order)> {
        let mut all = self.all();
        let manner = all.manner;
        let image = all.images.get(&wish.image).filter(|image| image.ready)?;
        let server = Server {
            name: wish.name,
            on: false,
            shows_on: false,
            private: "10.128.0.9".into(),
            public: "203.0.113.9".into(),
            busy: None,
            marks: wish.marks,
            volumes: Vec::new(),
            image: Some(wish.image),
            written: image.written,
        };
        let id = all.next_id();
        all.servers.insert(id, server);
        all.note();
        let order = all.order(id, order);
        drop(all);
        let (world, number) = (self.clone(), order.id);
        tokio::spawn(async move {
            tokio::time::sleep(manner.takes).await;
            world.all().turn(id, true);
            world.all().end(number, Stand::Done);
            world.all().show(id);
        });
        Some((id, order))
    }

    /// Destroys a machine for good.
    pub(crate) fn destroy(&self, id: u64) -> Result<(), Refusal> {
        let mut all = self.all();
        let server = all.servers.get(&id).ok_or(Refusal::Missing)?;
        if server.busy.is_some() {
            return Err(Refusal::Busy);
        }
        all.servers.remove(&id);
        all.note();
        Ok(())
    }

    /// What is written on each machine, and on each snapshot that is ready.
    pub(crate) fn written(&self) -> (Vec<u64>, Vec<u64>) {
        let all = self.all();
        let servers = all.servers.values().map(|server| server.written);
        let images = all.images.values().filter(|image| image.ready);
        (servers.collect(), images.map(|it| it.written).collect())
    }
}
