//! Who a password belongs to. Hashing is slow on purpose, so it is done once for a password that
//! holds, off the threads that serve, two at a time, and only so often for a client whose passwords are
//! wrong.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use ring::hmac;
use ring::rand::SystemRandom;
use tidemesh_http::{Watched, network};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

use super::denial::Denial;
use super::rate::{Buckets, Rate};
use super::users::{NAME_BYTES_MAX, PASSWORD_BYTES_MAX, User, Users, verify_password};

/// How many passwords that hold are remembered.
const VERIFIED_MAX: usize = 1_000;

/// How many passwords are hashed at the same time.
const HASHED_AT_ONCE_MAX: usize = 2;

/// The longest that a password waits to be hashed.
const HASH_WAIT_MAX: Duration = Duration::from_secs(5);

/// How many wrong passwords one client may try.
const WRONG: Rate = Rate { per_second: 1, burst: 10 };

/// What a password that holds is remembered by: keyed, so that memory has nothing that could be tried
/// elsewhere.
type Digest = [u8; 32];

/// The users, and what is remembered of them.
#[derive(Debug)]
pub(crate) struct Passwords {
    users: Arc<Watched<Users>>,
    verified: Cache<Digest, ()>,
    key: hmac::Key,
    hashing: Arc<Semaphore>,
    wrong: Buckets<IpAddr>,
}

impl Passwords {
    pub(crate) fn new(users: Arc<Watched<Users>>) -> Result<Self> {
        let random = SystemRandom::new();
        let none =
            |_| Error::new(ErrorKind::Internal, "guard the registry").because("no randomness");
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(none)?;
        Ok(Self {
            users,
            verified: Cache::new(VERIFIED_MAX),
            key,
            hashing: Arc::new(Semaphore::new(HASHED_AT_ONCE_MAX)),
            wrong: Buckets::new(WRONG),
        })
    }

    /// The groups of a user whose password this is.
    pub(crate) async fn check(
        &self,
        name: &str,
        password: &str,
        client: IpAddr,
    ) -> std::result::Result<Vec<String>, Denial> {
        if name.len() > NAME_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
            return Err(Denial::Unknown("the name or the password is too long"));
        }
        let users = self.users.get();
        let user = users.get(name);
        let hash = user.map_or(users.nobodys(), |user| user.hash.as_str());
        let digest = self.digest(name, password, hash);
        let known = |user: &User| user.groups.clone();
        if let Some(user) = user.filter(|_| self.verified.get(&digest).is_some()) {
            return Ok(known(user));
        }
        let is_right = self.hashed(digest, password, hash, network(client)).await?;
        user.filter(|_| is_right)
            .map(known)
            .ok_or(Denial::Unknown("the user or the password is wrong"))
    }

    async fn hashed(
        &self,
        digest: Digest,
        password: &str,
        hash: &str,
        client: IpAddr,
    ) -> std::result::Result<bool, Denial> {
        let place = Arc::clone(&self.hashing).acquire_owned();
        let Ok(Ok(place)) = tokio::time::timeout(HASH_WAIT_MAX, place).await else {
            return Err(Denial::TooMany { retry_after: HASH_WAIT_MAX, first: false });
        };
        // Others of the same user may have waited for the same.
        if self.verified.get(&digest).is_some() {
            return Ok(true);
        }
        self.wrong.take(&client, Instant::now())?;
        let (password, hash) = (password.to_owned(), hash.to_owned());
        let hashed = tokio::task::spawn_blocking(move || {
            let _place = place;
            verify_password(&password, &hash)
        });
        let is_right = hashed.await.unwrap_or(false);
        if is_right {
            self.verified.insert(digest, ());
            self.wrong.give_back(&client);
        }
        Ok(is_right)
    }

    /// Another password of the user, or another hash in the file, is another digest.
    fn digest(&self, name: &str, password: &str, hash: &str) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [name, password, hash] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::hash_password;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn passwords(file: &std::path::Path) -> Passwords {
        let path = file.to_owned();
        let load = move || Users::read(&std::fs::read_to_string(&path).unwrap());
        Passwords::new(Watched::open("users", vec![file.to_owned()], load).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_password_that_holds_is_hashed_once_and_forgotten_with_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        std::fs::write(&file, format!("ann:{}:ops\n", hash_password("hush").unwrap())).unwrap();
        let passwords = passwords(&file);
        for _ in 0..100 {
            assert_eq!(passwords.check("ann", "hush", CLIENT).await.unwrap(), ["ops"]);
        }
        assert_eq!(passwords.verified.len(), 1);
        std::fs::write(&file, format!("ann:{}\n", hash_password("other").unwrap())).unwrap();
        passwords.users.check();
        let denial = passwords.check("ann", "hush", CLIENT).await.unwrap_err();
        assert!(matches!(denial, Denial::Unknown(_)), "{denial:?}");
        passwords.check("ann", "other", CLIENT).await.unwrap();
    }

    #[tokio::test]
    async fn wrong_passwords_of_one_client_are_hashed_only_so_often() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        std::fs::write(&file, format!("ann:{}\n", hash_password("hush").unwrap())).unwrap();
        let passwords = passwords(&file);
        passwords.check("ann", "hush", CLIENT).await.unwrap();
        let mut refused = false;
        for attempt in 0..200 {
            let name = if attempt % 2 == 0 { "ann" } else { "nobody" };
            let denial = passwords.check(name, &format!("{attempt}"), CLIENT).await.unwrap_err();
            refused |= matches!(denial, Denial::TooMany { .. });
        }
        assert!(refused, "guessing was not slowed down");
        passwords.check("ann", "hush", CLIENT).await.unwrap();
        let other = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
        let denial = passwords.check("ann", "guess", other).await.unwrap_err();
        assert!(matches!(denial, Denial::Unknown(_)), "another client has a bucket of its own");
    }
}
