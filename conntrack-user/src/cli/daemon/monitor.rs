//! The daemon's loop: drains to the engine, what it says to recordings, log and hook, and about once a second a picture to the
//! board.

use std::time::{Duration, Instant, SystemTime};

use hashbrown::HashMap;

use tokio::{
    signal::unix::Signal,
    time::{Interval, MissedTickBehavior, interval},
};

use crate::{
    cli::{recording::Drained, session::Feed},
    daemon::{
        config::{Config, OnEdge},
        events,
        hook::{Hook, Occasion},
        log::Log,
        notify::{Notify, status_line},
    },
    engine::{
        Engine,
        batch::{Batch, WallClock},
        notice::Notice,
        query::Query,
        saturation::State,
        snapshot::Attached,
        top_sources::Chooser,
    },
    kernel::{
        host::host,
        vitals::{Vitals, vitals},
    },
    output::{
        json,
        metrics::{self, Own, Scrape},
    },
    serve::{Board, Server},
};

use super::{flags::Flags, flight::Flight};

/// What the daemon has beside the engine.
pub struct Monitor {
    flags: Flags,
    config: Config,
    host: String,
    out: Outlets,
    flight: Flight,
    chooser: Chooser,
    own: Own,
    /// Network namespaces that came into or out of a saturation in the drain that is worked on.
    crossed: Vec<(u32, OnEdge)>,
    /// Names of network namespaces as the last picture has them.
    names: HashMap<u32, String>,
}

/// Whom it tells, recordings aside. They end when it is dropped.
pub struct Outlets {
    /// What HTTP shows.
    pub board: Board,
    /// Who shows it, if anybody.
    pub server: Option<Server>,
    /// The program that is run on saturation.
    pub hook: Hook,
    /// The daemon's log.
    pub log: Log,
    /// systemd.
    pub notify: Notify,
}

impl Monitor {
    /// Everything is started, nothing has come yet.
    pub fn new(flags: Flags, config: Config, attached: &Attached, out: Outlets) -> Self {
        let flight = Flight::new(&config.recording, attached, config.attach.thresholds());
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let started_unix_ns = i64::try_from(started.as_nanos()).unwrap_or(i64::MAX);
        let trust = &attached.trust;
        tracing::info!(event = "attached", backend = trust.backend, "attached by {}", trust.backend);
        for degradation in &trust.degradations {
            tracing::info!(event = "degradation", "but: {degradation}");
        }
        Self {
            flags,
            config,
            host: host().name,
            out,
            flight,
            chooser: Chooser::new(),
            own: Own { started_unix_ns, ..Own::default() },
            crossed: Vec::new(),
            names: HashMap::new(),
        }
    }

    /// Goes on until a signal asks for the end.
    pub async fn run(&mut self, feed: &mut Feed, engine: &mut Engine, mut hangups: Signal) {
        engine.ask(Query { rows: self.config.metrics.top_sources, ..Query::default() });
        let mut ticks = every(self.config.metrics.interval);
        let alive_every = self.out.notify.alive_every();
        let mut alive = every(alive_every.unwrap_or(self.config.metrics.interval));
        self.picture(engine);
        self.out.notify.ready();
        loop {
            tokio::select! {
                batch = feed.next(engine) => match batch {
                    Some(batch) => self.drained(feed, engine, &batch),
                    None => break,
                },
                _ = ticks.tick() => self.picture(engine),
                _ = alive.tick(), if alive_every.is_some() => self.out.notify.alive(),
                _ = hangups.recv() => {
                    self.reload(engine);
                    ticks = every(self.config.metrics.interval);
                }
            }
        }
        self.out.notify.stopping();
        self.flight.finish(engine);
    }

