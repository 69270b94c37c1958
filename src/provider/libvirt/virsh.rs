//! One run of virsh: its arguments are ours and the settings', never a shell's, and its words are English.

use std::time::Duration;

use super::answer::{self, Does};
use super::{KIND, Settings};
use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::last_words;
use crate::provider::program::Program;

/// What is kept of the output: far more than the addresses of a domain.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// What virsh is asked.
pub(super) struct Ask<'a> {
    /// The command of virsh.
    pub(super) command: &'static str,
    /// What follows the domain.
    pub(super) more: &'a [&'a str],
    pub(super) does: Does,
    /// How long it may take.
    pub(super) within: Duration,
}

impl Ask<'_> {
    /// Runs virsh and returns what it printed.
    ///
    /// # Errors
    /// By the class of its complaint; when it was killed at its deadline, a lost answer.
    pub(super) async fn run(&self, settings: &Settings) -> Result<String, Trouble> {
        let Settings {
            virsh, uri, domain, ..
        } = settings;
        let mut words = vec![virsh.as_str(), "--quiet", "--connect", uri, self.command];
        words.extend(["--domain", domain]);
        words.extend(self.more);
        let program = Program {
            kind: KIND,
            name: self.command,
            words: &words,
            env: &[("LC_ALL", "C")],
            within: self.within,
            out_bytes_max: OUTPUT_BYTES_MAX,
        };
        let doing = || format!("{} of domain {domain:?} at {uri}", self.command);
        let lost = match self.does {
            Does::Read => ErrorClass::Transient,
            Does::Write => ErrorClass::Ambiguous,
        };
        let ended = program.run().await;
        let ended =
            ended.map_err(|unended| unended.trouble(lost, &format!("{} by {virsh:?}", doing())))?;
        if ended.status.success() {
            return Ok(String::from_utf8_lossy(&ended.out).into_owned());
        }
        let class = match ended.status.code() {
            Some(_) => answer::class(&last_words(&ended.err), self.does),
            // Somebody killed it.
            None => lost,
        };
        Err(Trouble::new(
            class,
            format!("{}: {}", doing(), ended.complaint()),
        ))
    }
}
