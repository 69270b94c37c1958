//! One request's way through the room: who asks, for what, and what it gets.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method, Request, header};
use hyper::body::Incoming;

use super::forward::{self, Outgoing, host_of};
use super::headers::Hop;
use super::hold;
use super::paths;
use super::reply::{self, Reply, Trouble};
use super::room::{Found, Room};
use super::tunnel;
use crate::driver::handle::Command;
use crate::engine::client;
use crate::engine::contract::{Trigger, TriggerBy};
use crate::engine::route::{self, Decision, Form, Kind, Shape};
use crate::engine::time::Span;
use crate::signal::edge::Use;
use crate::telemetry::metrics;

/// What is known of a request.
pub(super) struct Visit {
    /// Which site it is for.
    pub(super) found: Found,
    /// The host as it was asked for, with its port.
    pub(super) asked_host: String,
    /// Who asks.
    pub(super) hop: Hop,
    /// What kind of request it is.
    pub(super) kind: Kind,
    /// Whether Traefik itself asks, on its errors path.
    pub(super) by_errors_path: bool,
    ignored: bool,
}

/// Answers one request.
pub(super) async fn answer(room: Arc<Room>, peer: IpAddr, request: Request<Incoming>) -> Reply {
    if request.method() == Method::CONNECT {
        return reply::no_tunnel();
    }
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        // RFC 9112 §3.2; two hosts are how a request is made to mean two things.
        return reply::bad_request();
    }
    let (parts, body) = request.into_parts();
    let visit = look(&room, peer, &parts);
    let request = Request::from_parts(parts, body);
    let Some(visit) = visit else {
        return reply::unknown_host();
    };
    let site = Arc::clone(&visit.found.site);
    let (reply, kind) = match request.uri().path().starts_with(paths::PREFIX) {
        true => (
            Box::pin(paths::answer(&room, visit, request)).await,
            "own_path",
        ),
        false => {
            let kind = visit.kind.form().as_str();
            (visit.go(&room, request).await, kind)
        }
    };
    if reply.headers().contains_key(reply::MARK) {
        metrics().answered(site.handle.service(), kind);
    }
    reply
}

fn look(room: &Room, peer: IpAddr, parts: &Parts) -> Option<Visit> {
    let asked_host = host_of(&parts.uri, &parts.headers)
        .and_then(|host| host.to_str().map(str::to_owned).ok())
        .unwrap_or_default();
    let found = find(room, &parts.headers, &asked_host)?;
    let forwarded_for: Vec<&str> = parts
        .headers
        .get_all("x-forwarded-for")
        .iter()
        // What is no text can't be an address: the walk stops at it.
        .map(|line| line.to_str().unwrap_or("?"))
        .collect();
    let trusted = room.trusted();
    let peer_trusted = client::trusts(&trusted, peer);
    let on_errors_path = parts.uri.path() == "/__anteroom/error";
    let client = match on_errors_path {
        true => client::address_on_errors_path(
            peer,
            &forwarded_for,
            text(&parts.headers, "x-real-ip"),
            &trusted,
        ),
        false => client::address(peer, &forwarded_for, &trusted),
    };
    let ignored = text(&parts.headers, "user-agent").is_some_and(|agent| found.site.ignores(agent));
    Some(Visit {
        hop: Hop {
            peer,
            client,
            trusted: peer_trusted,
        },
        kind: Kind::of(&shape(parts)),
        by_errors_path: on_errors_path && peer_trusted && forwarded_for.is_empty(),
        found,
        asked_host,
        ignored,
    })
}

fn find(room: &Room, headers: &HeaderMap, asked_host: &str) -> Option<Found> {
    let host = without_port(asked_host).to_ascii_lowercase();
    let sites = room.sites();
    let named = match (
        text(headers, "x-anteroom-service"),
        headers.get("x-anteroom-key"),
    ) {
        (Some(name), Some(key)) => sites.of_name(name, key.as_bytes(), &host),
        _ => None,
    };
    named.or_else(|| sites.of_host(&host))
}