    fn drained(&mut self, feed: &Feed, engine: &mut Engine, batch: &Batch) {
        let begun = Instant::now();
        let mut drained = Drained::default();
        let (board, names, crossed) = (&self.out.board, &self.names, &mut self.crossed);
        engine.apply(batch, |notice| {
            drained.note(&notice);
            board.tell(&notice, batch.wall);
            if let Notice::Edge { netns, edge } = &notice {
                let edges = OnEdge::ALL.into_iter().filter(|it| it.state() == edge.state);
                crossed.extend(edges.map(|edge| (*netns, edge)));
            }
            events::log(&notice, |netns| names.get(&netns).cloned());
        });
        drained.add_rows(engine);
        if self.flight.take(engine, batch, &drained) {
            feed.audit();
        }
        for (netns, edge) in std::mem::take(&mut self.crossed) {
            self.tell_edge(engine, netns, edge, batch.wall);
        }
        self.own.drains.add(begun.elapsed());
    }

    /// The program is told of the episode as it is now: with who held the table when it began.
    fn tell_edge(&self, engine: &Engine, netns: u32, edge: OnEdge, wall: WallClock) {
        let Some(episode) = engine.last_episode(netns) else { return };
        let netns_name = self.names.get(&netns).cloned();
        if edge.state() == State::Recovered {
            events::log_episode(&episode, |_| netns_name.clone());
        }
        let mut object = Vec::new();
        match json::occasion(&mut object, edge.as_str(), &self.host, &episode, netns_name.as_deref(), wall) {
            Ok(()) => self.out.hook.offer(Occasion { edge, netns, netns_name, json: object }),
            Err(error) => tracing::error!("the episode cannot be written for on_saturation.command: {error}"),
        }
    }

    /// Puts up what is known now.
    fn picture(&mut self, engine: &mut Engine) {
        let begun = Instant::now();
        engine.end_interval();
        let snapshot = engine.snapshot();
        let sources = engine.top_sources(&mut self.chooser, self.config.metrics.top_sources);
        let names = snapshot.netns.iter().filter_map(|row| Some((row.netns, row.name.clone()?)));
        self.names = names.collect();
        self.out.notify.status(&status_line(&snapshot));
        self.look_at_oneself();
        let options = metrics::Options { node_exporter: self.config.metrics.node_exporter };
        self.out.board.put_up(Scrape { snapshot, sources, own: self.own.clone(), options });
        self.own.snapshots.add(begun.elapsed());
    }

    fn look_at_oneself(&mut self) {
        let Vitals { rss_bytes, cpu_ns, open_files } = vitals();
        let served = self.out.board.served();
        let Own { started_unix_ns, drains, snapshots, reloads, .. } = self.own;
        self.own = Own {
            rss_bytes,
            cpu_ns,
            open_files,
            started_unix_ns,
            drains,
            snapshots,
            scrapes: served.scrapes,
            requests_refused: served.requests_refused,
            connections: served.connections,
            recordings: self.flight.numbers(),
            hook: self.out.hook.counters(),
            reloads,
        };
    }

    /// Takes over what can be taken over of a new configuration; of one with mistakes nothing.
    fn reload(&mut self, engine: &mut Engine) {
        self.out.notify.reloading();
        match self.flags.load() {
            Ok(loaded) => {
                let changes = Config::changes(&self.config, &loaded.config);
                self.config = Config::taken_over(&self.config, &loaded.config);
                engine.ask(Query { rows: self.config.metrics.top_sources, ..Query::default() });
                self.out.hook.set(&self.config.on_saturation);
                self.flight.set(&self.config.recording);
                if let Err(error) = self.out.log.set_level(self.config.log.level) {
                    tracing::warn!("{error:#}");
                }
                tracing::info!(event = "reload", "configuration read again: {}", changes.describe());
                self.own.reloads.0 += 1;
            }
            Err(mistakes) => {
                tracing::error!(event = "reload", "the configuration is left as it was: {mistakes}");
                self.own.reloads.1 += 1;
            }
        }
        let web_config = self.config.web.config_file.as_deref();
        if let Some(Err(error)) = self.out.server.as_ref().map(|server| server.reload(web_config)) {
            tracing::error!(event = "reload", "the web configuration is left as it was: {error}");
        }
        self.out.notify.ready();
    }
}

fn every(time: Duration) -> Interval {
    let mut interval = interval(time);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
