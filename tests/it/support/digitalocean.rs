//! DigitalOcean's API for one account, from its published description: what that does not know is refused.

use http::Method;
use serde_json::{Value, json};

use super::billed::{Asked, Image, Order, Power, Refusal, Said, Server, Stand, Wish, World, said};

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
        (&Method::POST, ["v2", "droplets"]) => create(world, asked),
        (&Method::DELETE, ["v2", "droplets", droplet]) => match world.destroy(id(droplet)) {
            Ok(()) => nothing(),
            Err(Refusal::Missing) => missing(),
            Err(_) => unprocessable("Droplet already has a pending event."),
        },
        (&Method::GET, ["v2", "snapshots"]) => snapshots(world, asked),
        (&Method::GET, ["v2", "snapshots", snapshot]) => of_image(
            world,
            id(snapshot),
            |id, it| json!({ "snapshot": shown_snapshot(id, it, !world.all().manner.empty_snapshots) }),
        ),
        (&Method::DELETE, ["v2", "snapshots", snapshot]) => {
            match world.all().images.remove(&id(snapshot)) {
                Some(_) => nothing(),
                None => missing(),
            }
        }
        (&Method::GET, ["v2", "images", image]) => of_image(
            world,
            id(image),
            |id, it| json!({ "image": shown_image(world, id, it) }),
        ),
        (&Method::PUT, ["v2", "images", image]) => rename(world, asked, id(image)),
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
    let Some(body) = asked.json(&["type", "name"]) else {
        let told = "the body is not an object of known attributes, sent as application/json";
        return unprocessable(told);
    };
    let kind = body["type"].as_str().unwrap_or_default();
    if kind == "snapshot" {
        let name = body["name"].as_str().unwrap_or_default();
        return match world.take(id, kind, name, std::collections::BTreeMap::new()) {
            Ok((order, _)) => said(201, &json!({ "action": shown_action(&order) })),
            Err(Refusal::Missing) => missing(),
            Err(_) => unprocessable("Droplet already has a pending event."),
        };
    }
    if body.get("name").is_some() {
        return unprocessable("Name is not an attribute of this action");
    }
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
        "backup_ids": [], "next_backup_window": null, "snapshot_ids": [], "volume_ids": server.volumes.iter().map(u64::to_string).collect::<Vec<_>>(),
        "image": { "id": server.image.unwrap_or(63_663_980), "name": "an image" },
        "size_slug": "s-1vcpu-1gb", "region": { "slug": "nyc3", "name": "New York 3" }, "tags": server.marks,
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

fn create(world: &World, asked: &Asked) -> Said {
    let known = [
        "name",
        "region",
        "size",
        "image",
        "ssh_keys",
        "tags",
        "vpc_uuid",
        "ipv6",
        "monitoring",
        "backups",
        "public_networking",
        "user_data",
    ];
    let Some(body) = asked.json(&known) else {
        return unprocessable("the body is not an object of known attributes");
    };
    if let Some((status, told)) = world.all().manner.makes_nothing {
        return refused(status, "unprocessable_entity", told);
    }
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let (Some(name), Some("nyc3"), Some("s-1vcpu-1gb"), Some(image)) = (
        text("name"),
        body["region"].as_str(),
        body["size"].as_str(),
        body["image"].as_u64(),
    ) else {
        return unprocessable("You specified an invalid name, region, size or image");
    };
    let tags = body["tags"].as_array().into_iter().flatten();
    let marks = tags
        .filter_map(|tag| tag.as_str().map(str::to_owned))
        .collect();
    let wish = Wish { name, image, marks };
    let Some((id, order)) = world.grant(wish, "create") else {
        return unprocessable("You specified an invalid image for Droplet creation.");
    };
    let href = format!("{}/v2/actions/{}", world.url(), order.id);
    let links = json!({ "actions": [{ "id": order.id, "rel": "create", "href": href }] });
    let all = world.all();
    let mut droplet = shown(id, &all.servers[&id], all.manner.tells_locked);
    droplet["status"] = json!("new");
    said(202, &json!({ "droplet": droplet, "links": links }))
}

fn snapshots(world: &World, asked: &Asked) -> Said {
    if !asked.asks_only(&["page", "per_page", "resource_type"]) {
        return refused(400, "bad_request", "unknown query parameter");
    }
    let Some((page, per_page)) = asked.page(20, 200) else {
        return refused(400, "bad_request", "page or per_page is out of range");
    };
    let all = world.all();
    // One that is still made is in no list.
    let ready = all.images.iter().filter(|(_, image)| image.ready);
    let sized = !all.manner.empty_snapshots;
    let shown: Vec<Value> = ready
        .map(|(id, it)| shown_snapshot(*id, it, sized))
        .collect();
    drop(all);
    said(200, &paged("snapshots", shown, page, per_page, world))
}

fn rename(world: &World, asked: &Asked, id: u64) -> Said {
    let Some(body) = asked.json(&["name", "distribution", "description"]) else {
        return unprocessable("the body is not an object of known attributes");
    };
    match world.all().images.get_mut(&id) {
        Some(image) => image.name = body["name"].as_str().unwrap_or_default().into(),
        None => return missing(),
    }
    of_image(
        world,
        id,
        |id, it| json!({ "image": shown_image(world, id, it) }),
    )
}

fn of_image(world: &World, id: u64, shown: impl Fn(u64, &Image) -> Value) -> Said {
    let image = world.all().images.get(&id).filter(|it| it.ready).cloned();
    match image {
        Some(image) => said(200, &shown(id, &image)),
        None => missing(),
    }
}

fn shown_snapshot(id: u64, image: &Image, sized: bool) -> Value {
    json!({
        "id": id.to_string(), "name": image.name, "created_at": "2020-07-28T16:47:44Z",
        "regions": ["nyc3"], "min_disk_size": 25, "size_gigabytes": if sized { 2.34 } else { 0.0 },
        "resource_id": image.of.to_string(), "resource_type": "droplet", "tags": [],
    })
}

fn shown_image(world: &World, id: u64, image: &Image) -> Value {
    let manner = world.all().manner;
    json!({
        "id": id, "name": image.name, "type": "snapshot", "distribution": "Ubuntu", "slug": null,
        "public": false, "regions": ["nyc3"], "created_at": "2020-07-28T16:47:44Z",
        "min_disk_size": 25, "size_gigabytes": if manner.empty_snapshots { 0.0 } else { 2.34 },
        "description": "", "tags": [],
        "status": if manner.unready_snapshots { "pending" } else { "available" },
        "error_message": "",
    })
}

fn nothing() -> Said {
    let mut answer = said(204, &Value::Null);
    *answer.body_mut() = http_body_util::Full::default();
    answer
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
