//! A registry, by Confluent's REST API: ours or another.

use serde::Serialize;
use serde_json::Value as Json;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::RegistryAccess;

use super::super::client::Daemon;

/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The code of an answer to what is no schema there.
const INVALID_SCHEMA: u32 = 42201;

/// One registry.
pub(super) struct Registry {
    http: reqwest::Client,
    access: RegistryAccess,
    url: String,
}

impl Registry {
    /// The registry of a daemon.
    pub(super) async fn of(daemon: &Daemon) -> Result<Self> {
        Self::new(&daemon.registry_url().await?, daemon.registry_access()?)
    }

    /// The registry at this address. Nothing is sent yet.
    pub(super) fn new(url: &str, access: RegistryAccess) -> Result<Self> {
        let http = access.client(REQUEST_TIMEOUT)?;
        Ok(Self { http, access, url: url.trim_end_matches('/').to_owned() })
    }

    /// What it answers; none where there is nothing.
    pub(super) async fn find(&self, path: &str) -> Result<Option<Json>> {
        let (status, body) = self.send(self.http.get(self.at(path))).await?;
        match status {
            404 => Ok(None),
            200..=299 => Ok(Some(body)),
            _ => Err(self.refused(path, status, &body)),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Json> {
        let (status, body) = self.send(self.http.get(self.at(path))).await?;
        self.checked(path, status, body)
    }

    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Json> {
        let (status, body) = self.send(self.http.post(self.at(path)).json(body)).await?;
        self.checked(path, status, body)
    }

    pub(super) async fn put(&self, path: &str, body: &impl Serialize) -> Result<Json> {
        let (status, body) = self.send(self.http.put(self.at(path)).json(body)).await?;
        self.checked(path, status, body)
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Json> {
        let (status, body) = self.send(self.http.delete(self.at(path))).await?;
        self.checked(path, status, body)
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The same as it may be shown: without a user and a password.
    fn shown(&self, path: &str) -> String {
        match reqwest::Url::parse(&self.at(path)) {
            Ok(mut url) => {
                // Of an address that can have none, there is nothing to take away.
                let _ = url.set_username("");
                let _ = url.set_password(None);
                url.into()
            }
            Err(_) => path.to_owned(),
        }
    }

    /// A list whole, page by page. A peer that knows no pages gives all of it again and again.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<Json>> {
        let mut found: Vec<Json> = Vec::new();
        let joint = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = format!("{path}{joint}offset={}", found.len());
            let Json::Array(page) = self.find(&page).await?.unwrap_or_default() else {
                return Ok(found);
            };
            let known = found.len();
            if page.is_empty() || known > 0 && page.first() == found.first() {
                return Ok(found);
            }
            found.extend(page);
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Json)> {
        let away = |error: reqwest::Error| {
            Error::new(ErrorKind::Unavailable, "talk to a registry")
                .with("url", self.shown(""))
                .caused_by(error.without_url())
        };
        let request = self.access.authorized(request).await?;
        let response = request.send().await.map_err(away)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(away)?;
        let text = || Json::String(String::from_utf8_lossy(&body).into_owned());
        Ok((status, serde_json::from_slice(&body).unwrap_or_else(|_| text())))
    }

    fn checked(&self, path: &str, status: u16, body: Json) -> Result<Json> {
        if (200..300).contains(&status) { Ok(body) } else { Err(self.refused(path, status, &body)) }
    }

    fn refused(&self, path: &str, status: u16, body: &Json) -> Error {
        let kind = match status {
            _ if body["error_code"] == INVALID_SCHEMA => ErrorKind::Malformed,
            401 => ErrorKind::Authentication,
            403 => ErrorKind::Privilege,
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Incompatible,
            429 | 500.. => ErrorKind::Unavailable,
            _ => ErrorKind::Config,
        };
        let message = body["message"].as_str().map_or_else(|| body.to_string(), str::to_owned);
        let error = Error::new(kind, "talk to a registry")
            .because(message)
            .with("url", self.shown(path))
            .with("status", status);
        match kind {
            ErrorKind::Authentication => error.help(
                "give --registry-username and TIDEMESH_REGISTRY_PASSWORD, or --registry-token-file",
            ),
            _ => error,
        }
    }
}
