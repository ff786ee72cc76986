//! Asking the admin API.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use onceward::{ErrorKind, Options, Store};
use serde_json::Value;
use tokio::net::TcpStream;

use super::args::StoreArgs;
use crate::Failure;
use crate::admin::Api;

/// How long a connection to the admin address may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The file that makes a directory a store (`docs/format.md`).
const STORE_FILE: &str = "STORE";

/// Somebody to ask.
pub(super) enum Client {
    /// A gateway.
    Gateway {
        authority: Authority,
        /// `Bearer` and the token.
        token: Option<HeaderValue>,
    },
    /// A store on which nothing else runs.
    Store { store: Store, api: Box<Api<Store>> },
}

impl Client {
    /// Whom `args` name. A store is opened.
    pub(super) async fn to(args: &StoreArgs) -> Result<Self, Failure> {
        if let Some(url) = &args.place.admin {
            let authority = authority(url).map_err(Failure::Usage)?;
            let token = args.admin_token_file().as_deref().map(token).transpose()?;
            return Ok(Self::Gateway { authority, token });
        }
        let Some(data) = args.place.data.clone() else {
            return Err(Failure::Usage("give --admin URL or --data DIR".to_owned()));
        };
        let keys = args.encryption_key_file();
        let opened = tokio::task::spawn_blocking(move || open(&data, keys.as_deref())).await;
        let store = opened.map_err(|error| Failure::Failed(error.to_string()))??;
        let api = Box::new(Api::new(store.clone(), None));
        Ok(Self::Store { store, api })
    }

    /// Asks, and gives the JSON of the answer.
    pub(super) async fn call(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let octets = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(target)
            .body(octets)
            .map_err(|error| Failure::Usage(format!("that cannot be asked for: {error}")))?;
        let response = match self {
            Self::Store { api, .. } => api.answer(request).await,
            Self::Gateway { authority, token } => {
                send(authority, token.as_ref(), request).await.map_err(|why| {
                    Failure::Failed(format!("the gateway at http://{authority}: {why}"))
                })?
            }
        };
        read(&response)
    }

    /// Lets go of whom was asked.
    pub(super) async fn close(self) -> Result<(), Failure> {
        let Self::Store { store, .. } = self else { return Ok(()) };
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        closed
            .map_err(|error| Failure::Failed(error.to_string()))?
            .map_err(|error| Failure::Failed(format!("closing the store: {error}")))
    }
}

/// Opens the store in `data`; unlike the gateway, makes none.
fn open(data: &Path, keys: Option<&Path>) -> Result<Store, Failure> {
    let shown = data.display();
    if !data.join(STORE_FILE).is_file() {
        return Err(Failure::Failed(format!("there is no store in {shown}")));
    }
    let options = crate::store::encrypted(Options::new(), keys).map_err(Failure::Usage)?;
    options.open(data).map_err(|error| {
        Failure::Failed(if error.kind() == ErrorKind::Locked {
            format!(
                "the store in {shown} is in use by another process: ask the gateway that runs on \
                 it, with --admin URL"
            )
        } else {
            format!("the store in {shown} cannot be opened: {error}")
        })
    })
}

/// Reads `http://HOST[:PORT]`. Errors are in words for the operator.
fn authority(url: &str) -> Result<Authority, String> {
    let wrong = |why: &str| format!("--admin: `{url}` is not an admin address: {why}");
    let uri: Uri = url.parse().map_err(|error| wrong(&format!("{error}")))?;
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err(wrong("it does not begin with http://"));
    }
    if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
        return Err(wrong("it has something behind the port"));
    }
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    match authority {
        Some(authority) if !authority.as_str().contains('@') => Ok(authority.clone()),
        Some(_) => Err(wrong("it has a user name in it, which would not be sent")),
        None => Err(wrong("it names no host")),
    }
}

fn token(file: &Path) -> Result<HeaderValue, Failure> {
    let wrong = |why: String| Failure::Usage(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim()))
        .map_err(|_| wrong("it holds no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sends one request on a connection of its own. Errors are in words for the operator.
async fn send(
    authority: &Authority,
    token: Option<&HeaderValue>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, String> {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let address = (host, authority.port_u16().unwrap_or(80));
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| "it does not answer".to_owned())?
        .map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    // Ends with the sender, or is dropped with the runtime.
    tokio::spawn(connection);
    let mut request = request.map(Full::new);
    let headers = request.headers_mut();
    let host = HeaderValue::try_from(authority.as_str()).map_err(|error| error.to_string())?;
    headers.insert(header::HOST, host);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, token.clone());
    }
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    Ok(Response::from_parts(parts, body.to_bytes()))
}

/// The JSON of an answer, or what it says is wrong.
fn read(response: &Response<Bytes>) -> Result<Value, Failure> {
    let status = response.status();
    let body = serde_json::from_slice::<Value>(response.body()).ok();
    if let (StatusCode::OK, Some(body)) = (status, &body) {
        return Ok(body.clone());
    }
    let said = body.as_ref().and_then(|body| body.get("message")).and_then(Value::as_str);
    let said = said.map_or_else(
        || format!("the answer is {status}, and not that of an admin address"),
        str::to_owned,
    );
    Err(if status == StatusCode::BAD_REQUEST {
        Failure::Usage(said)
    } else {
        Failure::Failed(said)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_is_one_and_nothing_more() {
        for url in ["http://127.0.0.1:9090", "http://[::1]:9090/", "http://admin"] {
            assert!(authority(url).is_ok(), "{url}");
        }
        for url in ["", "127.0.0.1:9090", "https://a:1", "http://a:1/v1", "http://u@a:1", "/a"] {
            assert!(authority(url).is_err(), "{url}");
        }
    }
}
