//! The HTTP server: `/metrics`, `/healthz`, `/readyz`. Read only.

use super::metrics::Metrics;
use super::status::Status;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

type Shared = (Arc<Metrics>, Arc<Status>);

/// Binds the address, so that a bad one is an error at the start. The port that port 0 became: `local_addr()`.
pub async fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(listen)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("http.listen: cannot listen on {listen}: {error}")))
}

/// Reads a listen address as the settings give it.
pub fn parse_listen(listen: &str) -> Result<SocketAddr, String> {
    listen
        .parse()
        .map_err(|_| format!("http.listen: {listen:?} is no address; expected IP:PORT, such as 127.0.0.1:9464"))
}

/// Serves until `shutdown` is done, and then the requests that are under way.
pub async fn serve_on(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(metrics, status))
        .with_graceful_shutdown(shutdown)
        .await
}

/// [`bind`] and [`serve_on`].
pub async fn serve(
    listen: SocketAddr,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_on(bind(listen).await?, metrics, status, shutdown).await
}

fn router(metrics: Arc<Metrics>, status: Arc<Status>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(render))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state((metrics, status))
}

async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><title>Forbear</title><h1>Forbear</h1><ul>\
         <li><a href=\"/metrics\">/metrics</a>: Prometheus\
         <li><a href=\"/healthz\">/healthz</a>: the process is alive\
         <li><a href=\"/readyz\">/readyz</a>: each partition with its state and reason</ul>\n",
    )
}

async fn render(State((metrics, _)): State<Shared>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        metrics.render(),
    )
}

async fn healthz(State((_, status)): State<Shared>) -> (StatusCode, String) {
    match status.tripped() {
        None => (StatusCode::OK, "ok\n".to_string()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn readyz(State((_, status)): State<Shared>) -> impl IntoResponse {
    let readiness = status.readiness();
    let code = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(readiness))
}
