//! Who may do what: roles on the subjects of a context that begin with a prefix. Pure.

use std::str::FromStr;

use tidemesh_model::{Error, ErrorKind, Result};

use crate::subject::{CONTEXT_DEFAULT, Name};

/// Every context, as a grant names it.
const CONTEXT_EVERY: &str = "*";

/// What may be done. Each role has those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reading, looking up, checking whether a schema may follow.
    Read,
    /// Registering, deleting softly, tagging.
    Write,
    /// Configurations and modes, deleting for good, importing with ids.
    Admin,
}

impl Role {
    /// As it is written in settings and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Read, Self::Write, Self::Admin]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| wrong("role", "it must be read, write or admin", text))
    }
}

/// Whom a grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantee {
    /// Everybody who is known: by a password or a token.
    Everybody,
    /// A user of the users' file, or the principal of a token.
    User(String),
    /// Who is in a group of the users' file, or has it in the token's claim.
    Group(String),
}

impl FromStr for Grantee {
    type Err = Error;

    /// Reads `*`, `user:NAME` or `group:NAME`.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "*" => Ok(Self::Everybody),
            Some(("user", name)) if !name.is_empty() => Ok(Self::User(name.to_owned())),
            Some(("group", name)) if !name.is_empty() => Ok(Self::Group(name.to_owned())),
            _ => Err(wrong("to", "it must be user:NAME, group:NAME or *", text)),
        }
    }
}

/// A role on some subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    to: Grantee,
    role: Role,
    /// Every context where it is absent.
    context: Option<String>,
    prefix: String,
}

impl Grant {
    /// A role for somebody on the subjects of `context` (`.` for the default one, `.name`, or `*` for
    /// every context) that begin with `prefix`; with an empty one all of them, and the context itself.
    ///
    /// # Errors
    ///
    /// `Config` if `context` is none of these.
    pub fn new(to: Grantee, role: Role, context: &str, prefix: &str) -> Result<Self> {
        if context != CONTEXT_EVERY && (!context.starts_with('.') || context.contains(':')) {
            return Err(wrong("context", "it must be . or .NAME or *", context));
        }
        if prefix.starts_with(":.") {
            return Err(wrong("prefix", "the context stands in a key of its own", prefix));
        }
        let context = (context != CONTEXT_EVERY).then(|| context.to_owned());
        Ok(Self { to, role, context, prefix: prefix.to_owned() })
    }

    fn is_for(&self, name: &str, groups: &[String]) -> bool {
        match &self.to {
            Grantee::Everybody => true,
            Grantee::User(user) => user == name,
            Grantee::Group(group) => groups.iter().any(|own| own == group),
        }
    }

    fn is_in(&self, context: &str) -> bool {
        self.context.as_deref().is_none_or(|own| own == context)
    }
}

/// What somebody may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights(Option<Vec<Grant>>);

impl Rights {
    /// To do everything.
    pub(crate) fn all() -> Self {
        Self(None)
    }

    /// Those of somebody, by the grants.
    pub(crate) fn of(grants: &[Grant], name: &str, groups: &[String]) -> Self {
        let own = grants.iter().filter(|grant| grant.is_for(name, groups)).cloned();
        Self(Some(own.collect()))
    }

    /// On one subject; a context's own scope, `:.ctx:`, is a subject without a name.
    pub(crate) fn on_subject(&self, role: Role, subject: &str) -> bool {
        let name = Name::of(subject);
        self.any(|grant| {
            grant.role >= role
                && grant.is_in(name.context)
                && name.subject.starts_with(&grant.prefix)
        })
    }

    /// On a whole context.
    pub(crate) fn on_context(&self, role: Role, context: &str) -> bool {
        self.any(|grant| grant.role >= role && grant.is_in(context) && grant.prefix.is_empty())
    }

    /// On everything.
    pub(crate) fn on_all(&self, role: Role) -> bool {
        self.any(|grant| grant.role >= role && grant.context.is_none() && grant.prefix.is_empty())
    }

    /// Whether anything of a context may be read.
    pub(crate) fn sees_context(&self, context: &str) -> bool {
        self.any(|grant| grant.is_in(context))
    }

    fn any(&self, is_enough: impl Fn(&Grant) -> bool) -> bool {
        self.0.as_ref().is_none_or(|grants| grants.iter().any(is_enough))
    }
}

fn wrong(key: &str, problem: &str, found: &str) -> Error {
    Error::new(ErrorKind::Config, "use the configuration")
        .because(format!("registry.grant.{key}: {problem}"))
        .with("found", found)
}

/// The default context, where a grant names none.
pub const GRANT_CONTEXT_DEFAULT: &str = CONTEXT_DEFAULT;

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(to: &str, role: &str, context: &str, prefix: &str) -> Grant {
        Grant::new(to.parse().unwrap(), role.parse().unwrap(), context, prefix).unwrap()
    }

    #[test]
    fn a_role_has_those_before_it_on_what_it_is_for_and_nowhere_else() {
        let grants = [
            grant("user:ann", "write", ".", "pay-"),
            grant("group:ops", "admin", ".ops", ""),
            grant("*", "read", ".shared", ""),
        ];
        let ann = Rights::of(&grants, "ann", &[]);
        assert!(ann.on_subject(Role::Read, "pay-value") && ann.on_subject(Role::Write, "pay-x"));
        assert!(!ann.on_subject(Role::Admin, "pay-value"));
        assert!(!ann.on_subject(Role::Read, "pa") && !ann.on_subject(Role::Read, ":.ops:pay-x"));
        assert!(ann.on_subject(Role::Read, ":.shared:x") && ann.sees_context(".shared"));
        assert!(!ann.sees_context(".ops") && !ann.on_context(Role::Read, "."));
        let bob = Rights::of(&grants, "bob", &["ops".to_owned()]);
        assert!(bob.on_context(Role::Admin, ".ops") && bob.on_subject(Role::Admin, ":.ops:"));
        assert!(!bob.on_subject(Role::Read, "pay-value") && !bob.on_all(Role::Read));
    }

    #[test]
    fn everything_is_every_context_without_a_prefix() {
        let of = |grant: Grant| Rights::of(&[grant], "ann", &[]);
        assert!(of(grant("*", "admin", "*", "")).on_all(Role::Admin));
        assert!(!of(grant("*", "admin", "*", "a")).on_all(Role::Read));
        assert!(!of(grant("*", "admin", ".", "")).on_all(Role::Read));
        assert!(Rights::all().on_all(Role::Admin) && Rights::all().sees_context(".x"));
        assert!(!Rights::of(&[], "ann", &[]).sees_context("."));
    }

    #[test]
    fn what_is_no_grant_is_refused_with_its_key() {
        let told = |error: Error| error.to_string();
        assert!(told("ann".parse::<Grantee>().unwrap_err()).contains("registry.grant.to"));
        assert!(told("user:".parse::<Grantee>().unwrap_err()).contains("registry.grant.to"));
        assert!(told("owner".parse::<Role>().unwrap_err()).contains("registry.grant.role"));
        for (context, prefix) in [("ctx", ""), (":.c:", ""), (".", ":.c:a")] {
            Grant::new(Grantee::Everybody, Role::Read, context, prefix).unwrap_err();
        }
    }
}
