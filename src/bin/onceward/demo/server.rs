//! The sample API behind its profiles, as one service: who calls, which profile, then the layer.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use onceward::Store;
use onceward::http::{Body, IdempotencyLayer, IdempotencyService, Profile, Routes};
use serde_json::json;
use tower_layer::Layer;
use tower_service::Service;

use super::api::{Account, Api, Route, Sample, account, error, reply};

/// How long results live below `/brief`.
pub(crate) const BRIEF_TTL: Duration = Duration::from_secs(2);

/// A profile and the paths below which it holds.
#[derive(Clone)]
struct Mount {
    below: String,
    service: IdempotencyService<Sample, Store>,
}

/// Answers requests. A path that is below no mount is answered without regard to keys.
#[derive(Clone)]
pub(crate) struct Server {
    api: Arc<Api>,
    mounts: Arc<[Mount]>,
}

impl Server {
    /// `api` with each part behind its profile, on `store`.
    pub(crate) fn new(api: Arc<Api>, store: &Store) -> Self {
        let profiles = [
            ("/v1/", Profile::managed_dev()),
            ("/api/public/v1/", Profile::oec()),
            ("/magnolia/", Profile::magnolia()),
            ("/ietf/", Profile::ietf()),
        ];
        let mounts = profiles.into_iter().flat_map(|(below, profile)| {
            [
                mount(&api, store, format!("/brief{below}"), brief(profile.clone())),
                mount(&api, store, below.to_owned(), profile),
            ]
        });
        let mounts = mounts.collect();
        Self { api, mounts }
    }

    /// `api` without any protection: what the tour is tried against, to see that it notices.
    #[cfg(test)]
    pub(crate) fn unprotected(api: Arc<Api>) -> Self {
        Self { api, mounts: Arc::new([]) }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        match (parts.method.as_str(), parts.uri.path()) {
            ("GET", "/demo") => return self.state(),
            ("POST", "/demo/release") => {
                self.api.gate.open();
                return self.state();
            }
            _ => {}
        }
        // Before the layer: a path that is not there must not claim a key.
        if Route::of(&parts.method, parts.uri.path()).is_none() {
            return error(StatusCode::NOT_FOUND, "not_found");
        }
        match account(&parts) {
            Some(account) => {
                parts.extensions.insert(account);
            }
            None if is_public(&parts) => {}
            None => return error(StatusCode::UNAUTHORIZED, "unauthorized"),
        }
        let path = parts.uri.path();
        let mount = self.mounts.iter().find(|mount| path.starts_with(&mount.below));
        let service = mount.map(|mount| mount.service.clone());
        let request = Request::from_parts(parts, body);
        match service {
            Some(mut service) => {
                let Ok(()) =
                    poll_fn(|cx| Service::<Request<Body>>::poll_ready(&mut service, cx)).await;
                let Ok(response) = service.call(request).await;
                response
            }
            None => self.api.answer(request).await,
        }
    }

    /// What the tour, and who tries the API by hand, want to know of it.
    fn state(&self) -> Response<Body> {
        let (executions, held) = (self.api.executions.count(), self.api.gate.held());
        reply(StatusCode::OK, &json!({ "executions": executions, "held": held }))
    }
}

fn mount(api: &Arc<Api>, store: &Store, below: String, profile: Profile) -> Mount {
    let (name, refreshes) = (below.clone(), profile.refresh_location);
    let mut layer =
        IdempotencyLayer::new(store.clone()).profile(profile).principal(move |parts: &Parts| {
            // An account has keys of its own in each API: one store holds them all.
            let account = parts.extensions.get::<Account>()?;
            Some(format!("{name} {}", account.0).into_bytes())
        });
    if refreshes {
        let api = Arc::clone(api);
        layer = layer.refresh(move |stored, _| std::future::ready(api.refresh(&stored)));
    }
    Mount { below, service: layer.layer(Sample(Arc::clone(api))) }
}

/// `profile` below `/brief`.
fn brief(mut profile: Profile) -> Profile {
    profile.ttl = BRIEF_TTL;
    if let Routes::Listed(routes) = &mut profile.routes {
        for route in routes {
            route.path.insert_str(0, "/brief");
        }
    }
    profile
}

/// Whether anybody may send this: Magnolia's contact form.
fn is_public(parts: &Parts) -> bool {
    parts.method == Method::POST && parts.uri.path() == "/magnolia/v1/contacts"
}
