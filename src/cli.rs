//! The command line. Reading commands take `--json`; a command that talks to a running Anteroom finds its admin
//! listener in the configuration file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

mod check;
mod client;
mod demo;
mod demo_app;
mod doctor;
mod out;
mod preview;
mod run;
mod simulate;
mod traefik;

/// A reverse proxy that wakes a machine when somebody comes and puts it to sleep when nobody does.
#[derive(Debug, Parser)]
#[command(name = "anteroom", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run with a configuration file.
    Run(Run),
    /// Show what it does: a small app on port 8080 that sleeps after 30 seconds. Needs nothing else.
    Demo {
        /// The port that visitors open.
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Say what is wrong with a configuration file, and change nothing.
    Check(File),
    /// Say of every service whether its machine and its credential are well, by reading alone. Ends with 1 when not.
    Doctor {
        #[command(flatten)]
        file: File,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show every service and what it does now.
    Status {
        #[command(flatten)]
        file: File,
        /// Show it again every second until interrupted.
        #[arg(long)]
        watch: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say why a service is as it is.
    Why {
        /// The service.
        service: String,
        #[command(flatten)]
        file: File,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a service's wakes and stops, and who asked for wakes and what came of it, newest first.
    Ledger {
        /// The service.
        service: String,
        #[command(flatten)]
        file: File,
        /// At most so many entries of each.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove what is kept of a client, of all services: who it was when it asked for wakes, and its limits.
    Forget {
        /// An address (of IPv6, its whole /64), or a network: an IPv4 /24 or an IPv6 /48.
        address: String,
        #[command(flatten)]
        file: File,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let those wake services again who opened a trap; a ban of the same network is taken away as well.
    Pardon {
        /// An address, or a network; all whose network touches it are free.
        network: String,
        #[command(flatten)]
        file: File,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Wake a service.
    Wake(Verb),
    /// Put a service to sleep once its running requests have ended.
    Sleep(Verb),
    /// Keep a service awake for a while.
    Hold {
        #[command(flatten)]
        verb: Verb,
        /// How long, like 30m or 2h.
        #[arg(long = "for", default_value = "1h")]
        length: jiff::SignedDuration,
        /// Why, for those who wonder later.
        #[arg(long)]
        reason: Option<String>,
    },
    /// End a hold.
    Release(Verb),
    /// Replay a trace of requests through the scaling policy, and say what it would have cost and how well it would have gone.
    Simulate(simulate::Simulate),
    /// Show every state of every page, in every language, on loopback: for those who write a theme or a translation.
    Preview(preview::Preview),
    /// Print the Traefik configuration that goes with a configuration file.
    Traefik(File),
    /// The app that `demo` wakes.
    #[command(hide = true)]
    DemoApp {
        /// Where it listens, on loopback.
        #[arg(long)]
        port: u16,
        /// How long it takes to start, in milliseconds.
        #[arg(long, default_value_t = 5_000)]
        start_up_ms: u64,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The configuration file.
    #[arg(short, long, default_value = "anteroom.toml", env = "ANTEROOM_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    file: File,
    /// Log JSON, one object a line.
    #[arg(long)]
    log_json: bool,
}

#[derive(Debug, Args)]
struct Verb {
    /// The service.
    service: String,
    #[command(flatten)]
    file: File,
}

/// Parses the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return out::fail(&format!("the runtime can't be started: {error}")),
    };
    let code = runtime.block_on(Box::pin(dispatch(cli.command)));
    // Blocking work that hangs (a name look-up, a file) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn dispatch(command: Command) -> ExitCode {
    let done = match command {
        Command::Run(run) => run::run(&run.file.config, run.log_json).await,
        Command::Demo { port } => demo::demo(port).await,
        Command::Check(file) => check::check(&file.config),
        Command::Doctor { file, json } => match doctor::doctor(&file.config, json).await {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Status { file, watch, json } => client::status(&file.config, watch, json).await,
        Command::Why {
            service,
            file,
            json,
        } => client::why(&file.config, &service, json).await,
        Command::Ledger {
            service,
            file,
            limit,
            json,
        } => client::ledger(&file.config, &service, limit, json).await,
        Command::Forget {
            address,
            file,
            json,
        } => client::forget(&file.config, &address, json).await,
        Command::Pardon {
            network,
            file,
            json,
        } => client::pardon(&file.config, &network, json).await,
        Command::Wake(verb) => {
            client::command(&verb.file.config, &verb.service, "wake", None).await
        }
        Command::Sleep(verb) => {
            client::command(&verb.file.config, &verb.service, "sleep", None).await
        }
        Command::Release(verb) => {
            client::command(&verb.file.config, &verb.service, "release", None).await
        }
        Command::Hold {
            verb,
            length,
            reason,
        } => {
            let hold = client::Hold { length, reason };
            client::command(&verb.file.config, &verb.service, "hold", Some(hold)).await
        }
        Command::Simulate(args) => simulate::simulate(args).await,
        Command::Preview(what) => preview::preview(what).await,
        Command::Traefik(file) => traefik::print(&file.config),
        Command::DemoApp { port, start_up_ms } => {
            demo_app::serve(port, Duration::from_millis(start_up_ms))
                .await
                .map_err(Into::into)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out::fail(&format!("{error:#}")),
    }
}
