//! Who is let in. Checking a bcrypt hash takes a tenth of a second by design, so it is done on a thread of its own, one at a
//! time, few wait, and a password that was right is known again without it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use ring::{hmac, rand};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Requests that wait for their password to be checked; others are told to come again.
const WAITING: usize = 16;

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it.
    Welcome,
    /// Ask for name and password.
    Unknown,
    /// Too many passwords are being checked.
    Busy,
}

/// How many passwords are checked at once, whatever file is in force.
#[derive(Debug)]
pub struct Workers {
    seats: Arc<Semaphore>,
    worker: Arc<Semaphore>,
}

impl Default for Workers {
    /// One works, some wait.
    fn default() -> Self {
        Self { seats: Arc::new(Semaphore::new(WAITING)), worker: Arc::new(Semaphore::new(1)) }
    }
}

/// Users and the hashes of their passwords.
pub struct Users {
    hashes: BTreeMap<String, String>,
    /// Keyed hashes of what was right, one a user.
    right: Mutex<HashMap<String, hmac::Tag>>,
    /// Of this object alone. Without randomness there is none, and nothing is remembered.
    key: Option<hmac::Key>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.hashes.keys()).finish()
    }
}

impl Users {
    /// No password is needed.
    pub fn everybody() -> Self {
        Self::new(BTreeMap::new())
    }

    /// These, and everybody if there are none.
    pub fn new(hashes: BTreeMap<String, String>) -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).ok();
        Self { hashes, right: Mutex::default(), key }
    }

    /// Looks at the header `Authorization`.
    pub async fn judge(&self, authorization: Option<&HeaderValue>, workers: &Workers) -> Verdict {
        let Some(any) = self.hashes.values().next() else { return Verdict::Welcome };
        let Some((user, password)) = authorization.and_then(credentials) else { return Verdict::Unknown };
        let known = self.hashes.get(&user);
        if known.is_some() && self.was_right(&user, &password) {
            return Verdict::Welcome;
        }
        let Ok(seat) = Arc::clone(&workers.seats).try_acquire_owned() else { return Verdict::Busy };
        let Ok(turn) = Arc::clone(&workers.worker).acquire_owned().await else { return Verdict::Busy };
        // Somebody who does not exist takes as long as somebody who does.
        let hash = known.unwrap_or(any).clone();
        let tag = self.tag(&user, &password);
        let checked = spawn_blocking(move || {
            let right = bcrypt::verify(password, &hash).unwrap_or(false);
            // Whoever asked may be gone, and the work goes on all the same.
            drop((seat, turn));
            right
        });
        if !checked.await.unwrap_or(false) || known.is_none() {
            return Verdict::Unknown;
        }
        if let Some(tag) = tag {
            self.right.lock().unwrap_or_else(PoisonError::into_inner).insert(user, tag);
        }
        Verdict::Welcome
    }

    /// Compares in constant time.
    fn was_right(&self, user: &str, password: &[u8]) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((key, tag)) = self.key.as_ref().zip(right.get(user)) else { return false };
        hmac::verify(key, &told(user, password), tag.as_ref()).is_ok()
    }

    fn tag(&self, user: &str, password: &[u8]) -> Option<hmac::Tag> {
        self.key.as_ref().map(|key| hmac::sign(key, &told(user, password)))
    }
}

/// Both, so that neither can be taken for part of the other.
fn told(user: &str, password: &[u8]) -> Vec<u8> {
    let length = (user.len() as u64).to_le_bytes();
    [&length[..], user.as_bytes(), password].concat()
}

/// Name and password of `Basic`.
fn credentials(header: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let both = STANDARD.decode(encoded.trim()).ok()?;
    let colon = both.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(both[..colon].to_vec()).ok()?;
    Some((user, both[colon + 1..].to_vec()))
}
