//! The HTTP layer: a tower middleware over any [`Backend`](crate::Backend).
//!
//! For each request, in this order:
//!
//! 1. A method or a path the [`Profile`] does not protect: pass it on, the store untouched.
//! 2. No principal: pass it on, and say so.
//! 3. No key: pass it on, or refuse it where keys are required.
//! 4. A key that cannot be one, or an upgrade: refuse it, before the first octet of the body is
//!    asked for.
//! 5. As many claims in flight as there may be, and the key not known: refuse it.
//! 6. Read the body, in memory or in a temporary file. Too long: refuse it, or stream it. Incomplete:
//!    refuse it; it never claims.
//! 7. Claim the key with the request's fingerprint. Already used for another request: refuse it,
//!    whatever else holds. In flight: refuse it, or wait. In doubt: refuse it. Done: replay.
//! 8. Granted: run the handler in a task of its own, which goes on when the client hangs up.
//! 9. Store the response, or release the key, or leave it in doubt, by what the handler said
//!    ([`Outcome`]) and else by the status.
//! 10. When that is durable, and not before: send the response.
//!
//! The layer belongs inside authentication and rate limits, and outside whatever catches panics;
//! `docs/http.md` has the order, the profiles and the error codes.
//!
//! ```
//! # fn app<B: onceward::Backend>(store: B) {
//! use onceward::http::{IdempotencyLayer, Profile};
//!
//! #[derive(Clone)]
//! struct Account(String);
//!
//! let layer = IdempotencyLayer::new(store)
//!     .profile(Profile::magnolia())
//!     .principal(|request: &http::request::Parts| {
//!         // Set by the authentication in front of this layer.
//!         request.extensions.get::<Account>().map(|account| account.0.clone().into_bytes())
//!     });
//! # let _: axum::Router = axum::Router::new().route("/", axum::routing::post(|| async {})).route_layer(layer);
//! # }
//! ```

mod admit;
mod body;
mod canonical;
mod collect;
mod detach;
mod doubt;
mod echo;
mod execute;
mod fields;
mod fingerprint;
mod future;
mod grpc;
mod key_header;
mod layer;
mod lookup;
mod notice;
mod outcome;
mod overlong;
mod panics;
mod policy;
mod problem;
mod profile;
mod published;
mod receive;
mod replay;
mod request_id;
mod response;
mod service;
mod settle;
mod spool;
mod streamed_print;
mod streaming;
mod tombstone;
mod trailers;
mod waiting;

pub use body::{Body, BoxError};
pub use doubt::{Doubt, Ruling};
pub use future::ResponseFuture;
pub use key_header::KeyFault;
pub use layer::{Chosen, IdempotencyLayer, Unchosen};
pub use outcome::{Decision, Idempotency, Ignored, KeyDigest, Outcome};
pub use policy::{
    Canonical, Dialect, InFlight, KeySyntax, Mismatch, OnCrash, OnDisconnect, OnError, OnTimeout,
    OversizeRequest, OversizeResponse, Query, Route, Routes, Scope,
};
pub use problem::Condition;
pub use profile::Profile;
pub use published::Policy;
pub use replay::Refreshed;
pub use response::{DecodeError, StoredResponse};
pub use service::IdempotencyService;
pub use tombstone::Tombstone;

#[cfg(feature = "test-util")]
pub(crate) use key_header::{parse as parse_key, read as read_key};
