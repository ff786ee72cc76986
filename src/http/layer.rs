//! The layer: a store, a profile, and who is asking.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use http::Uri;
use http::request::Parts;

use super::body::BoxError;
use super::doubt::{Doubt, Ruling};
use super::notice::Notices;
use super::profile::Profile;
use super::replay::Refreshed;
use super::response::StoredResponse;
use super::service::IdempotencyService;
use super::waiting::Waiting;
use crate::backend::Backend;
use crate::clock::SystemClock;

type Principal = Arc<dyn Fn(&Parts) -> Option<Vec<u8>> + Send + Sync>;
type OriginalUri = Arc<dyn Fn(&Parts) -> Option<Uri> + Send + Sync>;
type RefreshFuture = Pin<Box<dyn Future<Output = Result<Option<Refreshed>, BoxError>> + Send>>;
type RulingFuture = Pin<Box<dyn Future<Output = Result<Ruling, BoxError>> + Send>>;
pub(crate) type Resolver = Arc<dyn Fn(Doubt) -> RulingFuture + Send + Sync>;
pub(crate) type Refresh = Arc<dyn Fn(StoredResponse, Parts) -> RefreshFuture + Send + Sync>;

/// A tower [`Layer`](tower_layer::Layer) that makes requests with a key idempotent.
///
/// It becomes one once it is said whose keys are whose: by [`principal`](Self::principal) or
/// [`single_tenant`](Self::single_tenant). Without, a key of one caller would find the response to
/// another (C8):
///
/// ```compile_fail
/// # fn app<B: onceward::Backend>(store: B) {
/// let layer = onceward::http::IdempotencyLayer::new(store);
/// let app: axum::Router = axum::Router::new().layer(layer);
/// # }
/// ```
///
/// The service it makes runs handlers with `tokio::spawn`, so it must be called within a tokio
/// runtime.
pub struct IdempotencyLayer<B, P = Unchosen> {
    store: B,
    config: Arc<Config>,
    principal: std::marker::PhantomData<P>,
}

/// It is not said yet whose keys are whose.
#[derive(Clone, Copy, Debug)]
pub enum Unchosen {}

/// It is said whose keys are whose.
#[derive(Clone, Copy, Debug)]
pub enum Chosen {}

/// What the layer and its services share.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) profile: Profile,
    /// `None` where everyone is one.
    pub(crate) principal: Option<Principal>,
    pub(crate) refresh: Option<Refresh>,
    pub(crate) resolver: Option<Resolver>,
    /// Held while a key in doubt is resolved by a ruling: between the look that the ruling still
    /// fits, and the resolution, nobody else resolves.
    pub(crate) rulings: Arc<tokio::sync::Mutex<()>>,
    pub(crate) clock: SystemClock,
    pub(crate) notices: Arc<Notices>,
    /// Duplicates that wait.
    pub(crate) waiting: Arc<Waiting>,
    original_uri: Option<OriginalUri>,
    spool_dir: Option<PathBuf>,
}

impl Config {
    /// Where what memory does not hold of a request's body waits.
    pub(crate) fn spool_dir(&self) -> PathBuf {
        self.spool_dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// The URI the client sent.
    pub(crate) fn target(&self, parts: &Parts) -> Uri {
        let original = self.original_uri.as_ref().and_then(|original_uri| original_uri(parts));
        original.unwrap_or_else(|| parts.uri.clone())
    }
}

impl<B: Backend> IdempotencyLayer<B, Unchosen> {
    /// A layer over `store`, with [`Profile::standard`].
    pub fn new(store: B) -> Self {
        let config = Config {
            profile: Profile::standard(),
            principal: None,
            refresh: None,
            resolver: None,
            rulings: Arc::default(),
            clock: SystemClock::new(),
            notices: Arc::default(),
            waiting: Arc::default(),
            original_uri: None,
            spool_dir: None,
        };
        Self { store, config: Arc::new(config), principal: std::marker::PhantomData }
    }
}

impl<B: Backend, P> IdempotencyLayer<B, P> {
    /// Uses `profile`.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.config_mut().profile = profile;
        self
    }

    /// Takes the principal of a request, to which its key belongs, from its head: an account's id,
    /// as the authentication in front of the layer left it. Not a token: tokens rotate, and keys
    /// must not. Of any length. `None` passes the request on without regard to its key (C8).
    #[must_use]
    pub fn principal<F>(mut self, principal: F) -> IdempotencyLayer<B, Chosen>
    where
        F: Fn(&Parts) -> Option<Vec<u8>> + Send + Sync + 'static,
    {
        self.config_mut().principal = Some(Arc::new(principal));
        self.chosen()
    }

