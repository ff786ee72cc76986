//! Bodies of requests that are answered without them.

use http::header::{self, HeaderMap};
use http_body_util::BodyExt as _;
use onceward::http::Body;

/// Has up to `octets_max` of `body` read and thrown away, while its request is answered: a connection
/// that is closed on octets nobody read is reset, and may take the answer with it. Nothing is read
/// where the sender waits for leave to send (C14).
pub(crate) fn read_aside(headers: &HeaderMap, mut body: Body, octets_max: usize) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    tokio::spawn(async move {
        let mut read = 0;
        while read < octets_max {
            let Some(Ok(frame)) = body.frame().await else { return };
            read += frame.data_ref().map_or(1, |data| data.len().max(1));
        }
    });
}
