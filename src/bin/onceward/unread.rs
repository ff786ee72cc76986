//! Bodies of requests that are answered without them.

use std::time::Duration;

use http::header::{self, HeaderMap};
use http_body_util::BodyExt as _;
use onceward::http::Body;

/// How long a sender is listened to whom nobody waits for.
const LONGEST: Duration = Duration::from_secs(30);

/// Has up to `octets_max` of `body` read and thrown away, while its request is answered: a connection
/// that is closed on octets nobody read is reset, and may take the answer with it. Nothing is read
/// where the sender waits for leave to send (C14), and for no longer than a while.
pub(crate) fn read_aside(headers: &HeaderMap, mut body: Body, octets_max: usize) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let reading = async move {
        let mut read = 0;
        while read < octets_max {
            let Some(Ok(frame)) = body.frame().await else { return };
            read += frame.data_ref().map_or(1, |data| data.len().max(1));
        }
    };
    tokio::spawn(tokio::time::timeout(LONGEST, reading));
}
