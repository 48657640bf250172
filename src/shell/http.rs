//! Metrics and health over HTTP: `/metrics`, `/health`, `/ready`, and nothing else.
//!
//! Reads only. Every connection carries one request, has `LIFETIME` for it, and takes one of
//! `CONNECTIONS_MAX` places; who finds none waits in the kernel's queue.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::serve::Listener;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::shell::connections::{Bounded, Bounds};
use crate::shell::metrics;
use crate::shell::status::Status;

/// Whom to serve.
#[derive(Debug)]
pub struct Config {
    /// Bound before privileges are dropped.
    pub listener: std::net::TcpListener,
    /// Names that requests may have in `Host` besides those of loopback, without port. A page of a
    /// stranger that has a browser ask us under the stranger's own name (DNS rebinding) is refused.
    pub hosts: Vec<String>,
}

/// Metrics and health cannot be served there.
#[derive(Debug, thiserror::Error)]
#[error("serving metrics on {address}: {source}; choose another address, or none")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// Binds the address. [`DEFAULT_ADDRESS`] is of loopback: there is no authentication, and who may ask is
/// who can reach it.
pub fn bind(address: SocketAddr) -> Result<std::net::TcpListener, BindError> {
    std::net::TcpListener::bind(address).map_err(|source| BindError { address, source })
}

#[derive(Debug)]
struct Shared {
    status: Arc<Status>,
    hosts: Vec<String>,
}

/// Serves until its task is dropped.
pub(super) async fn serve(listener: TcpListener, hosts: Vec<String>, status: Arc<Status>) {
    let shared = Arc::new(Shared { status, hosts });
    let router = Router::new().fallback(answer).with_state(shared);
    let listener = Few { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
    // Never returns: the listener has no error to give.
    let _ = axum::serve(listener, router).await;
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let mut response = respond(&shared, request.method(), request.uri().path(), request.headers());
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

fn respond(shared: &Shared, method: &Method, path: &str, headers: &HeaderMap) -> Response {
    if our_host(headers, &shared.hosts).is_none() {
        let detail = "add the name in Host to the names that metrics are served under";
        return problem(StatusCode::MISDIRECTED_REQUEST, detail, &[]);
    }
    if !matches!(path, "/metrics" | "/health" | "/ready") {
        return problem(StatusCode::NOT_FOUND, "there are /metrics, /health and /ready", &[]);
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "use GET", &[]);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let snapshot = shared.status.snapshot();
    match path {
        "/metrics" => match metrics::encode(snapshot) {
            Ok(text) => body(StatusCode::OK, metrics::CONTENT_TYPE, text),
            Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be written", &[]),
        },
        "/health" if snapshot.moves() => passes(),
        "/health" => {
            let stands = format!("the pipeline has not moved for {:.0} s", snapshot.idle_s);
            problem(StatusCode::SERVICE_UNAVAILABLE, "the recorder hangs", &[stands])
        }
        _ => match snapshot.unready() {
            reasons if reasons.is_empty() => passes(),
            reasons => problem(StatusCode::SERVICE_UNAVAILABLE, "not ready to record", &reasons),
        },
    }
}

fn passes() -> Response {
    body(StatusCode::OK, "application/json", "{\"status\":\"pass\"}\n".into())
}

/// A problem as of RFC 9457.
fn problem(status: StatusCode, detail: &str, reasons: &[String]) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let mut facts =
        json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    if !reasons.is_empty() {
        facts["reasons"] = json!(reasons);
    }
    body(status, "application/problem+json", format!("{facts}\n"))
}

fn body(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The one `Host` of a request, where it names us: by loopback, or by one of `names`. A page of a stranger that has a
/// browser ask us under the stranger's own name (DNS rebinding) does not.
pub(crate) fn our_host<'a>(headers: &'a HeaderMap, names: &[String]) -> Option<&'a str> {
    let mut named = headers.get_all(HOST).iter();
    let (Some(host), None) = (named.next().and_then(|host| host.to_str().ok()), named.next()) else {
        return None;
    };
    let name = without_port(host);
    let is_loopback = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_ours = name.eq_ignore_ascii_case("localhost")
        || is_loopback.is_ok_and(|ip| ip == IpAddr::from([127, 0, 0, 1]) || ip == IpAddr::V6(LOOPBACK_V6))
        || names.iter().any(|ours| ours.eq_ignore_ascii_case(name));
    (is_ours && !name.is_empty()).then_some(host)
}

/// `host[:port]` without its port (RFC 9110 section 7.2).
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

type Connection = Bounded<TcpStream, OwnedSemaphorePermit>;

/// A listener whose connections are few and short.
struct Few {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Few {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, from)) => return (Bounded::new(stream, BOUNDS, place), from),
                // No descriptor is left, or who called has gone.
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN_AFTER).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Where metrics and health are served unless it is told otherwise.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9_464);
const LOOPBACK_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::LOCALHOST;
/// Connections served at once.
const CONNECTIONS_MAX: usize = 16;
/// From the first byte of a request to the last of its answer.
const LIFETIME: Duration = Duration::from_secs(10);
/// A connection carries one request, with all its headers.
const BOUNDS: Bounds = Bounds { patience: LIFETIME, lifetime: LIFETIME, read_max: 16 << 10 };
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::status::About;
    use crate::shell::status::snapshot::Interface;

    fn shared() -> Shared {
        let status = Status::new(About::default());
        status.beat();
        Shared { status: Arc::new(status), hosts: vec!["Recorder.example".into()] }
    }

    fn ask(shared: &Shared, method: &Method, path: &str, host: &str) -> StatusCode {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        respond(shared, method, path, &headers).status()
    }

    #[test]
    fn only_our_names_are_answered() {
        let shared = shared();
        for host in [
            "localhost",
            "LOCALHOST:9100",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "recorder.EXAMPLE:1",
        ] {
            assert_eq!(ask(&shared, &Method::GET, "/metrics", host), StatusCode::OK, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":80",
            "[::2]",
            "10.0.0.1",
        ] {
            let status = ask(&shared, &Method::GET, "/metrics", host);
            assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{host}");
        }
        let mut headers = HeaderMap::new();
        assert!(our_host(&headers, &[]).is_none());
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert!(our_host(&headers, &[]).is_some());
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert!(our_host(&headers, &[]).is_none(), "two Hosts");
    }

    #[test]
    fn there_is_nothing_else() {
        let shared = shared();
        for path in ["/", "/metrics/", "/status", "/../metrics"] {
            assert_eq!(ask(&shared, &Method::GET, path, "localhost"), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(ask(&shared, &Method::POST, "/health", "localhost"), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(ask(&shared, &Method::HEAD, "/health", "localhost"), StatusCode::OK);
    }

    #[test]
    fn ready_is_more_than_alive() {
        let shared = shared();
        let ready = || ask(&shared, &Method::GET, "/ready", "localhost");
        assert_eq!(ask(&shared, &Method::GET, "/health", "localhost"), StatusCode::OK);
        assert_eq!(ready(), StatusCode::SERVICE_UNAVAILABLE);
        shared.status.set_capturing(true);
        shared.status.set_recipients_probed(true);
        assert_eq!(ready(), StatusCode::SERVICE_UNAVAILABLE);
        shared.status.set_interface(Interface { name: "eth0".into(), up: true, ..Interface::default() });
        assert_eq!(ready(), StatusCode::OK);
        shared.status.set_journal(Duration::ZERO, 1, true);
        assert_eq!(ready(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
