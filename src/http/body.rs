//! The one type of body that the room sends, to visitors and to apps.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use super::forward::link::FromApp;
use crate::signal::edge::Pass;

/// Any error of a body.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A stream of prepared frames.
pub(super) type Frames = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// What is sent.
pub(super) enum Body {
    /// Something whole: a page, a document, a held request's body.
    Whole(Full<Bytes>),
    /// A visitor's body on its way to the app, as it comes.
    Visitor(Upload),
    /// The app's body on its way to the visitor, as it comes. The pass counts the request until this is
    /// dropped.
    App(
        FromApp,
        #[expect(dead_code, reason = "kept for its drop")] Pass,
    ),
    /// Server-sent events.
    Events(Frames),
}

/// A visitor's body, and a sign by which it is known that it is under way.
pub(super) struct Upload {
    pub(super) body: Incoming,
    sign: Option<Arc<()>>,
}

impl Upload {
    fn new(body: Incoming) -> Upload {
        let sign = (!body.is_end_stream()).then(Arc::default);
        Upload { body, sign }
    }
}

impl Body {
    /// A visitor's body on its way to the app.
    pub(super) fn visitor(body: Incoming) -> Body {
        Body::Visitor(Upload::new(body))
    }

    /// A sign that lives until a visitor's body has been sent, or given up.
    pub(super) fn sign(&self) -> Weak<()> {
        match self {
            Body::Visitor(Upload {
                sign: Some(sign), ..
            }) => Arc::downgrade(sign),
            _ => Weak::new(),
        }
    }

    /// No body.
    pub(super) fn empty() -> Body {
        Body::Whole(Full::default())
    }

    /// The bytes, when they are all there.
    pub(super) fn into_whole(self) -> Option<Bytes> {
        match self {
            Body::Whole(body) => body.into_inner(),
            Body::Visitor(_) | Body::App(..) | Body::Events(_) => None,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Whole(Full::new(bytes))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Body::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Body::Visitor(upload) => Pin::new(&mut upload.body)
                .poll_frame(cx)
                .map_err(Into::into),
            Body::App(body, _) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Body::Events(frames) => frames
                .as_mut()
                .poll_next(cx)
                .map(|next| next.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(body) => body.is_end_stream(),
            Body::Visitor(upload) => upload.body.is_end_stream(),
            Body::App(body, _) => body.is_end_stream(),
            Body::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(body) => body.size_hint(),
            Body::Visitor(upload) => upload.body.size_hint(),
            Body::App(body, _) => body.size_hint(),
            Body::Events(_) => SizeHint::default(),
        }
    }
}
