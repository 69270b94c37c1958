//! `anteroom preview`: every state of every page, in every language, on loopback, for those who write a theme or a
//! translation. The folder of a theme is read again for each page, so that a change is seen at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::out;
use crate::app::theme;
use crate::page::samples::{self, Sample};
use crate::page::{Lang, Page};

/// What it is called with.
#[derive(Debug, Args)]
pub(super) struct Preview {
    /// The folder of a theme; without it the built-in pages are shown.
    #[arg(long)]
    theme: Option<PathBuf>,
    /// The port on loopback; 0 takes any free one.
    #[arg(long, default_value_t = 8090)]
    port: u16,
}

/// Serves until the process is ended.
///
/// # Errors
/// When the port can't be listened on, or the theme can't be used.
pub(super) async fn preview(what: Preview) -> anyhow::Result<()> {
    if let Some(folder) = &what.theme {
        theme::read(folder)?;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, what.port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}"))?;
    out::line(&format!(
        "all pages: http://{}/ (end with Ctrl-C)",
        listener.local_addr()?
    ));
    let folder = Arc::new(what.theme);
    loop {
        let (stream, _) = listener.accept().await?;
        let folder = Arc::clone(&folder);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&request, folder.as_ref().as_ref());
                async { Ok::<_, std::convert::Infallible>(answer) }
            });
            // A connection that breaks off is the client's affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// What the preview answers. What the page's script asks for is answered for the page that it stands on.
fn answer(request: &Request<Incoming>, folder: Option<&PathBuf>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let sample = |path: &str| named(path.trim_start_matches('/'));
    let asks = || {
        let page = request.headers().get(header::REFERER)?.to_str().ok()?;
        sample(page.parse::<http::Uri>().ok()?.path())
    };
    let lang = lang(request.uri().query().unwrap_or_default());
    match (path, request.method()) {
        ("/", _) => typed("text/html; charset=utf-8", index(lang)),
        ("/__anteroom/status", _) => match asks().and_then(|sample| sample.status()) {
            Some(status) => typed("application/json", status),
            None => nothing(),
        },
        ("/__anteroom/events", _) => match asks().and_then(|sample| sample.event()) {
            Some(event) => typed("text/event-stream", event),
            None => nothing(),
        },
        ("/__anteroom/wake", &Method::POST) => asks().map_or_else(nothing, |sample| wake(&sample)),
        (path, _) => match sample(path) {
            Some(sample) => page(&sample, lang, folder),
            None => nothing(),
        },
    }
}

fn named(name: &str) -> Option<Sample> {
    samples::all().into_iter().find(|it| it.name == name)
}

fn lang(query: &str) -> Lang {
    let tag = query.split('&').find_map(|pair| pair.strip_prefix("lang="));
    tag.and_then(Lang::named).unwrap_or(Lang::ENGLISH)
}

/// The page of a sample; a theme that can't make it is told instead.
fn page(sample: &Sample, lang: Lang, folder: Option<&PathBuf>) -> Response<Full<Bytes>> {
    let theme = match folder.map(|folder| theme::read(folder)).transpose() {
        Ok(theme) => theme,
        Err(error) => return typed("text/plain; charset=utf-8", format!("{error:#}\n")),
    };
    let Page { html, csp, .. } = sample.page_in(lang, theme.as_ref(), "v2.preview");
    let mut reply = typed("text/html; charset=utf-8", html);
    reply
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, csp);
    reply
}

/// What the room would answer to the page's wake.
fn wake(sample: &Sample) -> Response<Full<Bytes>> {
    let Some((status, body)) = sample.answer.to_wake() else {
        return nothing();
    };
    let body = body.map(Bytes::from).or_else(|| sample.status());
    let mut reply = typed("application/json", body.unwrap_or_default());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    reply
}

fn typed(kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(body.into()));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    // With it, the page takes every answer for the room's, and stays.
    headers.insert(
        HeaderName::from_static("x-anteroom"),
        HeaderValue::from_static("preview"),
    );
    reply
}

fn nothing() -> Response<Full<Bytes>> {
    let mut reply = typed("text/plain; charset=utf-8", "There is nothing here.\n");
    *reply.status_mut() = StatusCode::NOT_FOUND;
    reply
}

/// Leads to every page, in this language and the others.
fn index(lang: Lang) -> String {
    let pages = samples::all().into_iter().map(|sample| {
        let (name, lang) = (sample.name, lang.tag());
        format!("<li><a href=\"/{name}?lang={lang}\">{name}</a></li>\n")
    });
    let pages: String = pages.collect();
    let langs = Lang::all().map(|it| match it == lang {
        true => format!("<strong>{}</strong>\n", it.tag()),
        false => format!("<a href=\"/?lang={0}\">{0}</a>\n", it.tag()),
    });
    let langs: String = langs.collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>All pages</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <style>body{{font:1rem/1.6 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         ul{{columns:16rem;padding-inline-start:1.25rem}}nav a,nav strong{{margin-inline-end:.5rem}}</style>\n\
         <h1>All pages</h1>\n<nav aria-label=\"Language\">{langs}</nav>\n<ul>\n{pages}</ul>\n"
    )
}
