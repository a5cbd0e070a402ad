//! The HTTP side: Confluent's routes over a [`Registry`].
//!
//! Handlers read the request, call the registry and write the answer; rules are absent here.
//! Parsing and comparing schemas runs on threads of its own; writing is the registry's.

mod access;
mod answer;
mod body;
mod consumers;
mod context;
mod explain;
mod front;
mod kept;
mod pool;
mod query;
mod reply;
mod schemas;
mod server;
mod settings;
mod subjects;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::routing::{any, delete, get, post};
use tidemesh_http::Bounds;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::net::TcpListener;

use crate::access::{Guard, Security};
use crate::refusal::Refusal;
use crate::registry::{Registry, Submission};
use access::PageRule;
use front::{Front, Hot, ID_ROUTE};
use kept::{Answers, Bodies};
use pool::Pool;
use reply::Reply;
use watch::Watch;

/// How long a connection may take from an answer to the next request, its head included, and an answer
/// may not be taken.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// The bounds on connections: of one client a quarter, and 15 s to the first request.
const BOUNDS: Bounds = Bounds {
    connections_max: 1_024,
    each_max: 256,
    first_max: Duration::from_secs(15),
    idle_max: IDLE_MAX,
    head_max: IDLE_MAX,
};

/// The longest text that is judged where it is received, if it was parsed before.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// What every handler has.
#[derive(Debug, Clone)]
struct Service {
    registry: Arc<Registry>,
    pool: Pool,
    /// Whether callers have to say who they are.
    guarded: bool,
    /// The most bytes of a request's body.
    body_bytes_max: usize,
    bodies: Arc<Bodies>,
    answers: Arc<Answers>,
}

impl Service {
    /// Starts the threads too that work on schemas.
    fn new(registry: Arc<Registry>, guarded: bool) -> Self {
        // Text in JSON can be twice as long as the text itself, and references come on top.
        let body_bytes_max = registry.limits().schema_bytes_max.saturating_mul(2) + 64 * 1024;
        let (bodies, answers) = (Arc::default(), Arc::default());
        Self { registry, pool: Pool::start(), guarded, body_bytes_max, bodies, answers }
    }

    /// Runs something that needs the processor and a deep stack.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Reply> {
        let registry = Arc::clone(&self.registry);
        self.answer(self.pool.run(move || work(&registry)).await.unwrap_or(Err(Refusal::Internal)))
    }

    /// Judges what was sent: where it was received, if that takes no time, else on a thread for it.
    async fn judge<T: Send + 'static>(
        &self,
        subject: &str,
        submission: &Submission,
        work: impl FnOnce(&Registry, &str, &Submission) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let is_short = |text: &String| text.len() <= INLINE_BYTES_MAX;
        if submission.text.as_ref().is_some_and(is_short)
            && self.registry.is_known(subject, submission)
        {
            return work(&self.registry, subject, submission);
        }
        let registry = Arc::clone(&self.registry);
        let (subject, submission) = (subject.to_owned(), submission.clone());
        let done = self.pool.run(move || work(&registry, &subject, &submission)).await;
        done.unwrap_or(Err(Refusal::Internal))
    }

    /// Answers from memory; what is not there is looked for in the store before that is said.
    async fn read<T>(&self, read: impl Fn(&Registry) -> Result<T, Refusal>) -> Result<T, Reply> {
        self.answer(match read(&self.registry) {
            Err(refusal) if refusal.is_missing() => {
                self.registry.refresh().await;
                read(&self.registry)
            }
            result => result,
        })
    }

    /// The answer of an operation of the registry.
    fn answer<T>(&self, result: Result<T, Refusal>) -> Result<T, Reply> {
        result.map_err(|refusal| self.refuse(&refusal))
    }

    fn refuse(&self, refusal: &Refusal) -> Reply {
        Reply::refusal(refusal, self.registry.incompatible_code())
    }
}

type App = State<Service>;

