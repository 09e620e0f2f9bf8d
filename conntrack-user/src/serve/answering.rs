//! Requests and their answers.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::connections::Answering;
use super::events::Stream;
use super::health;
use super::listening::Peer;
use super::page;
use super::parameters::{self, ParameterError, Refusals, Since};
use super::served::Refused;
use super::site::Site;
use super::web_config::Verdict;
use crate::output::json;
use crate::output::metrics::{Exposition, Scrape, families};

/// No request needs a body; what is not larger is left unread.
const LARGEST_BODY: u64 = 4096;

/// What is handed on at once of an answer.
const PIECE: usize = 16 * 1024;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What goes out: at once, or as it comes.
pub enum Content {
    /// All of it, and leave to be that large.
    Whole(Bytes, Option<OwnedSemaphorePermit>),
    /// Events, until the client goes.
    Events(Stream),
}

/// An answer, which is under way until it is dropped.
pub struct Answer {
    content: Content,
    _under_way: Answering,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.content {
            // In pieces, so that it is under way until the client has taken most of it.
            Content::Whole(rest, _) if rest.is_empty() => Poll::Ready(None),
            Content::Whole(rest, _) => {
                let piece = rest.split_to(rest.len().min(PIECE));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Content::Events(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(rest, _) => rest.is_empty(),
            Content::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(rest, _) => SizeHint::with_exact(rest.len() as u64),
            Content::Events(_) => SizeHint::default(),
        }
    }
}

/// Answers a request; it never fails, because what goes wrong is an answer too.
pub async fn answer(
    site: Arc<Site>,
    peer: Peer,
    under_way: Answering,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let web = site.web();
    let authorization = request.headers().get(header::AUTHORIZATION);
    let asked = Asked { site: &site, peer, request: &request };
    let reply = match web.users.judge(authorization, &site.workers).await {
        Verdict::Welcome => asked.reply(),
        Verdict::Unknown => asked.unknown(authorization.is_some()),
        Verdict::Busy => asked.busy("too many passwords are being checked"),
    };
    let Reply { status, headers, content } = reply;
    tracing::debug!("{peer} {} {:?}: {status}", request.method(), request.uri().path());
    let mut response = Response::new(Answer { content, _under_way: under_way });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    for (name, value) in &web.headers {
        response.headers_mut().insert(name, value.clone());
    }
    Ok(response)
}

/// An answer without what belongs to its connection.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    content: Content,
}

impl Reply {
    fn new(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self::with(status, HeaderValue::from_static(kind), Content::Whole(body.into(), None))
    }

    fn with(status: StatusCode, kind: HeaderValue, content: Content) -> Self {
        let headers = [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        Self { status, headers: headers.into_iter().collect(), content }
    }

    fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }
}

/// What is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Page,
    Live,
    Metrics,
    Health,
    Ready,
    Snapshot,
    Episodes,
    Refused,
    Events,
}

impl Route {
    fn find(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/live" => Self::Live,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/api/v1/snapshot" => Self::Snapshot,
            "/api/v1/episodes" => Self::Episodes,
            "/api/v1/refused" => Self::Refused,
            "/api/v1/events" => Self::Events,
            _ => return None,
        })
    }
}

/// A request of somebody who is let in.
struct Asked<'a> {
    site: &'a Arc<Site>,
    peer: Peer,
    request: &'a Request<Incoming>,
}

