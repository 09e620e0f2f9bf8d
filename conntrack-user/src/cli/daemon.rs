//! `ctwatch daemon`: watches without end, for those who are not looking: metrics, a recording of the recent past, a program
//! run on saturation.

mod flags;
mod flight;
mod monitor;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;

use crate::{
    daemon::{
        config::{self, Config, Loaded},
        hook::Hook,
        log,
        notify::Notify,
    },
    kernel::{error::AttachError, inherited, privilege},
    serve::{self, Board, Listen, Server},
};

use super::{
    attaching::Attaching,
    failure::Failure,
    session::{Needs, Session},
};
use flags::Flags;
pub use flight::{AGGREGATE, DETAIL};
use monitor::{Monitor, Outlets};

/// Watch continuously: metrics and health over HTTP, a recording of the recent past, a program run on saturation
///
/// Everything it is told it may be told in a file, by the environment or by flags; `ctwatch daemon --check-config` shows what
/// holds. SIGHUP reads the configuration anew.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Numbers older than this are no longer served.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let loaded = load(&args.flags)?;
    if args.flags.check_config {
        loaded.lines().iter().for_each(|line| println!("{line}"));
        return Ok(());
    }
    let config = loaded.config;
    let log = log::init(&config.log)?;
    let mut notify =
        Notify::from_environment().context("find the socket of systemd that NOTIFY_SOCKET names")?;
    let board = Board::new();
    let server = serve(&config, board.clone())?;
    let hook =
        Hook::start(&config.on_saturation).context("start the thread that runs on_saturation.command")?;
    let needs = Needs {
        tcp_state: config.recording.dir.is_some(),
        live_view: true,
        recording: true,
        hangups: true,
        ..Needs::default()
    };
    let mut session =
        Session::attach_or_wait(&attaching(&config.attach, needs), needs, waiting(&mut notify))?;
    // The thread that drains has what it needs; what is started from here on, and this thread itself, need nothing.
    privilege::guard_memory().context("guard the memory of this process")?;
    privilege::drop_all_of_this_thread().context("give up privileges")?;
    let hangups = session.hangups().context("SIGHUP is listened for")?;
    let outlets = Outlets { board, server, hook, log, notify };
    let mut monitor = Monitor::new(args.flags.clone(), config, &session.attached, outlets);
    session.run(async |feed, engine| {
        monitor.run(feed, engine, hangups).await;
        Ok(())
    })?;
    Ok(())
}

/// To a service manager a daemon that waits for conntrack is as ready as it can be, and alive.
fn waiting(notify: &mut Notify) -> impl FnMut(&AttachError) {
    let mut said = false;
    move |error| {
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(event = "waiting", "{error}; waiting for it");
            notify.status(&format!("{error}; waiting for it"));
            notify.ready();
        }
        notify.alive();
    }
}

/// The directory that the daemon of this host records to, by its configuration: [`DETAIL`] or [`AGGREGATE`].
pub fn recording(name: &str) -> Result<PathBuf, Failure> {
    let loaded = load(&Flags::default())?;
    let dir = loaded.config.recording.dir;
    Ok(dir
        .ok_or_else(|| Failure::Usage("recording.dir is empty: the daemon records nothing".to_owned()))?
        .join(name))
}

fn load(flags: &Flags) -> Result<Loaded, Failure> {
    flags.load().map_err(|mistakes| Failure::Configuration(mistakes.to_string()))
}

/// Listens where the configuration says, or at the sockets that systemd hands over; none if neither says where.
fn serve(config: &Config, board: Board) -> Result<Option<Server>, Failure> {
    let inherited = inherited::listeners().context("take over the sockets of the socket unit")?;
    let listen: Vec<Listen> = match inherited.is_empty() {
        true => config.web.listen_address.iter().copied().map(Listen::Address).collect(),
        false => inherited.into_iter().map(Listen::Inherited).collect(),
    };
    if listen.is_empty() {
        return Ok(None);
    }
    let options = serve::Options {
        listen,
        web_config: config.web.config_file.clone(),
        limits: serve::Limits::default(),
        stale_after: STALE_AFTER.max(config.metrics.interval * 3),
    };
    let server = serve::start(options, board).map_err(anyhow::Error::from)?;
    for address in server.addresses() {
        tracing::info!(%address, "listening at {address}");
    }
    Ok(Some(server))
}

fn attaching(attach: &config::Attach, needs: Needs) -> Attaching {
    Attaching {
        options: attach.options(needs.mark, needs.tcp_state),
        thresholds: attach.thresholds(),
        wait: attach.wait,
    }
}
