//! The live view of `ctwatch top`: the engine here, the screen on a thread of its own, one channel each way.

use std::{
    env,
    io::{self, IsTerminal as _},
    sync::{Arc, mpsc as std_mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{self, Interval, MissedTickBehavior},
};

use crate::{
    cli::{
        failure::Failure,
        filtering, log,
        session::{Feed, Session},
    },
    engine::{
        Engine,
        query::Query,
        snapshot::{NetnsRow, Snapshot},
    },
    output::tui::{self, Action, Colors, Happening, Look},
};

/// How the screen looks.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Live view")]
pub struct ScreenArgs {
    /// Draw with ASCII only; the default where the locale is not UTF-8
    #[arg(long)]
    ascii: bool,

    /// Colours for a dark or a light background, or none; NO_COLOR means none
    #[arg(long, value_enum, value_name = "THEME", default_value = "auto")]
    theme: Theme,

    /// Show names of addresses, asked of the name servers; each question makes entries itself
    #[arg(long)]
    names: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Theme {
    /// What COLORFGBG says, else dark.
    Auto,
    /// For a dark background.
    Dark,
    /// For a light background.
    Light,
    /// Bold, reverse and underlined only.
    None,
}

/// Runs it until it is left; of a recording the last picture stays until then.
pub fn run(
    session: impl FnOnce() -> Result<Session, Failure>,
    screen: &ScreenArgs,
    query: Query,
    interval: Duration,
) -> Result<(), Failure> {
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    if is_dumb || !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(Failure::Usage(
            "the live view needs a terminal: add --once for one table, or -b for one after every interval"
                .to_owned(),
        ));
    }
    let session = session()?;
    let options = tui::Options {
        query: query.clone(),
        interval,
        look: screen.look(),
        names: screen.names,
        parse_filter: filtering::parse,
    };
    let (to_view, happenings) = std_mpsc::channel();
    let (to_engine, actions) = mpsc::unbounded_channel();
    let sender = to_view.clone();
    log::be_silent_on_terminals();
    let view = thread::Builder::new()
        .name("ctwatch-view".to_owned())
        .spawn(move || tui::run(options, &happenings, &sender, |action| drop(to_engine.send(action))))
        .context("start the view")?;
    let wiring = Wiring { to_view: to_view.clone(), actions, interval, query: query.clone() };
    let outcome = session.run(async |feed, engine| {
        engine.ask(query);
        wiring.run(feed, engine).await
    });
    // Nobody listens any more if it was the view that ended.
    let _left = to_view.send(Happening::End);
    let shown = view.join().map_err(|_| anyhow!("the view panicked"))?;
    outcome?;
    Ok(shown?)
}

/// Least time between two audits that only tell what may be evicted.
const BLUR_NS: u64 = 5_000_000_000;

/// What connects engine and view.
struct Wiring {
    to_view: std_mpsc::Sender<Happening>,
    actions: mpsc::UnboundedReceiver<Action>,
    interval: Duration,
    query: Query,
}

impl Wiring {
    /// A picture after every interval, and at once when something else is asked for.
    async fn run(mut self, feed: &mut Feed, engine: &mut Engine) -> Result<()> {
        let listen = |to: Signal| signal(SignalKind::from_raw(to.as_raw()));
        let mut stop = listen(Signal::TSTP).context("listen for SIGTSTP")?;
        let mut goes_on = listen(Signal::CONT).context("listen for SIGCONT")?;
        let mut due = every(self.interval);
        let mut stays = false;
        loop {
            tokio::select! {
                batch = feed.next_or_stay(engine) => match batch {
                    Some(batch) => engine.apply(&batch, |_| ()),
                    None => return Ok(()),
                },
                _ = due.tick(), if !stays => {
                    stays = feed.has_ended();
                    engine.end_interval();
                    let snapshot = self.show(engine);
                    if self.needs_audit(&snapshot) {
                        feed.audit();
                    }
                }
                action = self.actions.recv() => match action {
                    None | Some(Action::Quit) => return Ok(()),
                    Some(Action::Refresh) => due.reset_immediately(),
                    Some(Action::Interval(interval)) => due = every(interval),
                    Some(Action::Ask(query)) => {
                        self.query = query.clone();
                        engine.ask(query);
                        self.show(engine);
                        if self.query.needs_audits() {
                            feed.audit();
                        }
                    }
                },
                _ = stop.recv() => drop(self.to_view.send(Happening::Suspend)),
                _ = goes_on.recv() => drop(self.to_view.send(Happening::Continue)),
            }
        }
    }

    fn show(&self, engine: &mut Engine) -> Arc<Snapshot> {
        let snapshot = Arc::new(engine.snapshot());
        // A view that has ended says so through its actions.
        let _shown = self.to_view.send(Happening::Snapshot(Arc::clone(&snapshot)));
        snapshot
    }

    /// States are read anew for each picture that shows them. What may be evicted is read anew now and then, once too
    /// much of it is not known.
    fn needs_audit(&self, snapshot: &Snapshot) -> bool {
        let last = snapshot.events.last_audit.map_or(0, |audit| audit.ended_ktime_ns);
        let is_old = snapshot.ktime_ns.saturating_sub(last) >= BLUR_NS;
        self.query.needs_audits() || (is_old && snapshot.netns.first().is_some_and(NetnsRow::is_blurred))
    }
}

fn every(interval: Duration) -> Interval {
    let mut due = time::interval(interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due
}

impl ScreenArgs {
    fn look(&self) -> Look {
        let colors = match self.theme {
            _ if is_set("NO_COLOR") => Colors::None,
            Theme::Auto if has_light_background() => Colors::Light,
            Theme::Auto | Theme::Dark => Colors::Dark,
            Theme::Light => Colors::Light,
            Theme::None => Colors::None,
        };
        Look { ascii: self.ascii || !is_utf8(), colors }
    }
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// `COLORFGBG` is `foreground;background` in the numbers of ANSI colours; 7 and 15 are white.
fn has_light_background() -> bool {
    env::var("COLORFGBG").is_ok_and(|colors| matches!(colors.rsplit(';').next(), Some("7" | "15")))
}

/// The first of these that is set tells the character set (locale(7)).
pub fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|variable| is_set(variable));
    let locale = locale.and_then(|variable| env::var(variable).ok()).unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}