impl Asked<'_> {
    fn reply(&self) -> Reply {
        let Some(route) = Route::find(self.request.uri().path()) else {
            return mistake(StatusCode::NOT_FOUND, &"there is nothing here; / links to what there is");
        };
        if !matches!(*self.request.method(), Method::GET | Method::HEAD) {
            self.refused(Refused::Malformed, &format_args!("its method is {}", self.request.method()));
            return mistake(StatusCode::METHOD_NOT_ALLOWED, &"this can only be read: GET or HEAD")
                .header(header::ALLOW, "GET, HEAD");
        }
        if self.request.body().size_hint().upper().is_none_or(|bytes| bytes > LARGEST_BODY) {
            self.refused(Refused::TooLarge, &"its body");
            return mistake(StatusCode::PAYLOAD_TOO_LARGE, &"a request needs no body here")
                .header(header::CONNECTION, "close");
        }
        match self.route(route) {
            Ok(reply) => reply,
            Err(error) => {
                self.refused(Refused::Malformed, &error);
                mistake(StatusCode::BAD_REQUEST, &error)
            }
        }
    }

    fn route(&self, route: Route) -> Result<Reply, ParameterError> {
        let query = self.request.uri().query().unwrap_or_default();
        match route {
            Route::Refused => return Ok(self.refusals(Refusals::parse(query)?)),
            // Prometheus's `params:` may be anything, and a page's address gets all kinds of things added.
            Route::Metrics | Route::Page | Route::Health | Route::Ready => {}
            Route::Live | Route::Snapshot | Route::Episodes | Route::Events => parameters::none(query)?,
        }
        Ok(match route {
            Route::Page => self.page(),
            Route::Live => self.stream(Stream::page),
            Route::Events => self.stream(Stream::events),
            Route::Health => self.health(),
            Route::Ready => self.ready(),
            Route::Metrics => self.metrics(),
            Route::Episodes => {
                self.fresh(|posted| json_reply(|out| json::episodes(out, &posted.scrape.snapshot)))
            }
            Route::Snapshot | Route::Refused => {
                self.fresh(|posted| Reply::new(StatusCode::OK, JSON, posted.json()))
            }
        })
    }

    /// Numbers that are old are not given as if they were new.
    fn fresh(&self, reply: impl FnOnce(&super::board::Posted) -> Reply) -> Reply {
        match (health::ill(self.site), self.site.board.posted()) {
            (None, Some(posted)) => reply(&posted),
            (why, _) => mistake(StatusCode::SERVICE_UNAVAILABLE, &why.unwrap_or_default()),
        }
    }

    fn metrics(&self) -> Reply {
        let began = Instant::now();
        let accept = self.request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let reply = self.fresh(|posted| {
            let (kind, text) = exposition(accept, &posted.scrape);
            Reply::new(StatusCode::OK, kind, text)
        });
        if reply.status == StatusCode::OK && self.request.method() == Method::GET {
            self.site.board.counters().scraped(began.elapsed());
        }
        reply
    }

    fn health(&self) -> Reply {
        match health::ill(self.site) {
            None => Reply::new(StatusCode::OK, TEXT, "ok\n"),
            Some(why) => Reply::new(StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"),
        }
    }

    fn ready(&self) -> Reply {
        let (body, ready) = health::ready(self.site);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Reply::new(status, JSON, body)
    }

    fn page(&self) -> Reply {
        let page = page::page(&self.site.board, self.site.stale_after);
        Reply::new(StatusCode::OK, "text/html; charset=utf-8", page)
            .header(header::REFERRER_POLICY, "no-referrer")
            .header(header::CONTENT_SECURITY_POLICY, page::policy())
    }

    fn refusals(&self, asked: Refusals) -> Reply {
        let Ok(leave) = Arc::clone(&self.site.large).try_acquire_owned() else {
            return self.busy("too many ask for refusals and have not read their answers");
        };
        let latest = self.site.board.latest();
        let wanted = |it: &_| asked.since.is_none_or(|since| since.takes_in(it));
        let (mut found, gone_unix_ns) = self.site.board.refusals(wanted);
        let wall = latest.as_ref().map(|latest| latest.snapshot.wall).unwrap_or_default();
        let before = gone_unix_ns.is_some_and(|gone| match asked.since {
            None => true,
            Some(Since::Unix(from)) => gone >= from,
            Some(Since::Ktime(from)) => gone >= wall.unix_ns(from),
        });
        let more = json::More { before, after: found.len() > asked.limit };
        found.truncate(asked.limit);
        let refusals = found.into_iter().map(|it| (it.it, it.wall));
        let latest = latest.as_ref().map(|it| &it.snapshot);
        let mut reply = json_reply(|out| json::refusals(out, refusals, more, latest));
        if let Content::Whole(_, kept) = &mut reply.content {
            *kept = Some(leave);
        }
        reply
    }

    fn stream(&self, begin: impl FnOnce(Arc<Site>, Peer, Option<&str>) -> Option<Stream>) -> Reply {
        let kind = HeaderValue::from_static("text/event-stream");
        if self.request.method() == Method::HEAD {
            return Reply::with(StatusCode::OK, kind, Content::Whole(Bytes::new(), None));
        }
        let last = self.request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
        match begin(Arc::clone(self.site), self.peer, last) {
            Some(stream) => Reply::with(StatusCode::OK, kind, Content::Events(stream)),
            None => self.busy("too many streams of events are open"),
        }
    }

    fn unknown(&self, tried: bool) -> Reply {
        let what = if tried { "wrong name or password" } else { "no name and password" };
        self.refused(Refused::NotLetIn, &what);
        mistake(StatusCode::UNAUTHORIZED, &"name and password are needed, and right ones")
            .header(header::WWW_AUTHENTICATE, "Basic realm=\"ctwatch\", charset=\"UTF-8\"")
    }

    fn busy(&self, what: &'static str) -> Reply {
        self.refused(Refused::TooMany, &what);
        mistake(StatusCode::SERVICE_UNAVAILABLE, &what).header(header::RETRY_AFTER, "5")
    }

    fn refused(&self, why: Refused, what: &dyn Display) {
        self.site.board.counters().refuse(why, &self.peer, what);
    }
}

fn mistake(status: StatusCode, what: &dyn Display) -> Reply {
    let mut reply = json_reply(|out| json::mistake(out, what.to_string()));
    reply.status = status;
    reply
}

fn json_reply(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Reply {
    let mut out = Vec::new();
    match write(&mut out) {
        Ok(()) => Reply::new(StatusCode::OK, JSON, out),
        // A vector takes all, and every key is a string.
        Err(error) => Reply::new(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

/// The text of a scrape and its kind, as the client would rather have it.
fn exposition(accept: Option<&str>, scrape: &Scrape) -> (&'static str, String) {
    let exposition = Exposition::negotiate(accept);
    (exposition.content_type(), exposition.encode(&families(scrape, &scrape.options)))
}
