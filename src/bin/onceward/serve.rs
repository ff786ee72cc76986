//! `onceward serve`: opens the store, listens, and lets go of everything in order when told to
//! stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use onceward::http::{Body, IdempotencyLayer, Profile};
use onceward::{Backend, Options};
use tower_layer::Layer;

use crate::admin::{self, Admin, Api, Health, Scopes};
use crate::config::{Refresh, Settings};
use crate::duration::show;
use crate::gateway::{Gateway, Handler, key_headers};
use crate::policy::Policy;
use crate::proxy::{Proxy, Way};
use crate::recorded;
use crate::refresh;
use crate::sender::Sender;
use crate::signals::Signals;
use crate::store::{self, Engine};
use crate::temp_dir;
use crate::tls::{self, Tls};
use crate::tracked::{Count, Tracked};
use crate::{Failure, listen};

/// Room for the head of a stored response, in octets.
const HEAD_OCTETS_MAX: u64 = 1 << 20;

/// Runs the gateway until a signal and the drain that follows. Gives how many keys that left in
/// doubt.
pub(crate) async fn serve(settings: Settings) -> Result<usize, Failure> {
    let mut signals =
        Signals::new().map_err(|error| Failure::Failed(format!("signals: {error}")))?;
    let sender = settings.sender().map_err(Failure::Usage)?;
    let tls = match &settings.tls {
        None => None,
        Some((certificate, key)) => {
            Some(Arc::new(Tls::load(certificate, key).map_err(Failure::Usage)?))
        }
    };
    settings.temp_dir.as_deref().map_or(Ok(()), temp_dir::prepare).map_err(Failure::Usage)?;
    let options = options(&settings);
    let options = store::encrypted(options, settings.encryption_key_file.as_deref())
        .map_err(Failure::Usage)?;
    let open = tokio::select! {
        open = store::open(&settings.data, options, settings.wait_lock) => open?,
        () = signals.stop() => return Ok(0),
    };
    let served = match remember(&settings).await {
        Ok(()) => run(&settings, sender, tls, open.clone(), &mut signals).await,
        Err(refused) => Err(refused),
    };
    let closed = tokio::task::spawn_blocking(move || open.close())
        .await
        .map_err(|error| Failure::Failed(format!("closing the store: {error}")))?
        .map_err(|error| Failure::Failed(format!("closing the store: {error}")));
    let in_doubt = served?;
    closed.map(|()| in_doubt)
}

/// The store's options. It takes whatever response a profile keeps, with its head: a limit of its
/// own below that would make tombstones of responses that the profile promises to replay.
fn options(settings: &Settings) -> Options {
    let (choice, limits) = (&settings.choice, &settings.limits);
    let profiles = choice.rules.iter().map(|rule| &rule.profile).chain([choice.profile()]);
    let longest = profiles.map(|profile| profile.response_octets_max).max().unwrap_or_default();
    Options::new()
        .ttl(choice.profile().ttl)
        .max_payload((longest as u64).saturating_add(HEAD_OCTETS_MAX))
        .max_disk(limits.max_disk.map(|octets| octets as u64))
        .index_memory(limits.index_memory as u64)
        .max_in_flight(limits.max_in_flight)
        .max_in_flight_per_scope(limits.max_in_flight_per_scope)
}

/// Refuses a store that was run under something else, and writes down what this one is run under.
/// The store is open: nobody else reads or writes that file.
async fn remember(settings: &Settings) -> Result<(), Failure> {
    let now = recorded::of(settings);
    let (data, accept) = (settings.data.clone(), settings.accept_change);
    let known = tokio::task::spawn_blocking(move || {
        match recorded::check(&data, &now) {
            Err(why) if !accept => return Err(Failure::Usage(why)),
            Err(why) => tracing::warn!("accepted: {why}"),
            Ok(()) => {}
        }
        recorded::write(&data, &now).map_err(Failure::Failed)
    });
    known.await.map_err(|error| Failure::Failed(format!("the store's record: {error}")))?
}

/// Listens and serves on `engine` until told to stop, then drains. The admin address answers until
/// the drain is over, and is free again before the store is.
async fn run<E: Engine>(
    settings: &Settings,
    sender: Sender,
    tls: Option<Arc<Tls>>,
    engine: E,
    signals: &mut Signals,
) -> Result<usize, Failure> {
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
    // Before anybody is told where to connect: until then, SIGHUP would end the process.
    let reloads = tls.clone().map(|tls| tokio::spawn(tls::reload_on_hangup(tls)));
    announce(settings);
    if let Some((_, address)) = &admin {
        eprintln!("admin on http://{address}");
    }
    let proto = if tls.is_some() { "https" } else { "http" };
    eprintln!("listening on {proto}://{address}");
    store::tell_of_doubt(engine);

    let gateway = gateway(settings, sender, proto, &tracked);
    let handle = move |request, peer| gateway.clone().handle(request, peer);
    let connections = listen::serve(listener, tls, handle, signals.stop()).await;
    if let Some(reloads) = reloads {
        reloads.abort();
    }
    health.drain();
    let in_doubt = drain(connections.shutdown(), &count, settings.drain_timeout, signals).await;
    if let Some((task, _)) = admin {
        task.abort();
        // Aborted or ended, its listener is gone once this returns.
        let _ = task.await;
    }
    Ok(in_doubt)
}

