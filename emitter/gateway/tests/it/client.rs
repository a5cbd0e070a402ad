//! A client of HTTP/1.1 on one connection that is kept, which believes no answer that the OpenAPI document
//! does not have.

use boon::{Compiler, Schemas};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const OPENAPI: &str = include_str!("../../src/openapi.json");

/// What a body still has after its first byte, where it says that there are no events.
pub(crate) const REST: &[u8] = b"\"events\":[]}";

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Json,
}

impl Answer {
    /// What became of an event.
    pub(crate) fn result(&self, place: usize) -> &Json {
        &self.body["results"][place]
    }

    pub(crate) fn results(&self) -> usize {
        self.body["results"].as_array().unwrap().len()
    }
}

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    /// Headers of every request.
    pub(crate) headers: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        Self { stream, headers: String::new() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "", b"").await
    }

    /// Emits events of these values.
    pub(crate) async fn emit(&mut self, topic: &str, values: &[Json]) -> Answer {
        let events: Vec<_> =
            values.iter().map(|value| serde_json::json!({ "value": value })).collect();
        self.post(topic, &serde_json::json!({ "events": events })).await
    }

    pub(crate) async fn post(&mut self, topic: &str, body: &Json) -> Answer {
        let body = body.to_string();
        self.post_as(topic, "content-type: application/json\r\n", body.as_bytes()).await
    }

    pub(crate) async fn post_as(&mut self, topic: &str, headers: &str, body: &[u8]) -> Answer {
        self.send("POST", &format!("/v1/topics/{topic}/events"), headers, body).await
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Answer {
        let length = body.len();
        let own = &self.headers;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {length}\r\n{own}{headers}\r\n"
        );
        self.write(head.as_bytes()).await;
        // A server that refuses a body may have closed already; its answer is there all the same.
        let _ = self.stream.get_mut().write_all(body).await;
        let answer = self.answer().await;
        is_documented(method, path, &answer);
        answer
    }

    /// Begins a request to emit nothing, whose body `REST` ends, and waits until the gateway asks for it: then
    /// it has its place.
    pub(crate) async fn begin(&mut self, topic: &str) {
        let (own, length) = (&self.headers, REST.len() + 1);
        let head = format!(
            "POST /v1/topics/{topic}/events HTTP/1.1\r\nhost: gateway\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\
             expect: 100-continue\r\n{own}\r\n"
        );
        self.write(head.as_bytes()).await;
        self.asked_for_its_body().await;
        self.write(b"{").await;
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    /// Reads `100 Continue`.
    pub(crate) async fn asked_for_its_body(&mut self) {
        assert_eq!(self.line().await, "HTTP/1.1 100 Continue");
        assert_eq!(self.line().await, "");
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let status_line = self.line().await;
        let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length: usize = headers["content-length"].parse().unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap();
        Answer { status, headers, body }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}

/// The document has this answer: its status, its headers, its body.
fn is_documented(method: &str, path: &str, answer: &Answer) {
    let document: Json = serde_json::from_str(OPENAPI).unwrap();
    let bare = path.split('?').next().unwrap();
    let parts: Vec<&str> = bare.split('/').collect();
    let template = match &parts[..] {
        ["", "v1", "topics", _] => "/v1/topics/{topic}",
        ["", "v1", "topics", _, "events"] => "/v1/topics/{topic}/events",
        _ => bare,
    };
    let operation = &document["paths"][template][method.to_ascii_lowercase()];
    if operation.is_null() {
        // No path of the document, or no method of it: the error's form all the same.
        assert!(matches!(answer.status, 404 | 405), "{method} {path}: {answer:?}");
        return validate("/components/schemas/Error", &answer.body);
    }
    let status = answer.status.to_string();
    let response = &operation["responses"][&status];
    assert!(response.is_object(), "{method} {path} {status} is not documented: {answer:?}");
    let at = match response["$ref"].as_str() {
        Some(reference) => reference.trim_start_matches('#').to_owned(),
        None => {
            let escaped = template.replace('/', "~1");
            format!("/paths/{escaped}/{}/responses/{status}", method.to_ascii_lowercase())
        }
    };
    let response = document.pointer(&at).unwrap();
    for (name, _) in response["headers"].as_object().into_iter().flatten() {
        assert!(answer.headers.contains_key(&name.to_ascii_lowercase()), "{name}: {answer:?}");
    }
    assert_eq!(answer.headers["content-type"], "application/json");
    validate(&format!("{at}/content/application~1json/schema"), &answer.body);
}

fn validate(pointer: &str, body: &Json) {
    const URL: &str = "file:///openapi.json";
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource(URL, serde_json::from_str(OPENAPI).unwrap()).unwrap();
    // A template's braces stand in a fragment as percents.
    let pointer = pointer.replace('{', "%7B").replace('}', "%7D");
    let schema = compiler.compile(&format!("{URL}#{pointer}"), &mut schemas).unwrap();
    if let Err(error) = schemas.validate(body, schema) {
        panic!("{body} is not as {pointer} says: {error:#}");
    }
}
