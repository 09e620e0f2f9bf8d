//! What systemd is told of the daemon (sd_notify(3), whose protocol is a datagram of lines): that it is ready, how it is,
//! that it lives.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    time::Duration,
};

use crate::{
    engine::{saturation::State, snapshot::Snapshot},
    kernel::clock,
};

/// The other end of `NOTIFY_SOCKET`. Where there is none, nobody is told.
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    status: String,
    /// Whether it was logged that it cannot be told.
    complained: bool,
}

impl Notify {
    /// As the environment says; an error if it names a socket that cannot be one.
    pub fn from_environment() -> io::Result<Self> {
        let variable = |name| env::var(name).ok();
        Self::new(variable("NOTIFY_SOCKET"), variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"))
    }

    fn new(
        socket: Option<String>,
        watchdog_us: Option<String>,
        watchdog_pid: Option<String>,
    ) -> io::Result<Self> {
        let Some(socket) = socket.filter(|socket| !socket.is_empty()) else { return Ok(Self::default()) };
        let address = match socket.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&socket)?,
        };
        let from = UnixDatagram::unbound()?;
        // systemd may be slow; the monitor may not.
        from.set_nonblocking(true)?;
        let is_ours = watchdog_pid.is_none_or(|pid| pid == process::id().to_string());
        let watchdog = watchdog_us.filter(|_| is_ours).and_then(|us| us.parse().ok()).filter(|us| *us > 0);
        let watchdog = watchdog.map(Duration::from_micros);
        Ok(Self { to: Some((from, address)), watchdog, ..Self::default() })
    }

    /// How often [`alive`](Self::alive) is to be called: twice in the time after which systemd kills us.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    /// It is attached, or waits for conntrack, and answers HTTP.
    pub fn ready(&mut self) {
        self.send("READY=1");
    }

    /// One line for `systemctl status`; sent if it is another than before.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            self.send(&format!("STATUS={}", status.replace('\n', " ")));
        }
    }

    /// The monitor's loop still goes round.
    pub fn alive(&mut self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    /// It reads its configuration anew; [`ready`](Self::ready) ends that.
    pub fn reloading(&mut self) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", clock::ktime_ns() / 1_000));
    }

    /// It is ending.
    pub fn stopping(&mut self) {
        self.send("STOPPING=1");
    }

    fn send(&mut self, text: &str) {
        let Some((from, address)) = &self.to else { return };
        if let Err(error) = from.send_to_addr(text.as_bytes(), address)
            && !self.complained
        {
            self.complained = true;
            tracing::warn!("systemd cannot be told how it is: {error}");
        }
    }
}

/// State, count and limit of the worst namespace, and how many were refused so far.
pub fn status_line(snapshot: &Snapshot) -> String {
    let refused = snapshot.totals.refused();
    let Some(worst) = snapshot.netns.first() else {
        return format!("no entries are tracked; {refused} refused");
    };
    let name = worst.name.clone().unwrap_or_else(|| worst.netns.to_string());
    let level = match (worst.level.count, worst.level.max) {
        (Some(count), Some(max @ 1..)) => {
            format!("{count} of {max} entries ({} %)", u64::from(count) * 100 / u64::from(max))
        }
        (Some(count), _) => format!("{count} entries, no limit"),
        (None, _) => format!("{} entries", worst.entries),
    };
    let since = if worst.state == State::Refusing { " now" } else { "" };
    format!("{} in {name}: {level}; {refused} refused{since}", worst.state.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What systemd would have read.
    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).expect("a datagram");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn silent(socket: &UnixDatagram) -> bool {
        socket.set_nonblocking(true).expect("set it");
        let nothing = socket.recv(&mut [0; 16]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        socket.set_nonblocking(false).expect("set it");
        nothing
    }

    #[test]
    fn systemd_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).expect("bind");
        let path = Some(path.display().to_string());
        let mut notify = Notify::new(path, Some("30000000".into()), None).expect("a socket");
        assert_eq!(notify.alive_every(), Some(Duration::from_secs(15)));
        notify.ready();
        assert_eq!(received(&systemd), "READY=1");
        notify.status("ok in init");
        notify.status("ok in init");
        notify.alive();
        assert_eq!(received(&systemd), "STATUS=ok in init");
        assert_eq!(received(&systemd), "WATCHDOG=1", "the same status is not sent twice");
        let before = clock::ktime_ns() / 1_000;
        notify.reloading();
        let text = received(&systemd);
        let at = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&text);
        assert!((before..=clock::ktime_ns() / 1_000).contains(&at.parse().expect("a number")));
        notify.ready();
        notify.stopping();
        assert_eq!([received(&systemd), received(&systemd)], ["READY=1", "STOPPING=1"]);
    }

    #[test]
    fn abstract_sockets_and_other_processes_watchdogs() {
        let name = format!("ctwatch-test-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let systemd = UnixDatagram::bind_addr(&address).expect("bind");
        let socket = Some(format!("@{name}"));
        let mut notify = Notify::new(socket, Some("1000".into()), Some("1".into())).expect("a socket");
        assert_eq!(notify.alive_every(), None, "the watchdog is of another process");
        notify.alive();
        assert!(silent(&systemd));
        notify.ready();
        assert_eq!(received(&systemd), "READY=1");
    }

    #[test]
    fn nobody_there_and_nobody_listening_do_no_harm() {
        let mut notify = Notify::new(None, Some("1000".into()), None).expect("fine");
        assert_eq!(notify.alive_every(), None);
        notify.ready();
        let mut notify = Notify::new(Some("/nonexistent/notify".into()), None, None).expect("a socket");
        notify.ready();
        notify.status("ok");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let _systemd = UnixDatagram::bind(&path).expect("bind");
        let mut notify =
            Notify::new(Some(path.display().to_string()), Some("1000".into()), None).expect("fine");
        // Nobody reads: the queue is soon full.
        (0..10_000).for_each(|_| notify.alive());
    }
}
