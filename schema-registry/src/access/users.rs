//! The users' file: a line for each, `NAME:HASH` or `NAME:HASH:GROUP,GROUP`, with hashes of passwords
//! by Argon2id as a PHC string. Empty lines and those that begin with `#` are passed over.

use std::collections::HashMap;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use ring::rand::SystemRandom;
use tidemesh_model::{Error, ErrorKind, Result};

/// How many users a file may have.
const USERS_MAX: usize = 10_000;

/// The longest name of a user, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 256;

/// The longest password, in bytes.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1_024;

/// The most memory that checking one password may take, in KiB.
const HASH_KIB_MAX: u32 = 256 * 1024;

/// The most rounds that checking one password may take.
const HASH_ROUNDS_MAX: u32 = 32;

/// One user.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) hash: String,
    pub(crate) groups: Vec<String>,
}

/// Users by their names.
#[derive(Debug)]
pub(crate) struct Users {
    names: HashMap<String, User>,
    nobodys: String,
}

impl Users {
    pub(crate) fn get(&self, name: &str) -> Option<&User> {
        self.names.get(name)
    }

    /// The hash of a password that nobody knows, to be checked for a name that is not there: at the
    /// cost of the costliest in the file, so that time tells nothing.
    pub(crate) fn nobodys(&self) -> &str {
        &self.nobodys
    }

    /// Reads the file's text.
    ///
    /// # Errors
    ///
    /// `Config`, with the line's number and nothing of what stands in it.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let mut users = HashMap::new();
        let mut costliest: Option<Params> = None;
        for (place, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |problem: &str| wrong(problem).with("line", place + 1);
            let (name, user, params) = user(line).map_err(wrong)?;
            if costliest.as_ref().is_none_or(|before| cost(before) < cost(&params)) {
                costliest = Some(params);
            }
            if users.insert(name.to_owned(), user).is_some() {
                return Err(wrong("the name is there twice"));
            }
            if users.len() > USERS_MAX {
                return Err(wrong("there are more than 10000 users"));
            }
        }
        let Some(costliest) = costliest else { return Err(wrong("there is no user in it")) };
        Ok(Self { names: users, nobodys: nobodys(costliest)? })
    }
}

/// What takes the time: rounds over the memory.
fn cost(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

fn nobodys(params: Params) -> Result<String> {
    let none = || Error::new(ErrorKind::Internal, "read the users").because("no randomness");
    let secret = ring::rand::generate(&SystemRandom::new()).map_err(|_| none())?;
    let secret: [u8; 32] = secret.expose();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(&secret).map_err(|_| none())?.to_string())
}

fn user(line: &str) -> std::result::Result<(&str, User, Params), &'static str> {
    let mut parts = line.splitn(3, ':');
    let (Some(name), Some(hash)) = (parts.next(), parts.next()) else {
        return Err("it is not NAME:HASH or NAME:HASH:GROUP,GROUP");
    };
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err("a name has 1 to 256 bytes");
    }
    let params = check(hash)?;
    let groups = parts.next().unwrap_or_default().split(',').map(str::trim);
    let groups = groups.filter(|group| !group.is_empty()).map(str::to_owned).collect();
    Ok((name, User { hash: hash.to_owned(), groups }, params))
}

/// Whether a hash is one that we check, at a cost that we bear; with that cost.
fn check(hash: &str) -> std::result::Result<Params, &'static str> {
    let no_hash = "the hash is none of Argon2id: make one with `tidemesh registry hash-password`";
    let hash = PasswordHash::new(hash).map_err(|_| no_hash)?;
    if hash.algorithm != Algorithm::Argon2id.ident() || hash.hash.is_none() || hash.salt.is_none() {
        return Err(no_hash);
    }
    let params = Params::try_from(&hash).map_err(|_| no_hash)?;
    if params.m_cost() > HASH_KIB_MAX || params.t_cost() > HASH_ROUNDS_MAX {
        return Err("checking the hash would take more than 256 MiB or 32 rounds");
    }
    Ok(params)
}

/// The hash of a password, with a salt of its own, as the users' file has it. Slow on purpose.
///
/// # Errors
///
/// `Config` for a password that is empty or longer than 1,024 bytes.
pub fn hash_password(password: &str) -> Result<String> {
    let wrong = |problem: &str| Error::new(ErrorKind::Config, "hash a password").because(problem);
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(wrong("it must have 1 to 1024 bytes"));
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    // The cause says nothing of the password, and nothing that helps either.
    Ok(hash.map_err(|_| wrong("no random salt can be had"))?.to_string())
}

/// Whether a hash is that of a password. Slow on purpose.
pub(crate) fn verify_password(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn wrong(problem: &str) -> Error {
    Error::new(ErrorKind::Config, "use the configuration")
        .because(format!("registry.users.file: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash that is cheap to check.
    pub(crate) const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$\
                                   gZ8yTrGj8tC0tkmSmxQNoW0n3oPAoDgZ2cJ1rHxwJyY";

    #[test]
    fn a_password_is_known_by_its_hash_and_no_two_hashes_are_the_same() {
        let hash = hash_password("hush").unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(verify_password("hush", &hash) && !verify_password("hush ", &hash));
        assert_ne!(hash, hash_password("hush").unwrap());
        assert!(!verify_password("hush", "no hash"));
        hash_password("").unwrap_err();
        hash_password(&"x".repeat(PASSWORD_BYTES_MAX + 1)).unwrap_err();
    }

    #[test]
    fn a_file_has_names_hashes_and_groups() {
        let text = format!("# who\n\nann:{HASH}\nbob:{HASH}: ops , dev\n");
        let users = Users::read(&text).unwrap();
        assert_eq!(users.get("ann").unwrap().groups, Vec::<String>::new());
        assert_eq!(users.get("bob").unwrap().groups, ["ops", "dev"]);
        assert!(users.get("eve").is_none());
    }

    #[test]
    fn nobodys_hash_costs_what_the_costliest_of_the_file_does() {
        let costlier = HASH.replace("m=64,t=1", "m=128,t=2");
        for (text, params) in [
            (format!("ann:{HASH}\n"), "m=64,t=1,p=1"),
            (format!("ann:{costlier}\nbob:{HASH}\n"), "m=128,t=2,p=1"),
        ] {
            let nobodys = Users::read(&text).unwrap().nobodys;
            assert!(nobodys.contains(params), "{nobodys}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_without_it() {
        let costly = HASH.replace("m=64", "m=1048576");
        for (text, problem) in [
            ("", "no user"),
            ("ann:hush", "Argon2id"),
            ("ann", "NAME:HASH"),
            (":x", "a name"),
            (&format!("ann:{HASH}\nann:{HASH}"), "twice"),
            (&format!("ann:{costly}"), "256 MiB"),
            (&format!("ann:{}", HASH.replace("argon2id", "argon2i")), "Argon2id"),
        ] {
            let told = Users::read(text).unwrap_err().report();
            assert!(told.contains(problem) && !told.contains("hush"), "{text}: {told}");
        }
    }
}