/// How this gateway makes scopes, for its admin address.
fn scopes(settings: &Settings) -> Scopes {
    Scopes { principal: settings.principal.clone(), choice: settings.choice.clone() }
}

/// The service of one rule, as the gateway calls it.
trait Middleware:
    tower_service::Service<
        http::Request<Body>,
        Response = http::Response<Body>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Middleware for S where
    S: tower_service::Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// The gateway over `engine`: one service for each rule and one for all else, all of them over the
/// one store, under the one rule of who is who.
fn gateway<E: Backend>(
    settings: &Settings,
    sender: Sender,
    proto: &'static str,
    engine: &E,
) -> Gateway<impl Middleware> {
    let way = Way {
        upstream: settings.upstream.clone(),
        sender,
        host: settings.upstream_host,
        on_gateway_status: settings.choice.on_gateway_status,
        trusted: settings.trusted_proxies.clone(),
        proto,
    };
    let choice = &settings.choice;
    let proxy = Proxy::new(way, choice.profile().clone());
    let handler = |profile: &Profile, refresh: Refresh, protects: bool| {
        let proxy = proxy.under(profile.clone());
        let principal = settings.principal.clone();
        let mut layer = IdempotencyLayer::new(engine.clone())
            .profile(profile.clone())
            .principal(move |parts: &http::request::Parts| principal.of(parts));
        if let Some(directory) = &settings.temp_dir {
            layer = layer.spool_dir(directory);
        }
        if refresh == Refresh::Location {
            let (proxy, key_headers) = (proxy.clone(), key_headers(profile));
            layer = layer.refresh(move |stored, parts| {
                refresh::refresh(proxy.clone(), key_headers.clone(), stored, parts)
            });
        }
        Handler::new(layer.layer(proxy.clone()), proxy, profile.clone(), protects)
    };
    let main = handler(choice.profile(), choice.refresh, true);
    let rules = choice
        .rules
        .iter()
        .map(|rule| (rule.clone(), handler(&rule.profile, rule.refresh, rule.protect)))
        .collect();
    let policy = settings.publish_policy.then(|| Policy::of(choice));
    Gateway::new(settings.principal.clone(), main, rules, policy)
}

/// Says how the gateway runs, and what its operator should know about that.
fn announce(settings: &Settings) {
    let profile = settings.choice.profile();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        profile = profile.name.as_ref(),
        methods = names(&profile.methods),
        key_header = profile.header.as_str(),
        principal = %settings.principal,
        ttl = show(profile.ttl),
        data = %settings.data.display(),
        upstream = %settings.upstream,
        routes = settings.choice.rules.len(),
        "onceward serve"
    );
    for rule in &settings.choice.rules {
        tracing::info!(
            path = rule.path,
            methods = names(&rule.methods),
            profile = rule.profile.name.as_ref(),
            ttl = show(rule.profile.ttl),
            protect = rule.protect,
            "route"
        );
    }
    let rules = settings.choice.rules.iter().filter(|rule| rule.protect).map(|rule| &rule.profile);
    let unset = Profile::standard().docs_url;
    if rules.chain([profile]).any(|profile| profile.docs_url == unset) {
        tracing::info!(
            docs_url = unset,
            "errors link to a page that is not there: set docs-url in a profile of your own"
        );
    }
    if let Some(notice) = settings.principal.notice() {
        tracing::warn!("{notice}");
    }
}

fn names(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(",")
}

/// Waits for the connections to finish and for work that outlived its connection, for `timeout` at
/// most, or until told to stop a second time. Gives how many keys are granted still.
async fn drain(
    connections: impl Future<Output = ()>,
    count: &Count,
    timeout: Duration,
    signals: &mut Signals,
) -> usize {
    tracing::info!(timeout = show(timeout), "draining");
    let finished = async {
        connections.await;
        count.idle().await;
    };
    let why = tokio::select! {
        () = finished => {
            tracing::info!("drained");
            return 0;
        }
        () = tokio::time::sleep(timeout) => "the drain timeout has passed",
        () = signals.stop() => "told to stop at once",
    };
    let in_doubt = count.granted();
    tracing::warn!(in_doubt, "{why}: keyed requests that are still running are left in doubt");
    in_doubt
}
