//! Hetzner Cloud's API for one project, from its published description: what that does not know is refused.

use http::Method;
use serde_json::{Value, json};

use std::collections::BTreeMap;

use super::billed::{
    Asked, Image, Manner, Order, Power, Refusal, Said, Server, Stand, Wish, World, said,
};

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
        (&Method::POST, ["v1", "servers"]) => create(world, asked),
        (&Method::DELETE, ["v1", "servers", server]) => destroy(world, id(server)),
        (&Method::POST, ["v1", "servers", server, "actions", "create_image"]) => {
            create_image(world, asked, id(server))
        }
        (&Method::GET, ["v1", "images"]) => images(world, asked),
        (&Method::GET, ["v1", "images", image]) => one_image(world, id(image)),
        (&Method::PUT, ["v1", "images", image]) => {
            let Some(body) = asked.json(&["labels", "description", "type"]) else {
                return invalid("the body is not an object of known fields");
            };
            match world.all().images.get_mut(&id(image)) {
                Some(image) => image.labels = labels(&body),
                None => return missing("image"),
            }
            one_image(world, id(image))
        }
        (&Method::DELETE, ["v1", "images", image]) => match world.all().images.remove(&id(image)) {
            Some(_) => said(204, &Value::Null),
            None => missing("image"),
        },
        (&Method::GET, ["v1", "primary_ips", address]) if asked.asks_only(&[]) => {
            // The IPv4 address stays when its server is deleted, the IPv6 network does not.
            let auto_delete = *address != "1";
            let address = json!({ "id": id(address), "auto_delete": auto_delete });
            said(200, &json!({ "primary_ip": address }))
        }
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
        "image": server.image.map(|id| json!({ "id": id, "type": "snapshot" })), "iso": null, "rescue_enabled": false, "backup_window": null,
        "protection": { "delete": false, "rebuild": false }, "labels": marks(server), "volumes": server.volumes,
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

fn marks(server: &Server) -> BTreeMap<&str, &str> {
    let marks = server.marks.iter();
    marks.filter_map(|mark| mark.split_once('=')).collect()
}

fn labels(body: &Value) -> BTreeMap<String, String> {
    let labels = body["labels"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    labels
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

/// Label keys and values are letters, digits, `-`, `_` and `.`, at most 63.
fn are_labels(labels: &BTreeMap<String, String>) -> bool {
    let plain = |text: &String| {
        let inner = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        text.len() <= 63 && text.bytes().all(inner)
    };
    labels.iter().all(|(key, value)| plain(key) && plain(value))
}

fn destroy(world: &World, id: u64) -> Said {
    match world.destroy(id) {
        Ok(()) => {
            let order = json!({
                "id": 5, "command": "delete_server", "status": "success", "progress": 100,
                "error": null, "resources": [],
            });
            said(200, &json!({ "action": order }))
        }
        Err(Refusal::Missing) => missing("server"),
        Err(_) => refused(423, "locked", "server is locked"),
    }
}

fn create_image(world: &World, asked: &Asked, id: u64) -> Said {
    let Some(body) = asked.json(&["type", "description", "labels"]) else {
        return invalid("the body is not an object of known fields");
    };
    let labels = labels(&body);
    if body["type"] != "snapshot" || !are_labels(&labels) {
        return refused(422, "invalid_input", "invalid type or labels");
    }
    match world.take(id, "create_image", "", labels) {
        Ok((order, image)) => {
            let all = world.all();
            let image = shown_image(image, &all.images[&image], all.manner);
            said(
                201,
                &json!({ "image": image, "action": shown_action(&order) }),
            )
        }
        Err(Refusal::Missing) => missing("server"),
        Err(_) => refused(423, "locked", "server is locked"),
    }
}

fn images(world: &World, asked: &Asked) -> Said {
    if !asked.asks_only(&[
        "page",
        "per_page",
        "type",
        "label_selector",
        "status",
        "sort",
    ]) {
        return invalid("unknown query parameter");
    }
    let Some((page, per_page)) = asked.page(25, 50) else {
        return invalid("page or per_page is out of range");
    };
    let all = world.all();
    let images = all.images.iter();
    let shown: Vec<Value> = images
        .map(|(id, it)| shown_image(*id, it, all.manner))
        .collect();
    drop(all);
    said(200, &paged("images", shown, page, per_page))
}

fn one_image(world: &World, id: u64) -> Said {
    let all = world.all();
    match all.images.get(&id) {
        Some(image) => said(200, &json!({ "image": shown_image(id, image, all.manner) })),
        None => missing("image"),
    }
}

fn shown_image(id: u64, image: &Image, manner: Manner) -> Value {
    let ready = image.ready && !manner.unready_snapshots;
    json!({
        "id": id, "name": null, "type": "snapshot", "description": "asleep",
        "status": if ready { "available" } else { "creating" },
        "image_size": (ready && !manner.empty_snapshots).then_some(0.72), "disk_size": 40,
        "created": "2026-09-08T13:44:08Z", "created_from": { "id": image.of, "name": "blog" },
        "bound_to": null, "labels": image.labels, "protection": { "delete": false },
    })
}

fn create(world: &World, asked: &Asked) -> Said {
    let known = [
        "name",
        "server_type",
        "image",
        "location",
        "labels",
        "networks",
        "firewalls",
        "ssh_keys",
        "public_net",
        "placement_group",
        "start_after_create",
        "user_data",
        "volumes",
    ];
    let Some(body) = asked.json(&known) else {
        return invalid("the body is not an object of known fields");
    };
    if let Some((status, told)) = world.all().manner.makes_nothing {
        return refused(status, "resource_limit_exceeded", told);
    }
    let labels = labels(&body);
    let good = body["server_type"] == "cx22" && body["location"] == "fsn1" && are_labels(&labels);
    let net = &body["public_net"];
    // The address that stayed is asked for again; the one that went is made anew.
    let net = net["enable_ipv4"] == true && net["ipv4"] == 1 && net["ipv6"].is_null();
    let image = body["image"].as_str().and_then(|id| id.parse().ok());
    let (Some(name), Some(image), true) = (body["name"].as_str(), image, good && net) else {
        return refused(
            422,
            "invalid_input",
            "invalid name, image, type, location or net",
        );
    };
    if world
        .all()
        .servers
        .values()
        .any(|server| server.name == name)
    {
        return refused(409, "uniqueness_error", "server name is already used");
    }
    let marks = labels.iter().map(|(key, value)| format!("{key}={value}"));
    let wish = Wish {
        name: name.into(),
        image,
        marks: marks.collect(),
    };
    let Some((id, order)) = world.grant(wish, "create_server") else {
        return missing("image");
    };
    let all = world.all();
    let mut server = shown(id, &all.servers[&id], all.manner.tells_locked);
    server["status"] = json!("initializing");
    let action = shown_action(&order);
    let made = json!({ "server": server, "action": action, "next_actions": [], "root_password": "a-root-password" });
    said(201, &made)
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
