//! DigitalOcean's API for one account, from its published description: what that does not know is refused.

use http::Method;
use serde_json::{Value, json};

use super::billed::{Asked, Order, Power, Refusal, Said, Server, Stand, World, said};

/// A cloud without machines.
pub(crate) fn start() -> World {
    World::start(speak)
}

fn speak(world: &World, asked: &Asked) -> Said {
    if !asked.authorized() {
        return refused(401, "unauthorized", "Unable to authenticate you");
    }
    let path: Vec<&str> = asked.head.uri.path().split('/').skip(1).collect();
    let id = |text: &str| text.parse::<u64>().unwrap_or_default();
    match (&asked.head.method, path.as_slice()) {
        (&Method::GET, ["v2", "droplets"]) => droplets(world, asked),
        (&Method::GET, ["v2", "droplets", droplet]) if asked.asks_only(&[]) => {
            one(world, id(droplet))
        }
        (&Method::GET, ["v2", "droplets", droplet, "actions"]) => {
            actions(world, asked, id(droplet))
        }
        (&Method::POST, ["v2", "droplets", droplet, "actions"]) => act(world, asked, id(droplet)),
        (&Method::GET, ["v2", "actions", action]) if asked.asks_only(&[]) => {
            match world.all().orders.get(&id(action)) {
                Some(order) => said(200, &json!({ "action": shown_action(order) })),
                None => missing(),
            }
        }
        _ => missing(),
    }
}

fn droplets(world: &World, asked: &Asked) -> Said {
    if !asked.asks_only(&["page", "per_page", "tag_name", "name"]) {
        return refused(400, "bad_request", "unknown query parameter");
    }
    let Some((page, per_page)) = asked.page(20, 200) else {
        return refused(400, "bad_request", "page or per_page is out of range");
    };
    let all = world.all();
    let listed = all.listed();
    let shown: Vec<Value> = listed
        .iter()
        .map(|(id, server)| shown(*id, server, all.manner.tells_locked))
        .collect();
    drop(all);
    said(200, &paged("droplets", shown, page, per_page, world))
}

fn paged(what: &str, all: Vec<Value>, page: usize, per_page: usize, world: &World) -> Value {
    let total = all.len();
    let here: Vec<Value> = all
        .into_iter()
        .skip((page - 1) * per_page)
        .take(per_page)
        .collect();
    let mut body = json!({ what: here, "links": {}, "meta": { "total": total } });
    if page * per_page < total {
        let next = format!(
            "{}/v2/{what}?page={}&per_page={per_page}",
            world.url(),
            page + 1
        );
        body["links"] = json!({ "pages": { "next": next, "last": next } });
    }
    body
}

fn one(world: &World, id: u64) -> Said {
    let all = world.all();
    match all.servers.get(&id) {
        Some(server) => {
            let droplet = shown(id, server, all.manner.tells_locked);
            said(200, &json!({ "droplet": droplet }))
        }
        None => missing(),
    }
}

fn actions(world: &World, asked: &Asked, id: u64) -> Said {
    if !asked.asks_only(&["page", "per_page"]) {
        return refused(400, "bad_request", "unknown query parameter");
    }
    let Some((page, per_page)) = asked.page(20, 200) else {
        return refused(400, "bad_request", "page or per_page is out of range");
    };
    let all = world.all();
    if !all.servers.contains_key(&id) {
        return missing();
    }
    // The newest first.
    let own = all.orders.values().rev().filter(|order| order.server == id);
    let shown: Vec<Value> = own.map(shown_action).collect();
    drop(all);
    said(200, &paged("actions", shown, page, per_page, world))
}

fn act(world: &World, asked: &Asked, id: u64) -> Said {
    let Some(body) = asked.json(&["type"]) else {
        let told = "the body is not an object of known attributes, sent as application/json";
        return unprocessable(told);
    };
    let kind = body["type"].as_str().unwrap_or_default();
    let power = match kind {
        "power_on" => Power::On,
        "shutdown" => Power::Shutdown,
        "power_off" => Power::Off,
        _ => return unprocessable("Type is not included in the list"),
    };
    match world.power(id, kind, power) {
        Ok(order) => said(201, &json!({ "action": shown_action(&order) })),
        Err(Refusal::Missing) => missing(),
        Err(Refusal::Busy) => unprocessable("Droplet already has a pending event."),
        Err(Refusal::Already) if power == Power::On => {
            unprocessable("Droplet is already powered on.")
        }
        Err(Refusal::Already) => unprocessable("Droplet is currently powered off."),
    }
}

fn shown(id: u64, server: &Server, tells_locked: bool) -> Value {
    json!({
        "id": id, "name": server.name, "memory": 1024, "vcpus": 1, "disk": 25,
        "locked": tells_locked && server.busy.is_some(),
        "status": if server.shows_on { "active" } else { "off" },
        "created_at": "2020-07-21T18:37:44Z", "features": ["private_networking"],
        "backup_ids": [], "next_backup_window": null, "snapshot_ids": [], "volume_ids": [],
        "image": { "id": 63663980, "name": "20.04 (LTS) x64", "slug": "ubuntu-20-04-x64" },
        "size_slug": "s-1vcpu-1gb", "region": { "slug": "nyc3", "name": "New York 3" }, "tags": [],
        "vpc_uuid": "760e09ef-dc84-11e8-981e-3cfdfeaae000",
        "networks": {
            "v4": [
                { "ip_address": server.private, "netmask": "255.255.0.0", "type": "private" },
                { "ip_address": server.public, "netmask": "255.255.240.0", "type": "public" },
            ],
            "v6": [],
        },
    })
}

fn shown_action(order: &Order) -> Value {
    let (status, completed) = match order.stand {
        Stand::UnderWay => ("in-progress", Value::Null),
        Stand::Done => ("completed", json!("2020-07-21T18:38:00Z")),
        Stand::Failed => ("errored", json!("2020-07-21T18:38:00Z")),
    };
    json!({
        "id": order.id, "status": status, "type": order.name, "started_at": "2020-07-21T18:37:44Z",
        "completed_at": completed, "resource_id": order.server, "resource_type": "droplet",
        "region_slug": "nyc3",
    })
}

fn missing() -> Said {
    let told = "The resource you were accessing could not be found.";
    refused(404, "not_found", told)
}

fn unprocessable(told: &str) -> Said {
    refused(422, "unprocessable_entity", told)
}

fn refused(status: u16, id: &str, told: &str) -> Said {
    let request = "4d9d8375-3c56-4925-a3e7-eb137fed17e9";
    said(
        status,
        &json!({ "id": id, "message": told, "request_id": request }),
    )
}
