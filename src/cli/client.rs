//! How the command line finds a daemon: one address, from which the others follow.

use super::registry::RegistryAuth;
use crate::daemon::Endpoints;
use clap::Args;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;
use tidemesh_controller::ErrorAnswer;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::{RegistryAccess, RegistryClient, RemoteTransport};

/// The longest that an answer may take: a verification takes as long as its tables do.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Which daemon to talk to.
#[derive(Debug, Clone, Args)]
pub(super) struct Daemon {
    /// The daemon's control address.
    #[arg(long, value_name = "URL", env = "TIDEMESH_URL", default_value = "http://127.0.0.1:8090")]
    pub(super) url: String,
    #[command(flatten)]
    auth: RegistryAuth,
}

/// The answer to what may be refused for what was handed in.
#[derive(Debug)]
pub(super) enum Refusable<A> {
    /// It was done.
    Done(A),
    /// What was handed in is wrong.
    Refused(ErrorAnswer),
}

impl Daemon {
    /// Has the daemon do something that it may refuse, naming what is wrong with each document.
    pub(super) async fn post_refusable<A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<Refusable<A>> {
        self.refusable(path, |http, url| http.post(url).json(body)).await
    }

    /// The same of a removal.
    pub(super) async fn delete_refusable<A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Refusable<A>> {
        self.refusable(path, |http, url| http.delete(url)).await
    }

    async fn refusable<A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        request: impl FnOnce(reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> Result<Refusable<A>> {
        let (response, url) = self.send_any(path, request).await?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| away(&url).caused_by(error))?;
        if status.is_success() {
            return parse(&body, &url).map(Refusable::Done);
        }
        match serde_json::from_slice::<ErrorAnswer>(&body) {
            Ok(answer) if !answer.problems.is_empty() => Ok(Refusable::Refused(answer)),
            _ => Err(refusal(status, &body, &url)),
        }
    }

    /// Asks the control port, for JSON.
    pub(super) async fn get<A: serde::de::DeserializeOwned>(&self, path: &str) -> Result<A> {
        self.ask(path, |http, url| http.get(url)).await
    }

    /// Has the daemon do something.
    pub(super) async fn post<A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<A> {
        self.ask(path, |http, url| http.post(url).json(body)).await
    }

