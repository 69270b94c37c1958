//! Hetzner Cloud's API for one project, from its published description: what that does not know is refused.

use http::Method;
use serde_json::{Value, json};

use super::billed::{Asked, Order, Power, Refusal, Said, Server, Stand, World, said};

/// A cloud without machines.
pub(crate) fn start() -> World {
    World::start(speak)
}

fn speak(world: &World, asked: &Asked) -> Said {
    if !asked.authorized() {
        return refused(401, "unauthorized", "unable to authenticate");
    }
    let path: Vec<&str> = asked.head.uri.path().split('/').skip(1).collect();
    let id = |text: &str| text.parse::<u64>().unwrap_or_default();
    match (&asked.head.method, path.as_slice()) {
        (&Method::GET, ["v1", "servers"]) => servers(world, asked),
        (&Method::GET, ["v1", "servers", server]) if asked.asks_only(&[]) => one(world, id(server)),
        (&Method::GET, ["v1", "servers", server, "actions"]) => actions(world, asked, id(server)),
        (&Method::POST, ["v1", "servers", server, "actions", name]) => {
            act(world, asked, id(server), name)
        }
        (&Method::GET, ["v1", "actions", action]) if asked.asks_only(&[]) => {
            match world.all().orders.get(&id(action)) {
                Some(order) => said(200, &json!({ "action": shown_action(order) })),
                None => missing("action"),
            }
        }
        _ => missing("page"),
    }
}

fn servers(world: &World, asked: &Asked) -> Said {
    if !asked.asks_only(&[
        "page",
        "per_page",
        "label_selector",
        "name",
        "status",
        "sort",
    ]) {
        return invalid("unknown query parameter");
    }
    let Some((page, per_page)) = asked.page(25, 50) else {
        return invalid("page or per_page is out of range");
    };
    let all = world.all();
    let listed = all.listed();
    let shown: Vec<Value> = listed
        .iter()
        .map(|(id, server)| shown(*id, server, all.manner.tells_locked))
        .collect();
    drop(all);
    said(200, &paged("servers", shown, page, per_page))
}

fn paged(what: &str, all: Vec<Value>, page: usize, per_page: usize) -> Value {
    let total = all.len();
    let last = total.div_ceil(per_page).max(1);
    let pages = all.into_iter().skip((page - 1) * per_page);
    let here: Vec<Value> = pages.take(per_page).collect();
    json!({
        what: here,
        "meta": { "pagination": {
            "page": page, "per_page": per_page, "total_entries": total, "last_page": last,
            "previous_page": (page > 1).then(|| page - 1),
            "next_page": (page < last).then(|| page + 1),
        } },
    })
}

fn one(world: &World, id: u64) -> Said {
    let all = world.all();
    match all.servers.get(&id) {
        Some(server) => {
            let server = shown(id, server, all.manner.tells_locked);
            said(200, &json!({ "server": server }))
        }
        None => missing("server"),
    }
}

fn actions(world: &World, asked: &Asked, id: u64) -> Said {
    if !asked.asks_only(&["page", "per_page", "status", "sort"]) {
        return invalid("unknown query parameter");
    }
    let Some((page, per_page)) = asked.page(25, 50) else {
        return invalid("page or per_page is out of range");
    };
    let all = world.all();
    if !all.servers.contains_key(&id) {
        return missing("server");
    }
    let wanted = asked.query.get("status").cloned();
    let own = all.orders.values().filter(|order| order.server == id);
    let shown = own.map(shown_action);
    let shown = shown.filter(|it| {
        wanted
            .as_ref()
            .is_none_or(|wanted| it["status"] == **wanted)
    });
    let shown: Vec<Value> = shown.collect();
    drop(all);
    said(200, &paged("actions", shown, page, per_page))
}

fn act(world: &World, asked: &Asked, id: u64, name: &str) -> Said {
    if !asked.body.is_empty() || !asked.asks_only(&[]) {
        return invalid("this action takes no body");
    }
    let (command, power) = match name {
        "poweron" => ("start_server", Power::On),
        "shutdown" => ("shutdown_server", Power::Shutdown),
        "poweroff" => ("stop_server", Power::Off),
        _ => return missing("action"),
    };
    match world.power(id, command, power) {
        Ok(order) => said(201, &json!({ "action": shown_action(&order) })),
        Err(Refusal::Missing) => missing("server"),
        Err(Refusal::Busy) => refused(423, "locked", "server is locked"),
        Err(Refusal::Already) => refused(409, "conflict", "server is in that state already"),
    }
}

fn shown(id: u64, server: &Server, tells_locked: bool) -> Value {
    json!({
        "id": id, "name": server.name, "status": if server.shows_on { "running" } else { "off" },
        "created": "2016-01-30T23:55:00+00:00", "locked": tells_locked && server.busy.is_some(),
        "public_net": {
            "ipv4": { "id": 1, "ip": server.public, "blocked": false, "dns_ptr": "blog.example.com" },
            "ipv6": { "id": 2, "ip": "2001:db8::/64", "blocked": false, "dns_ptr": [] },
            "floating_ips": [], "firewalls": [],
        },
        "private_net": [{
            "network": 4711, "ip": server.private, "alias_ips": [], "mac_address": "86:00:ff:2a:7d:e1",
        }],
        "server_type": { "id": 1, "name": "cx22", "cores": 2, "memory": 4.0, "disk": 40 },
        "location": { "id": 1, "name": "fsn1" },
        "image": null, "iso": null, "rescue_enabled": false, "backup_window": null,
        "protection": { "delete": false, "rebuild": false }, "labels": {}, "volumes": [],
        "placement_group": null, "primary_disk_size": 40,
    })
}

fn shown_action(order: &Order) -> Value {
    let (status, progress, error) = match order.stand {
        Stand::UnderWay => ("running", 50, Value::Null),
        Stand::Done => ("success", 100, Value::Null),
        Stand::Failed => {
            let error = json!({ "code": "action_failed", "message": "Action failed" });
            ("error", 100, error)
        }
    };
    json!({
        "id": order.id, "command": order.name, "status": status, "progress": progress,
        "started": "2016-01-30T23:55:00+00:00", "finished": null, "error": error,
        "resources": [{ "id": order.server, "type": "server" }],
    })
}

fn missing(what: &str) -> Said {
    refused(404, "not_found", &format!("{what} not found"))
}

fn invalid(told: &str) -> Said {
    refused(400, "invalid_input", told)
}

fn refused(status: u16, code: &str, told: &str) -> Said {
    let error = json!({ "code": code, "message": told, "details": null });
    said(status, &json!({ "error": error }))
}
