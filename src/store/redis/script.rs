//! The scripts. Each is one atomic step in Redis; its file says what it takes and answers.

use redis::{Cmd, cmd};

/// A script and its name in the server's cache.
pub(super) struct Script {
    source: &'static str,
    hash: String,
}

/// All of them.
pub(super) struct Scripts {
    pub(super) claim: Script,
    pub(super) save: Script,
    pub(super) beat: Script,
    pub(super) follow: Script,
    pub(super) hand_over: Script,
    pub(super) admit: Script,
    pub(super) share: Script,
    pub(super) late: Script,
    pub(super) services: Script,
    pub(super) forget: Script,
}

impl Scripts {
    pub(super) fn new() -> Scripts {
        Scripts {
            claim: Script::new(include_str!("claim.lua")),
            save: Script::new(include_str!("save.lua")),
            beat: Script::new(include_str!("beat.lua")),
            follow: Script::new(include_str!("follow.lua")),
            hand_over: Script::new(include_str!("hand_over.lua")),
            admit: Script::new(concat!(include_str!("gcra.lua"), include_str!("admit.lua"))),
            services: Script::new(include_str!("services.lua")),
            forget: Script::new(include_str!("forget.lua")),
            late: Script::new(concat!(include_str!("gcra.lua"), include_str!("late.lua"))),
            share: Script::new(concat!(include_str!("gcra.lua"), include_str!("share.lua"))),
        }
    }
}

impl Script {
    fn new(source: &'static str) -> Script {
        let hash = redis::Script::new(source).get_hash().to_owned();
        Script { source, hash }
    }

    /// A call of it. All keys have the same `{}`, else a cluster refuses them.
    pub(super) fn call(&self, keys: &[String]) -> Call<'_> {
        let start = |command: &str, script: &str| {
            let mut command = cmd(command);
            command.arg(script).arg(keys.len()).arg(keys);
            command
        };
        Call {
            script: self,
            keys: keys.to_vec(),
            by_name: start("EVALSHA", &self.hash),
            arguments: Vec::new(),
        }
    }
}

/// A script with its keys and arguments.
pub(super) struct Call<'a> {
    script: &'a Script,
    keys: Vec<String>,
    by_name: Cmd,
    arguments: Vec<Vec<u8>>,
}

impl Call<'_> {
    /// The next argument.
    pub(super) fn arg(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// By the name that a server knows it by, if it has seen it.
    pub(super) fn short(&self) -> Cmd {
        let mut command = self.by_name.clone();
        command.arg(&self.arguments);
        command
    }

    /// With its source, from which the server learns its name.
    pub(super) fn whole(&self) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(self.script.source);
        command.arg(self.keys.len()).arg(&self.keys);
        command.arg(&self.arguments);
        command
    }
}
