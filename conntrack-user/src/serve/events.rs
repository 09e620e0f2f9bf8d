//! Server-sent events: a snapshot a second, and a line when something happens. Whoever does not read fast enough is dropped:
//! nothing is kept for a client but the number of the next line.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

use super::board::Posted;
use super::listening::Peer;
use super::page::Parts;
use super::served::Refused;
use super::site::Site;
use crate::engine::notice::Notice;
use crate::output::json;

/// When nothing happens, something is said all the same, so that both sides notice a broken connection.
const STILL_HERE: Duration = Duration::from_secs(15);

type Next = Pin<Box<dyn Future<Output = Option<(Teller, Bytes)>> + Send>>;

/// Events as they come.
pub struct Stream {
    next: Next,
}

impl Stream {
    /// Events for programs. `last` is the id of the last event that somebody who comes back has seen. None if there are too
    /// many streams.
    pub fn events(site: Arc<Site>, peer: Peer, last: Option<&str>) -> Option<Self> {
        Self::begin(site, peer, last, What::Events)
    }

    /// What changes on the page.
    pub fn page(site: Arc<Site>, peer: Peer, last: Option<&str>) -> Option<Self> {
        Self::begin(site, peer, last, What::Page(None))
    }

    fn begin(site: Arc<Site>, peer: Peer, last: Option<&str>, what: What) -> Option<Self> {
        let permit = Arc::clone(&site.streams).try_acquire_owned().ok()?;
        let mut posted = site.board.watch_posted();
        posted.mark_changed();
        let lines = site.board.watch_lines();
        let next_line =
            last.and_then(|id| number(id, site.board.began())).unwrap_or(u64::MAX).min(*lines.borrow());
        let teller = Teller { site, peer, posted, lines, next_line, what, _permit: permit };
        Some(Self { next: Box::pin(teller.tell()) })
    }

    /// The next event; none when the client was too slow or all ends.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let told = ready!(self.next.as_mut().poll(cx));
        Poll::Ready(told.map(|(teller, bytes)| {
            self.next = Box::pin(teller.tell());
            Ok(Frame::data(bytes))
        }))
    }
}

enum What {
    Events,
    /// What was sent last.
    Page(Option<Arc<Parts>>),
}

struct Teller {
    site: Arc<Site>,
    peer: Peer,
    posted: watch::Receiver<Option<Arc<Posted>>>,
    lines: watch::Receiver<u64>,
    next_line: u64,
    what: What,
    _permit: OwnedSemaphorePermit,
}

impl Teller {
    async fn tell(mut self) -> Option<(Self, Bytes)> {
        loop {
            let event = match self.what {
                What::Events => self.line()?,
                What::Page(_) => None,
            };
            if let Some(event) = event {
                return Some((self, event));
            }
            let is_posted = tokio::select! {
                biased;
                () = self.site.end() => return None,
                changed = self.posted.changed() => changed.map(|()| true),
                changed = self.lines.changed() => changed.map(|()| false),
                () = sleep(STILL_HERE) => return Some((self, Bytes::from_static(b": still here\n\n"))),
            };
            // An error: the board is gone.
            if is_posted.ok()?
                && let Some(event) = self.snapshot()
            {
                return Some((self, event));
            }
        }
    }

    /// The next line, if there is one. None in the outer option ends the stream.
    #[expect(clippy::option_option, reason = "an end is not the same as nothing yet")]
    fn line(&mut self) -> Option<Option<Bytes>> {
        let Ok(line) = self.site.board.line(self.next_line) else {
            let what = "it did not read its events fast enough";
            self.site.board.counters().refuse(Refused::TooSlow, &self.peer, &what);
            return None;
        };
        let Some(line) = line else { return Some(None) };
        self.next_line += 1;
        let mut data = Vec::new();
        if let Err(error) = json::notice(&mut data, &line.it, line.wall) {
            tracing::error!("a line is not written as JSON: {error}");
        }
        Some(Some(self.event(kind(&line.it), data.trim_ascii_end())))
    }

    fn snapshot(&mut self) -> Option<Bytes> {
        let posted = self.posted.borrow_and_update().clone()?;
        let What::Page(before) = &mut self.what else { return Some(self.event("snapshot", &posted.json())) };
        let parts = posted.parts(&self.site.board);
        let changes = parts.changes(before.as_deref());
        *before = Some(parts);
        Some(self.event("parts", changes.as_bytes()))
    }

    /// With an id that says which lines were told before.
    fn event(&self, kind: &str, data: &[u8]) -> Bytes {
        let mut head = String::new();
        let (began, next) = (self.site.board.began(), self.next_line);
        let _ = write!(head, "id: {began:x}-{next}\nevent: {kind}\ndata: ");
        [head.as_bytes(), data, b"\n\n"].concat().into()
    }
}

/// The number in an id, if it is of this run.
fn number(id: &str, began: u64) -> Option<u64> {
    let (run, number) = id.split_once('-')?;
    (run == format!("{began:x}")).then(|| number.parse().ok()).flatten()
}

/// The kind of a line, as in the line itself.
fn kind(notice: &Notice) -> &'static str {
    match notice {
        Notice::Edge { .. } => "edge",
        Notice::Refused(_) => "refused",
        Notice::Evicted(_) => "evicted",
        Notice::New { .. } => "new",
        Notice::Free(_) => "free",
        Notice::InsertFailed(_) => "failed",
        Notice::Lost(_) => "lost",
        Notice::Audited(_) => "audit",
        Notice::Gap(_) => "gap",
        Notice::Counted(_) => "counted",
        Notice::Summed(_) => "summed",
        Notice::Unrecorded(_) => "unrecorded",
    }
}