/// Serves a registry until `shutdown` is done and the open requests are answered, or 8 s later.
///
/// # Errors
///
/// `Unavailable` if the listener fails.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    serve_secured(listener, registry, Security::default(), shutdown).await
}

/// The same, kept by certificates, a log-in and what else `security` has.
///
/// # Errors
///
/// As [`serve`].
pub async fn serve_secured(
    listener: TcpListener,
    registry: Arc<Registry>,
    security: Security,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let Security { certificates, guard } = security;
    let reach = listener.local_addr();
    let is_local = reach.is_ok_and(|address| address.ip().to_canonical().is_loopback());
    let has_login = guard.as_ref().is_some_and(|guard| guard.has_login());
    let in_clear = certificates.is_none();
    let pages = (is_local && !has_login).then_some(PageRule { in_clear });
    let front = front(registry, guard, pages);
    let served = tidemesh_http::serve(listener, BOUNDS, certificates, front, shutdown).await;
    served.map_err(|cause| {
        Error::new(ErrorKind::Unavailable, "serve the schema registry").caused_by(cause)
    })
}

fn front(registry: Arc<Registry>, guard: Option<Arc<Guard>>, pages: Option<PageRule>) -> Front {
    let guarded = guard.is_some();
    let (service, watch) = (Service::new(registry, guarded), Watch::default());
    let hot = (!guarded).then(|| Hot::of(&service));
    Front { routes: routes(service, guard, watch), pages, hot, guarded }
}

/// The routes, to be served alone or inside another program's router. Starts the threads that work on
/// schemas, which end with the last clone of the router.
pub fn router(registry: Arc<Registry>) -> Router {
    routes(Service::new(registry, false), None, Watch::default())
}

fn routes(service: Service, guard: Option<Arc<Guard>>, watch: Watch) -> Router {
    let mut routes = Router::new()
        .merge(server_routes())
        .merge(subject_routes())
        .merge(schema_routes())
        .merge(settings_routes())
        .merge(mesh_routes())
        .fallback(|| async { Reply::status(StatusCode::NOT_FOUND) })
        .method_not_allowed_fallback(|| async { Reply::status(StatusCode::METHOD_NOT_ALLOWED) })
        .layer(watch.clone());
    if let Some(guard) = &guard {
        let state = (service.clone(), Arc::clone(guard));
        routes = routes.layer(middleware::from_fn_with_state(state, access::authorize));
    }
    let routes = routes.with_state(service);
    let within_context = any(context::within).with_state(routes.clone());
    let routes = routes.route("/contexts/{context}/{*rest}", within_context);
    match guard {
        None => routes,
        Some(guard) => {
            routes.layer(middleware::from_fn_with_state((guard, watch), access::identify))
        }
    }
}

fn server_routes() -> Router<Service> {
    Router::new()
        .route("/", get(server::root).post(server::root))
        .route("/openapi.json", get(server::openapi))
        .route("/contexts", get(server::contexts))
        .route("/contexts/{context}", delete(server::delete_context))
        .route("/v1/metadata/id", get(server::id))
        .route("/v1/metadata/version", get(server::version))
        .route("/v1/metadata/deployment", get(server::deployment))
        .route("/health", get(server::health))
}

fn subject_routes() -> Router<Service> {
    let version = "/subjects/{subject}/versions/{version}";
    Router::new()
        .route("/subjects", get(subjects::list))
        .route("/subjects/{subject}", post(subjects::lookup).delete(subjects::delete))
        .route("/subjects/{subject}/versions", get(subjects::versions).post(subjects::register))
        .route(version, get(subjects::version).delete(subjects::delete_version))
        .route(&format!("{version}/schema"), get(subjects::version_schema))
        .route(&format!("{version}/referencedby"), get(subjects::referenced_by))
        .route(&format!("{version}/tags"), post(subjects::tag))
        .route("/subjects/{subject}/metadata", get(subjects::version_with_metadata))
        .route("/compatibility/subjects/{subject}/versions", post(subjects::check))
        .route(
            "/compatibility/subjects/{subject}/versions/{version}",
            post(subjects::check_version),
        )
}

