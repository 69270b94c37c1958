//! What a token may do: privileges on paths, from which those below take them over.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::answer::number;

/// Privileges by path; each with 1 where what is below takes it over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Rights(BTreeMap<String, BTreeMap<String, Value>>);

impl Rights {
    /// Whether this privilege is held on this path.
    pub(super) fn hold(&self, privilege: &str, path: &str) -> bool {
        self.0.iter().any(|(at, held)| match held.get(privilege) {
            Some(_) if at == path => true,
            Some(below) if is_above(at, path) => number(below) == Some(1),
            _ => false,
        })
    }
}

fn is_above(at: &str, path: &str) -> bool {
    let rest = path.strip_prefix(at.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_privilege_is_held_on_its_path_and_below_if_it_goes_down() {
        let told = r#"{"/":{"Sys.Audit":1},"/vms":{"VM.Audit":1,"VM.Clone":0},"/vms/100":{"VM.PowerMgmt":0}}"#;
        let rights: Rights = serde_json::from_str(told).expect("understood");
        for (privilege, path, held) in [
            ("Sys.Audit", "/", true),
            ("Sys.Audit", "/nodes/pve1", true),
            ("VM.Audit", "/vms/100", true),
            ("VM.Audit", "/vmstore", false),
            ("VM.Audit", "/", false),
            ("VM.Clone", "/vms", true),
            ("VM.Clone", "/vms/100", false),
            ("VM.PowerMgmt", "/vms/100", true),
            ("VM.PowerMgmt", "/vms/1001", false),
        ] {
            assert_eq!(rights.hold(privilege, path), held, "{privilege} {path}");
        }
        assert!(!Rights::default().hold("VM.Audit", "/"));
    }
}
