//! `POST /__anteroom/turn`: the waiting page takes a number, and asks whether it is its turn.
//!
//! The number is in a ticket that the page carries, signed and of one wake; here nothing is kept of its holder before it is
//! let in. Only this site's own page may ask, which no other site's can pretend: it says so in a header of its own.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use super::{Pace, Pacing, Place, Stand};
use crate::engine::client::household;
use crate::engine::ramp::Turn;
use crate::engine::time::Span;
use crate::engine::view::View;
use crate::http::reply::{self, Reply};
use crate::http::room::Room;
use crate::http::visit::Visit;
use crate::http::wake;

const PAGE: &str = "x-anteroom-page";
const TICKET: &str = "x-anteroom-ticket";

/// What the page is told.
pub(in crate::http) enum Told {
    /// Nothing is to be waited for: it looks whether the site is there, and opens it.
    Free,
    /// It is let in. `opens`: the site is behind this room, so that there is nothing to look for.
    Go { opens: bool },
    /// It waits, with this ticket, about so long still once the app is ready.
    Wait(Option<(String, Span)>),
}

/// Answers one question.
pub(in crate::http) async fn answer(room: &Arc<Room>, visit: &Visit, request: &Parts) -> Reply {
    let view = visit.found.site.handle.view();
    let headers = &request.headers;
    if !headers.contains_key(PAGE) || !wake::is_same_origin(request) {
        return reply::wrong_origin(&view, room.now());
    }
    let told = match (&visit.found.pace, visit.found.site.ramp) {
        (Some(pace), Some(pacing)) => ask(pace, pacing, room, visit, headers).await,
        _ => Told::Free,
    };
    reply::turn(view.phase, told)
}

async fn ask(
    pace: &Arc<Pace>,
    pacing: Pacing,
    room: &Arc<Room>,
    visit: &Visit,
    headers: &HeaderMap,
) -> Told {
    let handle = &visit.found.site.handle;
    let view = handle.view();
    let wake = match pace.stand(&view) {
        Stand::Open => return Told::Free,
        Stand::Closed(None) => return Told::Wait(None),
        Stand::Closed(Some(wake)) | Stand::Fresh(wake, _) => wake,
    };
    let ticket = headers.get(TICKET).and_then(|ticket| ticket.to_str().ok());
    let held = ticket.and_then(|ticket| room.keeper.number(handle.service(), wake, ticket));
    let (turn, number, place) = pace.ask(room, &view, held, visit.seen.hop.client);
    if let Some(place) = place {
        place.comes(room).await;
    }
    match turn {
        Turn::Later(wait) => {
            let ticket = room.keeper.ticket(handle.service(), wake, number);
            Told::Wait(Some((ticket, wait)))
        }
        Turn::Go | Turn::Soon => Told::Go {
            opens: pacing.sees_all,
        },
    }
}

impl Pace {
    /// The turn of whoever holds this number, or takes one.
    fn ask(
        self: &Arc<Pace>,
        room: &Arc<Room>,
        view: &View,
        held: Option<u64>,
        client: IpAddr,
    ) -> (Turn, u64, Option<Place>) {
        let (now, who) = (room.now(), household(client));
        let mut keeping = self.look(room, view, now);
        if self.is_open(view) {
            return (Turn::Go, held.unwrap_or_default(), None);
        }
        let number = keeping.ramp.number(held, who);
        let id = keeping.id();
        let turn = keeping.ramp.turn(now, number, who, id);
        let place = (turn == Turn::Soon).then(|| self.place(&mut keeping, id));
        self.call(&mut keeping, now);
        (turn, number, place)
    }
}