    /// Every caller is the same one: a key is unique among all of them (C8).
    #[must_use]
    pub fn single_tenant(mut self) -> IdempotencyLayer<B, Chosen> {
        self.config_mut().principal = None;
        self.chosen()
    }

    /// Makes the body of a replay anew (X1): `refresh` is given the stored response and the head of
    /// the request that gets the replay, and may give another body. Status and headers stay, but
    /// for those that described the old body. It must not do the work again.
    ///
    /// `Ok(None)`, an error and a panic leave the stored response as it is.
    #[must_use]
    pub fn refresh<F, Fut>(mut self, refresh: F) -> Self
    where
        F: Fn(StoredResponse, Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Refreshed>, BoxError>> + Send + 'static,
    {
        self.config_mut().refresh =
            Some(Arc::new(move |stored, parts| Box::pin(refresh(stored, parts))));
        self
    }

    /// Decides about keys in doubt (C34): `resolver` is asked when a request comes upon one, before
    /// it is refused, and says whether the work was done. Where there is one, the profile's
    /// `on_crash` is not looked at. It may be asked about one key by several requests at once; of
    /// what they are told, the first is done.
    ///
    /// An error and a panic say nothing: the key stays in doubt.
    ///
    /// ```
    /// # use onceward::http::{Chosen, IdempotencyLayer, Ruling};
    /// # async fn was_charged(_: &str) -> Result<bool, std::io::Error> { Ok(true) }
    /// # fn with<B: onceward::Backend>(layer: IdempotencyLayer<B, Chosen>) -> IdempotencyLayer<B, Chosen> {
    /// layer.resolver(|doubt| async move {
    ///     let charged = was_charged(&doubt.derived_key("charge")).await?;
    ///     Ok(if charged { Ruling::InDoubt } else { Ruling::Release })
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn resolver<F, Fut>(mut self, resolver: F) -> Self
    where
        F: Fn(Doubt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Ruling, BoxError>> + Send + 'static,
    {
        self.config_mut().resolver = Some(Arc::new(move |doubt| Box::pin(resolver(doubt))));
        self
    }

    /// Where the URI the client sent is found, when something in front of the layer rewrites it;
    /// `None` stands for the request's own.
    ///
    /// Needed within axum's `nest`, which cuts the prefix off the path: without it, two mounts of
    /// one router look the same, and a key used under both would be one key for one request. There,
    /// it is `|parts| parts.extensions.get::<axum::extract::OriginalUri>().map(|uri| uri.0.clone())`.
    #[must_use]
    pub fn original_uri<F>(mut self, original_uri: F) -> Self
    where
        F: Fn(&Parts) -> Option<Uri> + Send + Sync + 'static,
    {
        self.config_mut().original_uri = Some(Arc::new(original_uri));
        self
    }

    /// Spools request bodies to `directory`, which must be there: what memory does not hold of a
    /// body (see [`Profile::request_octets_in_memory`]) waits there, in files without a name, until
    /// the handler has read it. By default [`std::env::temp_dir`], which on some systems is memory
    /// itself. Where it fails, requests that need it are answered `store-unavailable` (C13).
    #[must_use]
    pub fn spool_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.config_mut().spool_dir = Some(directory.into());
        self
    }

    fn config_mut(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    fn chosen(self) -> IdempotencyLayer<B, Chosen> {
        let Self { store, config, .. } = self;
        IdempotencyLayer { store, config, principal: std::marker::PhantomData }
    }
}

impl<B: Clone, P> Clone for IdempotencyLayer<B, P> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            config: Arc::clone(&self.config),
            principal: std::marker::PhantomData,
        }
    }
}

impl<B, P> std::fmt::Debug for IdempotencyLayer<B, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdempotencyLayer")
            .field("profile", &self.config.profile)
            .finish_non_exhaustive()
    }
}

impl<S, B: Backend> tower_layer::Layer<S> for IdempotencyLayer<B, Chosen> {
    type Service = IdempotencyService<S, B>;

    fn layer(&self, inner: S) -> Self::Service {
        IdempotencyService::new(inner, self.store.clone(), Arc::clone(&self.config))
    }
}
