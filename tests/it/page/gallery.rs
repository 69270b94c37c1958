//! A room in which one sample of the pages hangs at a time: it shows that page at every address, and answers the
//! page's script as the sample says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anteroom::page::samples::Sample;
use anteroom::page::{Lang, Theme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::room::{answer, html, ours, read};

/// The room.
pub(super) struct Gallery {
    pub(super) address: SocketAddr,
    hung: Arc<Mutex<Hung>>,
}

/// What hangs there, and what was asked since.
struct Hung {
    sample: Sample,
    lang: Lang,
    theme: Option<Arc<Theme>>,
    asked: Vec<String>,
}

impl Gallery {
    pub(super) async fn open(first: Sample) -> Gallery {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hung = Arc::new(Mutex::new(Hung {
            sample: first,
            lang: Lang::ENGLISH,
            theme: None,
            asked: Vec::new(),
        }));
        let shared = Arc::clone(&hung);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A browser may go away at any time.
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { drop(serve(stream, &shared).await) });
            }
        });
        Gallery { address, hung }
    }

    /// Everything is shown in this theme from now on.
    pub(super) fn wears(&self, theme: Arc<Theme>) {
        self.hung.lock().unwrap().theme = Some(theme);
    }

    /// Hangs this one in English, and says where it can be seen.
    pub(super) fn hangs(&self, sample: &Sample) -> String {
        self.hangs_in(sample, Lang::ENGLISH)
    }

    /// Hangs this one in this language.
    pub(super) fn hangs_in(&self, sample: &Sample, lang: Lang) -> String {
        let mut hung = self.hung.lock().unwrap();
        hung.sample = sample.clone();
        hung.lang = lang;
        hung.asked.clear();
        format!("http://{}/{}?once=7", self.address, sample.name)
    }

    /// What was asked since it hangs.
    pub(super) fn asked(&self) -> Vec<String> {
        self.hung.lock().unwrap().asked.clone()
    }
}

/// In place of a vendor's widget: a box of its size.
const WIDGET: &[u8] = b"window.turnstile = { render: function (box, wanted) {\
    var small = wanted.size === 'compact', part = document.createElement('div');\
    part.style.cssText = 'border:1px solid;margin:auto;width:' + (small ? 150 : 300) + 'px;height:' + (small ? 140 : 65) + 'px';\
    part.textContent = 'widget'; box.appendChild(part);\
} }; anteroomCheck();";

async fn serve(mut stream: TcpStream, hung: &Mutex<Hung>) -> std::io::Result<()> {
    let (line, _) = read(&mut stream).await?;
    let (sample, lang, theme) = {
        let mut hung = hung.lock().unwrap();
        hung.asked.push(line.clone());
        (hung.sample.clone(), hung.lang, hung.theme.clone())
    };
    let status = sample.status().unwrap_or_default();
    let json = |status: &str, body: &[u8]| ours(status, "application/json", body);
    let answer = match line.as_str() {
        "GET /__anteroom/events" => {
            let event = sample.event().unwrap_or_default();
            let head = ours("200 OK", "text/event-stream", b"");
            stream.write_all(&[head, event.to_vec()].concat()).await?;
            return until_it_leaves(stream).await;
        }
        "GET /__anteroom/status" => json("200 OK", &status),
        "POST /__anteroom/wake" => match sample.answer.to_wake() {
            None => return until_it_leaves(stream).await,
            Some((code, body)) => {
                let body = body.map_or(status.to_vec(), String::into_bytes);
                json(&format!("{code} Played"), &body)
            }
        },
        _ if line.starts_with("GET /__anteroom/widget.js?") => {
            ours("200 OK", "text/javascript", WIDGET)
        }
        _ if line.starts_with("GET ") && !line.starts_with("GET /__anteroom/") => {
            html(&sample.page_in(lang, theme.as_ref(), "v1.a.b"))
        }
        _ => answer("404 Not Found", "x-anteroom: here\r\n", b""),
    };
    stream.write_all(&answer).await
}

async fn until_it_leaves(mut stream: TcpStream) -> std::io::Result<()> {
    let mut rest = [0; 64];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
