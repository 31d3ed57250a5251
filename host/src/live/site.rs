//! Requests and their answers.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::feed::Feed;
use super::picture::{Pictures, Size};
use super::state;

/// The page: one file, which loads nothing but the run's state and pictures.
const PAGE: &str = include_str!("../../templates/live.html");

/// A page asks once per second; one that has not for so long is closed or asleep.
const WATCHING: Duration = Duration::from_secs(3);

/// For how long a browser keeps a picture of a version, which never changes.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

pub(super) type Answer = Response<Full<Bytes>>;

/// What is served of a run.
#[derive(Debug)]
pub(super) struct Site {
    feed: Arc<Feed>,
    pictures: Mutex<Pictures>,
    policy: HeaderValue,
    /// Whether requests are for this machine alone.
    is_local: bool,
    asked: Mutex<Option<Instant>>,
}

impl Site {
    /// A site that, if it `is_local`, answers only those who call it by a loopback address
    /// or `localhost`: any page on the web may have a name that means this machine (DNS
    /// rebinding), but the browser says which name it was.
    pub(super) fn new(feed: Arc<Feed>, is_local: bool) -> Self {
        Self {
            feed,
            pictures: Mutex::default(),
            policy: policy(),
            is_local,
            asked: Mutex::new(None),
        }
    }

    /// Whether a page is open.
    pub(super) fn is_watched(&self) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|at| at.elapsed() < WATCHING)
    }

    /// The answer to a request, whatever its body.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Answer {
        let mut answer = self.respond(request);
        let headers = answer.headers_mut();
        let fixed = HeaderValue::from_static;
        headers.entry(CACHE_CONTROL).or_insert(fixed("no-store"));
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert("cross-origin-resource-policy", fixed("same-origin"));
        headers.insert(REFERRER_POLICY, fixed("no-referrer"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
        answer
    }

    fn respond<B>(&self, request: &Request<B>) -> Answer {
        if self.is_local && !names_this_machine(request) {
            let help = "open this page as localhost or 127.0.0.1, with the port";
            return refusal(StatusCode::MISDIRECTED_REQUEST, help);
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut answer =
                refusal(StatusCode::METHOD_NOT_ALLOWED, "this page is only to look at");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        let found = match path[..] {
            [""] => Some(content("text/html; charset=utf-8", PAGE)),
            ["state", since] => since.parse().ok().map(|since| self.state(since)),
            ["elite", class, file] => self.picture(class, file, Size::Full),
            ["thumbnail", class, file] => self.picture(class, file, Size::Thumbnail),
            _ => None,
        };
        found.unwrap_or_else(|| refusal(StatusCode::NOT_FOUND, "there is nothing here"))
    }

    fn state(&self, since: u64) -> Answer {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match state::json(&self.feed, since) {
            Ok(json) => content("application/json", json),
            Err(error) => failure(error),
        }
    }

    /// The picture of a class's elite; `None` if there is none. If the version asked for
    /// is not the latest (any more), the latest is what a browser gets and does not keep.
    fn picture(&self, class: &str, file: &str, size: Size) -> Option<Answer> {
        let class: usize = class.parse().ok()?;
        let version: u64 = file.strip_suffix(".png")?.parse().ok()?;
        let state = self.feed.state();
        let shown = state.elites.get(class)?.as_ref()?;
        let mut pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match pictures.file(shown, self.feed.run().shape, size) {
            Ok(png) => {
                let mut answer = content("image/png", png);
                if version == shown.version {
                    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
                }
                answer
            }
            Err(error) => failure(error),
        })
    }
}

/// Whether a request's host, wherever it is named, is this machine.
fn names_this_machine<B>(request: &Request<B>) -> bool {
    let is_here = |authority: &Authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        match host.parse::<std::net::IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        }
    };
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    Authority::try_from(host.as_bytes()).is_ok_and(|host| is_here(&host))
        && request.uri().authority().is_none_or(is_here)
}

/// Lets a browser run and load what the page itself contains, and this site's pictures
/// and state; nothing else.
fn policy() -> HeaderValue {
    let hash = |tag: &str| {
        let inside = PAGE.split_once(&format!("<{tag}>")).and_then(|(_, rest)| {
            let (inside, _) = rest.split_once(&format!("</{tag}>"))?;
            Some(Sha256::digest(inside))
        });
        BASE64_STANDARD.encode(inside.unwrap_or_default())
    };
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src 'self' data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn content(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn refusal(status: StatusCode, why: impl Display) -> Answer {
    let mut answer = content("text/plain; charset=utf-8", format!("{why}\n"));
    *answer.status_mut() = status;
    answer
}

fn failure(error: impl Display) -> Answer {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, error)
}
