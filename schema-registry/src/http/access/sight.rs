//! What a caller may see, for handlers: what they find in the registry, or in the request's body, is
//! not known before.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::super::Service;
use super::super::reply::Reply;
use super::{Asked, denied_operation, operation};
use crate::access::Role;
use crate::registry::{Registry, Submission};
use crate::subject::beside;

/// What a caller may see; everything, where nobody is asked who they are.
#[derive(Debug, Clone)]
pub(in super::super) struct Sight(Option<Arc<Asked>>);

impl FromRequestParts<Service> for Sight {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Infallible> {
        // Nothing is looked for where nobody is asked.
        let asked =
            if service.guarded { parts.extensions.get::<Arc<Asked>>().cloned() } else { None };
        Ok(Self(asked))
    }
}

impl Sight {
    fn may(&self, role: Role, subject: &str) -> bool {
        self.0.as_ref().is_none_or(|asked| asked.caller.rights.on_subject(role, subject))
    }

    /// Whether a subject may be read.
    pub(in super::super) fn sees(&self, subject: &str) -> bool {
        self.may(Role::Read, subject)
    }

    /// Whether anything in a context may be read.
    pub(in super::super) fn sees_context(&self, context: &str) -> bool {
        self.0.as_ref().is_none_or(|asked| asked.caller.rights.sees_context(context))
    }

    /// Refuses what may not be done.
    pub(in super::super) fn check(&self, role: Role, subject: &str) -> Result<(), Reply> {
        if self.may(role, subject) {
            return Ok(());
        }
        Err(denied_operation(operation(role), &format!("Subject: {subject}")))
    }

    /// Refuses a schema that was found by its id, unless a subject that has it may be read.
    pub(in super::super) fn check_schema(
        &self,
        registry: &Registry,
        context: &str,
        id: u32,
    ) -> Result<(), Reply> {
        if self.0.is_none() || registry.is_used(context, id, |subject| self.sees(subject)) {
            return Ok(());
        }
        Err(denied_operation(operation(Role::Read), &format!("Schema: {id}")))
    }

    /// Refuses a schema that refers to what may not be read.
    pub(in super::super) fn check_references(
        &self,
        registry: &Registry,
        subject: &str,
        submission: &Submission,
    ) -> Result<(), Reply> {
        if self.0.is_none() || submission.references.is_empty() {
            return Ok(());
        }
        let subject = &registry.subject(subject);
        let mut referred = submission.references.iter().map(|(_, name, _)| beside(subject, name));
        referred.try_for_each(|referred| self.check(Role::Read, &referred))
    }

    /// Refuses a registration that takes more than the route does: one with an id of its own.
    pub(in super::super) fn check_registration(
        &self,
        registry: &Registry,
        subject: &str,
        submission: &Submission,
    ) -> Result<(), Reply> {
        if self.0.is_none() {
            return Ok(());
        }
        self.check_drafted(&registry.subject(subject), submission)?;
        self.check_references(registry, subject, submission)
    }

    /// Refuses a registration under a subject that may not be written, or into which nothing may be
    /// imported. An alias may mean another subject than it did at the door.
    pub(in super::super) fn check_drafted(
        &self,
        subject: &str,
        submission: &Submission,
    ) -> Result<(), Reply> {
        let imports = submission.id.is_some_and(|id| id >= 0);
        self.check(if imports { Role::Admin } else { Role::Write }, subject)
    }

    /// Refuses an alias of a subject that may not be administered: it is another name for it.
    pub(in super::super) fn check_alias(
        &self,
        scope: &str,
        members: &Map<String, Value>,
    ) -> Result<(), Reply> {
        match members.get("alias").and_then(Value::as_str) {
            Some(alias) if !alias.is_empty() => self.check(Role::Admin, &beside(scope, alias)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Caller, Grant, Rights};

    #[test]
    fn a_registration_is_judged_by_the_subject_that_it_has_come_to() {
        let grant = Grant::new("*".parse().unwrap(), Role::Write, ".", "pay-").unwrap();
        let rights = Rights::of(&[grant], "ann", &[]);
        let client = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let caller = Caller { name: Some("ann".into()), rights };
        let sight = Sight(Some(Arc::new(Asked { caller, client, request_id: "r".into() })));
        let plain = Submission::default();
        sight.check_drafted("pay-a", &plain).unwrap();
        sight.check_drafted("hr-b", &plain).unwrap_err();
        let import = Submission { id: Some(7), ..plain };
        sight.check_drafted("pay-a", &import).unwrap_err();
        Sight(None).check_drafted("hr-b", &import).unwrap();
    }
}
