//! The scripts. Each is one atomic step in Redis; its file says what it takes and answers.

use redis::{Arg, Cmd, ToRedisArgs, cmd};

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
        let mut by_name = cmd("EVALSHA");
        by_name.arg(&self.hash).arg(keys.len()).arg(keys);
        Call {
            script: self,
            by_name,
        }
    }
}

/// A script with its keys and arguments.
pub(super) struct Call<'a> {
    script: &'a Script,
    by_name: Cmd,
}

impl Call<'_> {
    /// The next argument.
    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.by_name.arg(argument);
        self
    }

    /// By the name that a server knows it by, if it has seen it.
    pub(super) fn short(&self) -> &Cmd {
        &self.by_name
    }

    /// With its source, from which the server learns its name.
    pub(super) fn whole(&self) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(self.script.source);
        // Behind the command and the name.
        for argument in self.by_name.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}
