//! The account at the fake platform: our clones, the machines of others, and public addresses that cost money.
//!
//! A list of the machines lags both ways: what was just made may be missing, what was just deleted may still be there.
//! An address may outlive its machine; then only giving it back ends its cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anteroom::engine::id::CloneId;
use anteroom::engine::machine::{Machine, MachineState, Owned, PublicAddress};

use crate::plan::Plan;

/// Whose something at the account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Ours,
    /// Another service's, which has clones as well.
    Another,
    /// It carries no mark at all.
    Nobodys,
}

/// A machine at the account.
#[derive(Clone, Debug)]
pub(crate) struct Vm {
    pub(crate) id: u64,
    pub(crate) whose: Whose,
    pub(crate) clone: CloneId,
    /// It was not made by a deed, but by a person who copied one of ours.
    pub(crate) copied: bool,
    pub(crate) state: MachineState,
    /// Tells the present rise from those that were overtaken.
    pub(crate) turn: u64,
    pub(crate) app_up: bool,
    /// When a probe of an app that answers was lost.
    pub(crate) missed_at: Option<u64>,
    /// Lists show it from then on.
    shown_at: u64,
    pub(crate) delete_asked_at: Option<u64>,
    pub(crate) gone_at: Option<u64>,
    /// Lists show it until then.
    hidden_at: u64,
}

/// A public address that is paid for.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) public: PublicAddress,
    pub(crate) whose: Whose,
    /// The machine that has it.
    pub(crate) at: Option<u64>,
    /// Nobody can know of it any more: a person deleted its machine, or made it, or the record that named it was lost.
    pub(crate) excused: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Account {
    machines: Vec<Vm>,
    pub(crate) addresses: Vec<Address>,
    last: u64,
    /// The platform makes no machine before.
    pub(crate) full_until: u64,
    /// Machines of others, which must be there as they are for ever.
    others: usize,
}

impl Vm {
    /// Where its app listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let [.., high, low] = self.id.to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(10, 1, high, low), 80))
    }

    pub(crate) fn answers(&self) -> bool {
        self.app_up && self.state == MachineState::Running
    }

    /// Lists have shown it for a while.
    pub(crate) fn is_listed(&self, now: u64) -> bool {
        now > self.shown_at + 120_000
    }

    fn read(&self) -> Machine {
        let runs = self.state == MachineState::Running;
        Machine {
            state: self.state,
            address: runs.then(|| self.address()),
        }
    }
}

impl Account {
    pub(crate) fn new(plan: &Plan) -> Account {
        let mut account = Account::default();
        let Some(clones) = &plan.clones else {
            return account;
        };
        // Among them one with the name that our first clone would have, if it were intended when the day begins.
        let name = |slot| CloneId::new(slot, crate::world::DAWN / 1_000).expect("within bounds");
        for slot in 1..=clones.others {
            let whose = match slot % 2 {
                0 => Whose::Nobodys,
                _ => Whose::Another,
            };
            let id = account.add(whose, name(slot), 0, 0);
            account.turn(id, MachineState::Running);
        }
        account.others = account.machines.len();
        account
    }