    /// Has the daemon do something and tell of it line by line, each a JSON document.
    pub(super) async fn post_for_lines<A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        mut take: impl FnMut(A) -> Result<()>,
    ) -> Result<()> {
        let (mut response, url) = self.send(path, |http, url| http.post(url).json(body)).await?;
        let mut line = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| away(&url).caused_by(e))? {
            for part in piece.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.ends_with(b"\n") {
                    take(parse(&line, &url)?)?;
                    line.clear();
                }
            }
        }
        Ok(())
    }

    async fn ask<A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        request: impl FnOnce(reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> Result<A> {
        let (response, url) = self.send(path, request).await?;
        let body = response.bytes().await.map_err(|error| away(&url).caused_by(error))?;
        parse(&body, &url)
    }

    /// The answer, if it is no refusal, and the address it came from.
    async fn send(
        &self,
        path: &str,
        request: impl FnOnce(reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> Result<(reqwest::Response, String)> {
        let (response, url) = self.send_any(path, request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok((response, url));
        }
        let body = response.bytes().await.map_err(|error| away(&url).caused_by(error))?;
        Err(refusal(status, &body, &url))
    }

    /// The answer, whatever it is, and the address it came from.
    async fn send_any(
        &self,
        path: &str,
        request: impl FnOnce(reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> Result<(reqwest::Response, String)> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        // It may be a registry's own address, whose certificate the system need not know.
        let http = self.auth.trust().client(CONTROL_TIMEOUT)?;
        let sent = request(http, &url).send().await;
        let response = sent.map_err(|error| away(&url).caused_by(error))?;
        Ok((response, url))
    }

    /// The log that the daemon holds or writes to.
    pub(super) async fn log(&self) -> Result<RemoteTransport> {
        let endpoints: Endpoints = self.get("/v1/endpoints").await?;
        match endpoints.data {
            Some(data) => RemoteTransport::new(&self.reachable(&data)),
            None => Err(Error::new(ErrorKind::NotFound, "find the log")
                .because("this daemon has none")
                .with("url", &self.url)),
        }
    }

    /// The registry beside it; where the address is a registry's own, that one. With a log-in set, only
    /// one that may be told it.
    pub(super) async fn registry_url(&self) -> Result<String> {
        let found = match self.get::<Endpoints>("/v1/endpoints").await {
            Ok(Endpoints { registry: Some(registry), .. }) => self.reachable(&registry),
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            Ok(_) | Err(_) => self.url.clone(),
        };
        if self.auth.has_login() {
            self.check_told(&found)?;
        }
        Ok(found)
    }

    /// Refuses a registry that our password must not be sent to: in clear to another machine, or
    /// wherever the control port says, which nobody has to be known at.
    fn check_told(&self, registry: &str) -> Result<()> {
        let parse = |url: &str| {
            reqwest::Url::parse(url).map_err(|error| {
                Error::new(ErrorKind::Config, "log in to the registry")
                    .because("this is no address")
                    .with("url", url)
                    .caused_by(error)
            })
        };
        let (url, own) = (parse(registry)?, parse(&self.url)?);
        if url.scheme() == "https" {
            return Ok(());
        }
        let because = if !is_loopback(&url) {
            "the password or token would be sent in clear"
        } else if url.host() != own.host() && !is_loopback(&own) {
            "another machine names a registry on this one"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Config, "log in to the registry")
            .because(because)
            .with("registry", registry)
            .help("give the registry's https:// address by --url"))
    }

    /// An address as it is reached from here: one that listens everywhere is where the daemon is.
    fn reachable(&self, address: &str) -> String {
        let host = |url: &str| reqwest::Url::parse(url).ok()?.host_str().map(str::to_owned);
        let everywhere = ["//0.0.0.0:", "//[::]:"];
        match (everywhere.iter().find(|host| address.contains(**host)), host(&self.url)) {
            (Some(unspecified), Some(host)) => {
                address.replacen(unspecified, &format!("//{host}:"), 1)
            }
            _ => address.to_owned(),
        }
    }

    pub(super) async fn registry(&self) -> Result<RegistryClient> {
        RegistryClient::with_access(&self.registry_url().await?, self.registry_access()?)
    }

    /// As whom the registry is talked to.
    pub(super) fn registry_access(&self) -> Result<RegistryAccess> {
        self.auth.access()
    }

    /// The same for another registry, which is not told who we are here.
    pub(super) fn peer_access(&self) -> RegistryAccess {
        self.auth.trust()
    }
}

/// Why the daemon refused: its words, which are a text or have a JSON body.
fn refusal(status: reqwest::StatusCode, body: &[u8], url: &str) -> Error {
    let text = match serde_json::from_slice::<ErrorAnswer>(body) {
        Ok(answer) => answer.message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    Error::new(kind_of(status.as_u16()), "talk to the daemon")
        .because(if text.is_empty() { status.to_string() } else { text })
        .with("url", url)
}

/// What kind of error a status tells of: one that passes only if it passes at the daemon
/// ([`ErrorKind::http_status`]).
fn kind_of(status: u16) -> ErrorKind {
    match status {
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        413 => ErrorKind::TooLarge,
        500 => ErrorKind::Internal,
        // A server behind the daemon lacks something.
        502 => ErrorKind::Prerequisite,
        503 => ErrorKind::Unavailable,
        _ => ErrorKind::Config,
    }
}

/// Whether an address is on this machine.
fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn away(url: &str) -> Error {
    Error::new(ErrorKind::Unavailable, "talk to the daemon")
        .with("url", url)
        .help("start `tidemesh up`, or give its control address by --url or TIDEMESH_URL")
}

fn parse<A: serde::de::DeserializeOwned>(body: &[u8], url: &str) -> Result<A> {
    serde_json::from_slice(body).map_err(|error| {
        Error::new(ErrorKind::Malformed, "talk to the daemon").with("url", url).caused_by(error)
    })
}

/// Prints a line; a reader that has gone away ends the process quietly, as `head` expects.
pub(super) fn print_line(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(|e| Error::new(ErrorKind::Storage, "print a line").caused_by(e)),
    }
}

/// Prints JSON for people.
pub(super) fn print_json<T: serde::Serialize>(value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "print JSON").caused_by(e))?;
    print_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::Remedy;

    #[test]
    fn a_password_goes_over_tls_or_stays_on_this_machine() {
        let told = |own: &str, registry: &str| {
            let daemon = Daemon { url: own.into(), auth: RegistryAuth::default() };
            daemon.check_told(registry).is_ok()
        };
        for (own, registry) in [
            ("http://127.0.0.1:8090", "http://127.0.0.1:8081"),
            ("http://localhost:8090", "http://[::1]:8081"),
            ("http://db1.example:8090", "https://registry.example:8081"),
            ("https://registry.example", "https://registry.example"),
        ] {
            assert!(told(own, registry), "{own}: {registry}");
        }
        for (own, registry) in [
            ("http://db1.example:8090", "http://db1.example:8081"),
            ("http://127.0.0.1:8090", "http://10.0.0.1:8081"),
            ("http://db1.example:8090", "http://127.0.0.1:8081"),
            ("http://127.0.0.1:8090", "http://127.0.0.1.example:8081"),
            ("http://127.0.0.1:8090", "nonsense"),
        ] {
            assert!(!told(own, registry), "{own}: {registry}");
        }
    }

    #[test]
    fn what_does_not_pass_at_the_daemon_is_nothing_to_try_again() {
        for kind in ErrorKind::ALL {
            let told = kind_of(kind.http_status());
            assert_eq!(told.http_status(), kind.http_status(), "{kind} is told as {told}");
            let passes = kind.http_status() == ErrorKind::Unavailable.http_status();
            assert_eq!(told.remedy() == Remedy::Retry, passes, "{kind} is told as {told}");
        }
    }

    #[test]
    fn what_listens_everywhere_is_reached_where_the_daemon_is() {
        let at = |url: &str| Daemon { url: url.into(), auth: RegistryAuth::default() };
        let daemon = at("http://db1.example:8090");
        assert_eq!(daemon.reachable("tcp://0.0.0.0:8092"), "tcp://db1.example:8092");
        assert_eq!(daemon.reachable("http://[::]:8081"), "http://db1.example:8081");
        assert_eq!(daemon.reachable("tcp://10.0.0.1:8092"), "tcp://10.0.0.1:8092");
        let daemon = at("http://[::1]:8090");
        assert_eq!(daemon.reachable("tcp://0.0.0.0:8092"), "tcp://[::1]:8092");
    }
}
