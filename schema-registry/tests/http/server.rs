//! A registry under test, and a client that checks what every answer must have.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use argon2::PasswordHasher;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tidemesh_schema_registry::{
    Grant, GroupWatch, Registry, RegistryConfig, Security, StoreConfig, serve_secured,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// One registry that listens; it stops when this is dropped or stopped. Whatever is sent to it itself
/// says nothing of who asks.
pub(crate) struct Server {
    nobody: Visitor,
    pub(crate) file: PathBuf,
    folder: Option<tempfile::TempDir>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Status and body of an answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of a 200.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// Asserts an error with this status, code and message.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: u32, message: &str) {
        assert_eq!(
            (self.status, self.body),
            (status, json!({"error_code": code, "message": message}))
        );
    }

    /// Asserts an error with this status and code, and gives its message.
    #[track_caller]
    pub(crate) fn code(self, status: u16, code: u32) -> String {
        assert_eq!((self.status, &self.body["error_code"]), (status, &json!(code)), "{self:?}");
        self.body["message"].as_str().expect("a message").to_owned()
    }
}

pub(crate) fn client() -> Client {
    // reqwest asks for a TLS provider even where no TLS is used; the second test to come here
    // finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().build().expect("a client")
}

impl Server {
    /// A new registry with default settings.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// A new registry with other settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut RegistryConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config =
            RegistryConfig::new(StoreConfig::Sqlite(folder.path().join("registry.db")));
        change(&mut config);
        Self::open(config, folder, None).await
    }

    /// A new registry that asks this one for consumer groups.
    pub(crate) async fn start_watching(watch: Arc<dyn GroupWatch>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = RegistryConfig::new(StoreConfig::Sqlite(folder.path().join("registry.db")));
        Self::open(config, folder, Some(watch)).await
    }

    async fn open(
        config: RegistryConfig,
        folder: tempfile::TempDir,
        watch: Option<Arc<dyn GroupWatch>>,
    ) -> Self {
        let StoreConfig::Sqlite(file) = config.store.clone() else { panic!("a file") };
        let registry = Registry::open(&config).expect("the store opens");
        let registry = Arc::new(match watch {
            Some(watch) => registry.watching(watch),
            None => registry,
        });
        let security = Security::open(&config.security).expect("its settings hold");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            serve_secured(listener, registry, security, shutdown).await.expect("it serves");
        });
        let url = format!("http://{address}");
        let nobody = Visitor { client: client(), url, authorization: String::new() };
        Self { nobody, file, folder: Some(folder), stop: Some(stop), task }
    }

    /// Stops it and starts another one over the same store.
    pub(crate) async fn restart(mut self) -> Self {
        let folder = self.folder.take().expect("the folder is held");
        let file = self.file.clone();
        self.stop().await;
        Self::open(RegistryConfig::new(StoreConfig::Sqlite(file)), folder, None).await
    }

    /// Stops it and waits until its store is closed.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        drop(std::mem::take(&mut self.nobody.client));
        (&mut self.task).await.expect("it stops");
    }

    /// Somebody who says this of themselves in `Authorization`; nothing, if it is empty.
    pub(crate) fn visitor(&self, authorization: &str) -> Visitor {
        let (client, url) = (self.client.clone(), self.url.clone());
        Visitor { client, url, authorization: authorization.to_owned() }
    }

    /// A user with a password.
    pub(crate) fn user(&self, name: &str, password: &str) -> Visitor {
        self.visitor(&format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}"))))
    }
}

impl Deref for Server {
    type Target = Visitor;

    fn deref(&self) -> &Visitor {
        &self.nobody
    }
}

/// Who asks.
pub(crate) struct Visitor {
    pub(crate) client: Client,
    pub(crate) url: String,
    authorization: String,
}

impl Visitor {
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match self.authorization.as_str() {
            "" => request,
            authorization => request.header("authorization", authorization),
        }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.header("content-type", CONTENT_TYPE).body(body.to_string());
        }
        answer(request.send().await.expect("an answer")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// Registers a schema and gives its id.
    #[track_caller]
    pub(crate) fn register(&self, subject: &str, schema: &str) -> impl Future<Output = u64> {
        let place = std::panic::Location::caller();
        let path = format!("/subjects/{subject}/versions");
        let body = json!({"schema": schema});
        async move {
            let answer = self.post(&path, body).await;
            assert_eq!(answer.status, 200, "{place}: {}", answer.body);
            answer.body["id"].as_u64().expect("an id")
        }
    }
}

/// Users with the passwords of their names, at a cost that tests can bear: a line for each, with the
/// groups behind the name.
pub(crate) fn users_file(folder: &std::path::Path, users: &[(&str, &str)]) -> PathBuf {
    let params = argon2::Params::new(64, 1, 1, None).expect("parameters");
    let cheap = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let line = |(name, groups): &(&str, &str)| {
        let hash = cheap.hash_password(name.as_bytes()).expect("a hash");
        format!("{name}:{hash}:{groups}\n")
    };
    let file = folder.join("users");
    std::fs::write(&file, users.iter().map(line).collect::<String>()).expect("a file");
    file
}

/// `user:ann write . pay-`: to whom, the role, the context, the prefix.
pub(crate) fn grants(lines: &[&str]) -> Vec<Grant> {
    let grant = |line: &&str| {
        let mut parts = line.split(' ');
        let mut next = || parts.next().unwrap_or_default();
        let (to, role) = (next().parse().expect("whom"), next().parse().expect("a role"));
        Grant::new(to, role, next(), next()).expect("a grant")
    };
    lines.iter().map(grant).collect()
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Reads an answer and checks what all of them have: the content type, and in an error a code and
/// a message and nothing else.
pub(crate) async fn answer(response: Response) -> Answer {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], CONTENT_TYPE, "status {status}");
    let text = response.text().await.expect("a body");
    let body: Value = match status {
        204 => Value::Null,
        _ => serde_json::from_str(&text).expect("JSON"),
    };
    if status >= 400 && body.get("status").is_none() {
        let members: Vec<_> = body.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["error_code", "message"]);
        assert!(body["error_code"].is_u64() && body["message"].is_string(), "{body}");
    }
    Answer { status, body }
}

/// A record schema with these fields, as Avro's Java library writes it.
pub(crate) fn record(name: &str, fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(field, schema)| format!(r#"{{"name":"{field}","type":{schema}}}"#))
        .collect();
    format!(r#"{{"type":"record","name":"{name}","fields":[{}]}}"#, fields.join(","))
}
