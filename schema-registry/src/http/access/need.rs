//! What each route takes. A route that is not named here takes the most: whoever adds one says so.

use axum::http::Method;

use super::operation;
use crate::access::{Rights, Role};
use crate::registry::Registry;
use crate::subject::{Name, SCOPE_ALL, context_name, normalized};

/// A consumer of a subject.
const CONSUMER: &str = "/tidemesh/v1/consumers/{consumer}/subjects/{subject}";

/// What somebody has to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    role: Role,
    place: Place,
    changes: bool,
}

/// Where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: it is enough to be known. Lists hold what their reader may see.
    Nowhere,
    /// On a subject.
    Subject(String),
    /// On a context as a whole.
    Context(String),
    /// On everything.
    Everything,
}

/// Finds what a request takes; `name` gives the parts of its path.
pub(super) fn of<'a>(
    method: &Method,
    route: &str,
    permanent: bool,
    registry: &Registry,
    name: &dyn Fn(&str) -> Option<&'a str>,
) -> Need {
    let (role, changes) = role(method, route, permanent);
    let Some(role) = role else { return Need { role: Role::Read, place: Place::Nowhere, changes } };
    let place = match (name("subject"), name("context")) {
        (Some(scope), _) if is_setting(route) => of_scope(scope),
        (Some(subject), _) => Place::Subject(registry.subject(subject)),
        (None, Some(context)) => context_name(context).map_or(Place::Everything, Place::Context),
        (None, None) => Place::Everything,
    };
    Need { role, place, changes }
}

/// The role, if one is needed, and whether anything is changed.
fn role(method: &Method, route: &str, permanent: bool) -> (Option<Role>, bool) {
    let is_compatibility = route.starts_with("/compatibility/subjects/{subject}/");
    match *method {
        Method::GET | Method::HEAD if route.contains("{subject}") => (Some(Role::Read), false),
        Method::GET | Method::HEAD => match route {
            "/" | "/openapi.json" | "/contexts" | "/health" | "/subjects" | "/config" | "/mode" => {
                (None, false)
            }
            // It holds consumers of what its reader may see.
            "/tidemesh/v1/consumers" => (None, false),
            _ if route.starts_with("/v1/metadata/") || route.starts_with("/schemas") => {
                (None, false)
            }
            _ => (Some(Role::Admin), false),
        },
        Method::POST => match route {
            "/" => (None, false),
            // The subject is in its body.
            "/tidemesh/v1/compatibility/explain" => (None, false),
            "/subjects/{subject}" => (Some(Role::Read), false),
            _ if is_compatibility => (Some(Role::Read), false),
            "/subjects/{subject}/versions" | "/subjects/{subject}/versions/{version}/tags" => {
                (Some(Role::Write), true)
            }
            _ => (Some(Role::Admin), true),
        },
        Method::DELETE => match route {
            "/subjects/{subject}" | "/subjects/{subject}/versions/{version}" if !permanent => {
                (Some(Role::Write), true)
            }
            CONSUMER => (Some(Role::Write), true),
            _ => (Some(Role::Admin), true),
        },
        Method::PUT if route == CONSUMER => (Some(Role::Write), true),
        Method::PUT => (Some(Role::Admin), true),
        // Answered with 405.
        _ => (None, false),
    }
}

fn is_setting(route: &str) -> bool {
    route.starts_with("/config/") || route.starts_with("/mode/")
}

/// Where a configuration or a mode holds.
fn of_scope(scope: &str) -> Place {
    let scope = normalized(scope);
    let name = Name::of(&scope);
    match &*scope {
        "" | SCOPE_ALL => Place::Everything,
        _ if name.subject.is_empty() => Place::Context(name.context.to_owned()),
        _ => Place::Subject(scope.into_owned()),
    }
}

impl Need {
    /// Whether somebody has it; else what they lack.
    pub(super) fn check(&self, rights: &Rights) -> Result<(), (&'static str, String)> {
        let has = match &self.place {
            Place::Nowhere => true,
            Place::Subject(subject) => rights.on_subject(self.role, subject),
            Place::Context(context) => rights.on_context(self.role, context),
            // What holds for all may be read by all.
            Place::Everything => self.role == Role::Read || rights.on_all(self.role),
        };
        if has { Ok(()) } else { Err((operation(self.role), self.what())) }
    }

    fn what(&self) -> String {
        match &self.place {
            Place::Subject(subject) => format!("Subject: {subject}"),
            Place::Context(context) => format!("Context: {context}"),
            Place::Nowhere | Place::Everything => "this server".to_owned(),
        }
    }

    pub(super) fn changes(&self) -> bool {
        self.changes
    }

    pub(super) fn is_for_all(&self) -> bool {
        self.place == Place::Everything
    }

    /// The subject, and the context.
    pub(super) fn names(&self) -> (Option<&str>, Option<&str>) {
        match &self.place {
            Place::Subject(subject) => (Some(subject), Some(Name::of(subject).context)),
            Place::Context(context) => (None, Some(context)),
            Place::Nowhere | Place::Everything => (None, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_takes_what_the_documentation_says() {
        let version = "/subjects/{subject}/versions/{version}";
        let (read, write, admin) = (Some(Role::Read), Some(Role::Write), Some(Role::Admin));
        for (method, route, permanent, expected) in [
            (Method::GET, "/subjects", false, (None, false)),
            (Method::GET, "/schemas/ids/{id}", false, (None, false)),
            (Method::HEAD, version, false, (read, false)),
            (Method::POST, "/subjects/{subject}", false, (read, false)),
            (Method::POST, "/compatibility/subjects/{subject}/versions", false, (read, false)),
            (Method::POST, "/subjects/{subject}/versions", false, (write, true)),
            (Method::POST, &format!("{version}/tags"), false, (write, true)),
            (Method::DELETE, "/subjects/{subject}", false, (write, true)),
            (Method::DELETE, "/subjects/{subject}", true, (admin, true)),
            (Method::DELETE, version, true, (admin, true)),
            (Method::DELETE, "/contexts/{context}", false, (admin, true)),
            (Method::GET, "/config/{subject}", false, (read, false)),
            (Method::PUT, "/config/{subject}", false, (admin, true)),
            (Method::DELETE, "/mode", false, (admin, true)),
            (Method::GET, "/tidemesh/v1/consumers", false, (None, false)),
            (Method::GET, CONSUMER, false, (read, false)),
            (Method::PUT, CONSUMER, false, (write, true)),
            (Method::DELETE, CONSUMER, false, (write, true)),
            (Method::POST, "/tidemesh/v1/compatibility/explain", false, (None, false)),
            (Method::GET, "/something/new", false, (admin, false)),
            (Method::POST, "/something/new", false, (admin, true)),
        ] {
            assert_eq!(role(&method, route, permanent), expected, "{method} {route}");
        }
    }

    #[test]
    fn a_setting_is_a_subjects_a_contexts_or_everybodys() {
        assert_eq!(of_scope("a"), Place::Subject("a".into()));
        assert_eq!(of_scope(":.c:a"), Place::Subject(":.c:a".into()));
        assert_eq!(of_scope(":.c:"), Place::Context(".c".into()));
        assert_eq!(of_scope(":.c"), Place::Context(".c".into()));
        for all in ["", ":.:", ":.__GLOBAL:"] {
            assert_eq!(of_scope(all), Place::Everything, "{all}");
        }
    }
}
