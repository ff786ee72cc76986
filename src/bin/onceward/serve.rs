//! `onceward serve`: opens the store, listens, and lets go of everything in order when told to
//! stop.

use std::sync::Arc;
use std::time::Duration;

use onceward::Backend;
use onceward::http::IdempotencyLayer;
use tower_layer::Layer;

use crate::admin::{self, Admin, Api, Health, Scopes};
use crate::config::{Refresh, Settings};
use crate::duration::show;
use crate::gateway::{Gateway, key_headers};
use crate::proxy::Proxy;
use crate::refresh;
use crate::signals::Signals;
use crate::store::{self, Engine};
use crate::tracked::{Count, Tracked};
use crate::upstream::Sender;
use crate::{Failure, listen};

/// Runs the gateway until a signal and the drain that follows.
pub(crate) async fn serve(settings: Settings) -> Result<(), Failure> {
    let mut signals =
        Signals::new().map_err(|error| Failure::Failed(format!("signals: {error}")))?;
    let sender = settings
        .upstream
        .sender(settings.upstream_ca.as_deref(), settings.upstream_idle)
        .map_err(Failure::Usage)?;
    let ttl = settings.profile.ttl;
    let open = tokio::select! {
        open = store::open(&settings.data, ttl, settings.wait_lock) => open?,
        () = signals.stop() => return Ok(()),
    };
    let served = run(&settings, sender, open.clone(), &mut signals).await;
    let closed = tokio::task::spawn_blocking(move || open.close())
        .await
        .map_err(|error| Failure::Failed(format!("closing the store: {error}")))?
        .map_err(|error| Failure::Failed(format!("closing the store: {error}")));
    served.and(closed)
}

/// Listens and serves on `engine` until told to stop, then drains. The admin address answers until
/// the drain is over, and is free again before the store is.
async fn run<E: Engine>(
    settings: &Settings,
    sender: Sender,
    engine: E,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let (listener, address) = listen::bind(&settings.listen).await.map_err(Failure::Failed)?;
    let health = Arc::new(Health::new({
        let engine = engine.clone();
        move || engine.takes_claims()
    }));
    let tracked = Tracked::new(engine.clone());
    let count = tracked.count();
    let admin = match &settings.admin {
        None => None,
        Some(admin) => {
            let (listener, address) = listen::bind(admin).await.map_err(Failure::Failed)?;
            let admin = Admin {
                health: Arc::clone(&health),
                engine: engine.clone(),
                api: Api::new(engine.clone(), Some(scopes(settings))),
                token: settings.admin_token.clone(),
                count: count.clone(),
            };
            let task = tokio::spawn(admin::serve(listener, Arc::new(admin)));
            Some((task, address))
        }
    };
    announce(settings);
    if let Some((_, address)) = &admin {
        eprintln!("admin on http://{address}");
    }
    eprintln!("listening on http://{address}");
    store::tell_of_doubt(engine);

    let gateway = gateway(settings, sender, tracked);
    let handle = move |request, peer| gateway.clone().handle(request, peer);
    let connections = listen::serve(listener, handle, signals.stop()).await;
    health.drain();
    drain(connections.shutdown(), &count, settings.drain_timeout, signals).await;
    if let Some((task, _)) = admin {
        task.abort();
        // Aborted or ended, its listener is gone once this returns.
        let _ = task.await;
    }
    Ok(())
}

/// How this gateway makes scopes, for its admin address.
fn scopes(settings: &Settings) -> Scopes {
    Scopes { principal: settings.principal.clone(), profile: settings.profile.clone() }
}

fn gateway<E: Backend>(
    settings: &Settings,
    sender: Sender,
    engine: E,
) -> Gateway<
    impl tower_service::Service<
        http::Request<onceward::http::Body>,
        Response = http::Response<onceward::http::Body>,
        Error = std::convert::Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static,
> {
    let proxy = Proxy::new(
        settings.upstream.clone(),
        sender,
        settings.upstream_host,
        settings.on_gateway_status,
        settings.profile.clone(),
    );
    let profile = settings.profile.clone();
    let principal = settings.principal.clone();
    let mut layer = IdempotencyLayer::new(engine)
        .profile(profile.clone())
        .principal(move |parts: &http::request::Parts| principal.of(parts));
    if settings.refresh == Refresh::Location {
        let (proxy, key_headers) = (proxy.clone(), key_headers(&profile));
        layer = layer.refresh(move |stored, parts| {
            refresh::refresh(proxy.clone(), key_headers.clone(), stored, parts)
        });
    }
    let service = layer.layer(proxy.clone());
    Gateway::new(service, proxy, settings.principal.clone(), profile)
}

/// Says how the gateway runs, and what its operator should know about that.
fn announce(settings: &Settings) {
    let methods: Vec<&str> = settings.profile.methods.iter().map(http::Method::as_str).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        profile = &*settings.profile.name,
        methods = methods.join(","),
        key_header = settings.profile.header.as_str(),
        principal = %settings.principal,
        ttl = show(settings.profile.ttl),
        data = %settings.data.display(),
        upstream = %settings.upstream,
        "onceward serve"
    );
    if let Some(notice) = settings.principal.notice() {
        tracing::warn!("{notice}");
    }
}

/// Waits for the connections to finish and for work that outlived its connection, for `timeout` at
/// most, or until told to stop a second time.
async fn drain(
    connections: impl Future<Output = ()>,
    count: &Count,
    timeout: Duration,
    signals: &mut Signals,
) {
    tracing::info!(timeout = show(timeout), "draining");
    let finished = async {
        connections.await;
        count.idle().await;
    };
    let why = tokio::select! {
        () = finished => {
            tracing::info!("drained");
            return;
        }
        () = tokio::time::sleep(timeout) => "the drain timeout has passed",
        () = signals.stop() => "told to stop at once",
    };
    tracing::warn!(
        unfinished = count.now(),
        "{why}: keyed requests that are still running are left in doubt"
    );
}