/// `blog.test:8080`, `blog.test.` and `[::1]:8080` without what isn't the host.
fn without_port(host: &str) -> &str {
    let host = match host.rsplit_once(':') {
        Some((before, port))
            if port.bytes().all(|c| c.is_ascii_digit()) && !before.ends_with(':') =>
        {
            before
        }
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn shape(parts: &Parts) -> Shape<'_> {
    let headers = &parts.headers;
    let get = |name| text(headers, name);
    Shape {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        accept: get("accept"),
        fetch_mode: get("sec-fetch-mode"),
        fetch_dest: get("sec-fetch-dest"),
        purpose: get("sec-purpose")
            .or_else(|| get("purpose"))
            .or_else(|| get("x-purpose"))
            .or_else(|| get("x-moz")),
        content_type: get("content-type"),
        by_script: get("x-requested-with")
            .is_some_and(|by| by.eq_ignore_ascii_case("xmlhttprequest")),
        upgrade: tunnel::wanted(headers),
    }
}

impl Visit {
    async fn go(self, room: &Arc<Room>, request: Request<Incoming>) -> Reply {
        let handle = &self.found.site.handle;
        let rules = self.found.site.rules(self.hop.client, self.ignored);
        let decision = match route::decide(&handle.view(), self.kind, &rules) {
            Decision::Forward => match handle.enter(self.what()) {
                Some((upstream, pass)) => {
                    let outgoing = Outgoing::new(request, self.hop);
                    let answer = forward::forward(room, upstream, pass, outgoing).await;
                    return answer.unwrap_or_else(|what| self.failed(room, what));
                }
                None => route::while_closed(&handle.view(), self.kind, &rules),
            },
            decision => decision,
        };
        self.at_closed_gate(room, request, decision).await
    }

    /// What the request is to the idle clock.
    fn what(&self) -> Use {
        match self.ignored || self.kind == Kind::Prefetch {
            true => Use::Passing,
            false => Use::Qualifying,
        }
    }

    async fn at_closed_gate(
        &self,
        room: &Arc<Room>,
        request: Request<Incoming>,
        decision: Decision,
    ) -> Reply {
        match decision {
            Decision::Hold { wake, .. } => {
                let path = request.uri().path().to_owned();
                let length = self.found.site.hold.unwrap_or(Span::ZERO);
                let outgoing = Outgoing::new(request, self.hop);
                let wakes = || {
                    if wake {
                        self.trigger(&path);
                    }
                };
                let held = Box::pin(hold::hold(room, &self.found, outgoing, length, wakes)).await;
                held.unwrap_or_else(|what| self.failed(room, what))
            }
            Decision::Wait { form, wake } => {
                if wake {
                    self.trigger(request.uri().path());
                }
                self.wait(room, form)
            }
            Decision::Deny { form } => {
                let view = self.found.site.handle.view();
                reply::deny(&self.found, &view, room.now(), form)
            }
            // A closed gate lets nobody through; the page is right whatever comes next.
            Decision::Forward => self.wait(room, self.kind.form()),
        }
    }

    fn trigger(&self, path: &str) {
        self.found.site.handle.trigger(Trigger {
            by: TriggerBy::Request,
            who: client::network(self.hop.client).to_string(),
            path: paths::ledger_path(path),
        });
    }

    /// The answer to a client that waits.
    pub(super) fn wait(&self, room: &Room, form: Form) -> Reply {
        let (found, now) = (&self.found, room.now());
        let view = found.site.handle.view();
        reply::wait(found, &view, now, form, || {
            found.page(&view, now, &room.keeper, form == Form::UnsentPage)
        })
    }

    /// The answer when the app can't serve this request. When it seems gone, its task is told to look.
    fn failed(&self, room: &Room, what: Trouble) -> Reply {
        let (found, now) = (&self.found, room.now());
        if matches!(what, Trouble::Unreached | Trouble::Broken) {
            // Busy: it looks already.
            let _ = found.site.handle.command(Command::Suspect);
        }
        match (what, self.kind.form()) {
            // Not sent: the page waits for the app and comes back by itself.
            (Trouble::Unreached, Form::Page | Form::UnsentPage) => {
                self.wait(room, self.kind.form())
            }
            (_, form) => reply::trouble(found, &found.site.handle.view(), now, form, what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_without_its_port() {
        for (asked, host) in [
            ("blog.test", "blog.test"),
            ("blog.test:8080", "blog.test"),
            ("blog.test.", "blog.test"),
            ("blog.test.:80", "blog.test"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(without_port(asked), host, "{asked}");
        }
    }
}
