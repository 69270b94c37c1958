//! What one room shows of a service, whoever leads it: the view, the gate, and the count of who is inside.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::story::Story;
use crate::engine::contract::Activity;
use crate::engine::id::InstanceId;
use crate::engine::rooms::{Mark, Report};
use crate::engine::view::View;
use crate::signal::edge::Edge;

/// The face of a service in this room.
pub(super) struct Face {
    edge: Arc<Edge>,
    view: watch::Sender<Arc<View>>,
    pub(super) story: Story,
    /// What was shown last; none before the first.
    last: Option<View>,
    /// This room's counts, for whoever leads the service.
    pub(super) counts: Report,
    began: Instant,
}

impl Face {
    pub(super) fn new(edge: Arc<Edge>, view: watch::Sender<Arc<View>>, story: Story) -> Face {
        Face {
            edge,
            view,
            story,
            last: None,
            counts: Report::default(),
            began: Instant::now(),
        }
    }

    /// Lets everybody see the service as it is now. Closing comes before showing, showing before opening: nobody is inside
    /// who could not be seen. An instance that is not shown any more gets no request from here on.
    pub(super) fn show(&mut self, view: View) {
        let upstreams = view.upstreams.clone();
        if upstreams.is_empty() {
            self.edge.close();
        }
        if self.last.as_ref() != Some(&view) {
            self.story.seen(&view);
            self.last = Some(view.clone());
            self.view.send_replace(Arc::new(view));
        }
        self.edge.lead_to(&upstreams);
    }

    /// What was shown last.
    pub(super) fn last(&self) -> Option<&View> {
        self.last.as_ref()
    }

    /// Lets nobody in from now on.
    pub(super) fn close(&self) {
        self.edge.close();
    }

    /// What happened at this room's gate since the last sample, and what is inside now.
    pub(super) fn sample(&mut self) -> Activity {
        let sample = self.edge.sample();
        self.counts.uses += u64::from(sample.used);
        sample
    }

    /// Requests and connections of this room that are open at an instance.
    pub(super) fn busy_at(&self, instance: InstanceId) -> u32 {
        self.edge.busy_at(instance)
    }

    /// Visitors that wait in this room.
    pub(super) fn waiting(&self) -> u32 {
        self.edge.waiting()
    }

    /// This room's counts, as they are now. `seen` and `routed` are as they were set.
    pub(super) fn report(&mut self) -> Report {
        (self.counts.in_flight, self.counts.long) = self.edge.inside();
        self.counts.waiting = self.waiting();
        self.counts.age = self.began.elapsed().into();
        self.counts
    }

    /// The room acts by this envelope: its gate is as that says.
    pub(super) fn seen(&mut self, mark: Mark) {
        self.counts.seen = mark;
    }

    /// The routing of this envelope is in force on the room's way.
    pub(super) fn routed(&mut self, mark: Mark) {
        self.counts.routed = mark;
    }
}
