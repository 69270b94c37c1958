//! The labels of the metrics. Their values are bounded: services are configured, all other words are written in the code.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::engine::id::ServiceName;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name(ServiceName);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.as_str().encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfService {
    pub(super) service: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfKind {
    pub(super) service: Name,
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfCall {
    pub(super) provider: &'static str,
    pub(super) call: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfAsked {
    pub(super) kind: &'static str,
    pub(super) outcome: &'static str,
}

/// Of this service.
pub(super) fn of(service: &ServiceName) -> OfService {
    OfService {
        service: Name(service.clone()),
    }
}

/// Of this service, and of this kind.
pub(super) fn of_kind(service: &ServiceName, kind: &'static str) -> OfKind {
    OfKind {
        service: Name(service.clone()),
        kind,
    }
}