    fn add(&mut self, whose: Whose, clone: CloneId, now: u64, lag: u64) -> u64 {
        self.last += 1;
        let id = self.last;
        self.machines.push(Vm {
            id,
            whose,
            clone,
            copied: false,
            state: MachineState::Starting,
            turn: 0,
            app_up: false,
            missed_at: None,
            shown_at: now + lag,
            delete_asked_at: None,
            gone_at: None,
            hidden_at: 0,
        });
        let host = u8::try_from(id % 250).unwrap_or(0) + 1;
        self.addresses.push(Address {
            public: PublicAddress {
                id: format!("fip-{id}"),
                address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, host)),
            },
            whose,
            at: Some(id),
            excused: false,
        });
        id
    }

    /// A new machine of this clone; lists show it after `lag`.
    pub(crate) fn make(&mut self, clone: CloneId, now: u64, lag: u64, has_address: bool) -> u64 {
        let id = self.add(Whose::Ours, clone, now, lag);
        if !has_address {
            self.addresses.pop();
        }
        id
    }

    pub(crate) fn vm(&mut self, id: u64) -> Option<&mut Vm> {
        self.machines
            .iter_mut()
            .find(|vm| vm.id == id && vm.gone_at.is_none())
    }

    /// All our machines that exist.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Vm> {
        self.machines
            .iter()
            .filter(|vm| vm.whose == Whose::Ours && vm.gone_at.is_none())
    }

    /// Those of a clone.
    pub(crate) fn of(&self, clone: CloneId) -> impl Iterator<Item = &Vm> {
        self.ours().filter(move |vm| vm.clone == clone)
    }

    pub(crate) fn turn(&mut self, id: u64, state: MachineState) {
        if let Some(vm) = self.vm(id) {
            vm.state = state;
            vm.turn += 1;
            vm.app_up = false;
        }
    }

    /// The machine whose app answers there.
    pub(crate) fn answers_at(&self, address: SocketAddr) -> Option<&Vm> {
        self.ours()
            .find(|vm| vm.answers() && vm.address() == address)
    }

    /// The machine is no more. `sticky`: its address stays, and goes on to cost.
    pub(crate) fn goes(&mut self, id: u64, now: u64, lag: u64, sticky: bool) {
        let Some(vm) = self.vm(id) else { return };
        (vm.gone_at, vm.hidden_at) = (Some(now), now + lag);
        let unasked = vm.copied || vm.delete_asked_at.is_none();
        if !sticky {
            return self.addresses.retain(|address| address.at != Some(id));
        }
        for address in self.addresses.iter_mut().filter(|it| it.at == Some(id)) {
            address.at = None;
            address.excused |= unasked;
        }
    }

    /// What was known of the addresses of machines that are being deleted is lost.
    pub(crate) fn forgotten(&mut self) {
        let leaving = |vm: &&Vm| vm.delete_asked_at.is_some();
        let leaving = self.machines.iter().filter(leaving).map(|vm| vm.id);
        let leaving: Vec<u64> = leaving.collect();
        for address in &mut self.addresses {
            address.excused |= address.at.is_none_or(|id| leaving.contains(&id));
        }
    }

    /// The machines with our mark, as a list shows them.
    pub(crate) fn list(&mut self, now: u64) -> Vec<Owned> {
        self.machines
            .retain(|vm| vm.gone_at.is_none() || now < vm.hidden_at);
        let listed = |vm: &&Vm| {
            let there = vm.gone_at.is_none() || now < vm.hidden_at;
            vm.whose == Whose::Ours && vm.shown_at <= now && there
        };
        let listed = self.machines.iter().filter(listed);
        listed
            .map(|vm| Owned {
                clone: vm.clone,
                machine: vm.read(),
            })
            .collect()
    }

    /// Whether a look by name finds the clone, through the same list.
    pub(crate) fn shows(&self, clone: CloneId, now: u64) -> bool {
        self.of(clone).any(|vm| vm.shown_at <= now)
    }

    /// Of all that have the clone's name.
    pub(crate) fn read(&self, clone: CloneId) -> Machine {
        self.of(clone)
            .next()
            .map_or(bare(MachineState::Missing), Vm::read)
    }

    pub(crate) fn addresses_of(&self, clone: CloneId) -> Vec<PublicAddress> {
        let ids: Vec<u64> = self.of(clone).map(|vm| vm.id).collect();
        let its = |it: &&Address| it.at.is_some_and(|id| ids.contains(&id));
        let its = self.addresses.iter().filter(its);
        its.map(|it| it.public.clone()).collect()
    }

    /// Gives addresses back. One that another machine has by now is left alone.
    pub(crate) fn release(&mut self, clone: CloneId, released: &[PublicAddress]) {
        let ids: Vec<u64> = self.of(clone).map(|vm| vm.id).collect();
        self.addresses.retain(|it| {
            let may = it.whose == Whose::Ours && it.at.is_none_or(|id| ids.contains(&id));
            !(may && released.contains(&it.public))
        });
    }

    /// Somebody else at the account takes an address that nothing has.
    pub(crate) fn lose_an_address(&mut self) {
        let free = |it: &&mut Address| it.at.is_none() && it.whose == Whose::Ours;
        if let Some(address) = self.addresses.iter_mut().find(free) {
            address.whose = Whose::Nobodys;
        }
    }

    /// Whether all machines of others are there, and run, with their addresses.
    pub(crate) fn spares_others(&self) -> bool {
        let theirs = |whose| whose != Whose::Ours;
        let machines = self.machines.iter().filter(|vm| theirs(vm.whose));
        let well = machines.filter(|vm| vm.gone_at.is_none() && vm.state == MachineState::Running);
        let kept = self.addresses.iter().filter(|it| theirs(it.whose));
        well.count() == self.others && kept.filter(|it| it.at.is_some()).count() == self.others
    }
}

fn bare(state: MachineState) -> Machine {
    Machine {
        state,
        address: None,
    }
}