fn schema_routes() -> Router<Service> {
    Router::new()
        .route("/schemas", get(schemas::list))
        .route("/schemas/types", get(schemas::types))
        .route(ID_ROUTE, get(schemas::by_id))
        .route("/schemas/ids/{id}/schema", get(schemas::text))
        .route("/schemas/ids/{id}/subjects", get(schemas::subjects))
        .route("/schemas/ids/{id}/versions", get(schemas::versions))
        .route("/schemas/guids/{guid}", get(schemas::by_guid))
        .route("/schemas/guids/{guid}/ids", get(schemas::ids_of_guid))
}

fn settings_routes() -> Router<Service> {
    use settings::{config, mode};
    Router::new()
        .route("/config", get(config::get).put(config::put).delete(config::delete))
        .route("/config/{subject}", get(config::get).put(config::put).delete(config::delete))
        .route("/mode", get(mode::get).put(mode::put).delete(mode::delete))
        .route("/mode/{subject}", get(mode::get).put(mode::put).delete(mode::delete))
}

/// What Confluent's registry does not have.
fn mesh_routes() -> Router<Service> {
    let consumer = "/tidemesh/v1/consumers/{consumer}/subjects/{subject}";
    Router::new()
        .route("/tidemesh/v1/compatibility/explain", post(explain::explain))
        .route("/tidemesh/v1/consumers", get(consumers::list))
        .route(consumer, get(consumers::get).put(consumers::put).delete(consumers::delete))
}

/// The method as a label: any other word of a client's must not become a label of its own.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RegistryConfig;
    use serde_json::{Value, json};
    use tidemesh_store::StoreConfig;

    async fn started() -> (Arc<Registry>, String, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreConfig::Sqlite(folder.path().join("registry.db"));
        let registry = Arc::new(Registry::open(&RegistryConfig::new(store)).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, Arc::clone(&registry), std::future::pending()));
        (registry, url, folder)
    }

    async fn get(url: String) -> (u16, Value) {
        // reqwest asks for a TLS provider even where no TLS is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let response = reqwest::get(url).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    #[tokio::test]
    async fn health_is_503_while_the_store_fails_and_reads_go_on() {
        let (registry, url, _folder) = started().await;
        registry.set_level(None, "FULL").await.unwrap();
        registry.break_store(true).await;
        registry.set_level(None, "NONE").await.unwrap_err();
        let (status, body) = get(format!("{url}/health")).await;
        assert_eq!((status, &body["status"]), (503, &json!("down")));
        let level = get(format!("{url}/config")).await;
        assert_eq!(level, (200, json!({"compatibilityLevel": "FULL"})));
        registry.break_store(false).await;
        assert_eq!(get(format!("{url}/health")).await, (200, json!({"status": "up"})));
    }

    /// The runtime of this test has one thread, so the recorder of that thread sees everything
    /// that does not run on the schema threads.
    #[tokio::test]
    async fn requests_are_counted_by_matched_route_and_status() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _installed = metrics::set_default_local_recorder(&recorder);
        let (_registry, url, _folder) = started().await;
        for path in ["/subjects", "/subjects/a/versions/1", "/subjects/b/versions/2", "/secret"] {
            get(format!("{url}{path}")).await;
        }
        let text = recorder.handle().render();
        let count = |route: &str, status: u16, count: u32| {
            let series = format!(
                r#"tidemesh_registry_requests_total{{method="GET",route="{route}",status="{status}"}} {count}"#
            );
            assert!(text.contains(&series), "{series} in {text}");
        };
        count("/subjects", 200, 1);
        count("/subjects/{subject}/versions/{version}", 404, 2);
        count("unmatched", 404, 1);
        assert!(!text.contains("secret"), "a path must not become a label");
        assert!(text.contains("tidemesh_registry_schemas 0"), "{text}");
        assert!(text.contains("tidemesh_registry_subjects 0"), "{text}");
    }
}
