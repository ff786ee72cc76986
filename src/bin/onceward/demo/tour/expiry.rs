//! The tour of expiry, which takes its time.

use std::io::Write;
use std::time::Duration;

use super::super::client::{Ask, Document};
use super::super::promise::Promise;
use super::super::random::uuid;
use super::super::server::BRIEF_TTL;
use super::Tour;
use super::magnolia::MAGNOLIA;
use super::managed_dev::MANAGED_DEV;
use super::oec::OEC;
use crate::Failure;

/// Longer than store time and this clock can be apart.
const MARGIN: Duration = Duration::from_millis(100);

static BRIEF_MANAGED_DEV: Document = Document { base: "", ..MANAGED_DEV };
static BRIEF_OEC: Document = Document { base: "", ..OEC };
static BRIEF_MAGNOLIA: Document = Document { base: "", ..MAGNOLIA };

/// Lets results expire.
pub(crate) async fn visit<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.section("Expiry", "below /brief the same APIs, where a result lives 2 s and not 24 h")?;
    let asks = [
        (BRIEF_MANAGED_DEV.post("/brief/v1/sites/site_1/environments"), 202),
        (BRIEF_OEC.post("/brief/api/public/v1/projects"), 201),
        (BRIEF_MAGNOLIA.post("/brief/magnolia/v1/accounts"), 201),
    ];
    let mut keyed: Vec<(Ask, u16)> = Vec::new();
    for (ask, status) in asks {
        keyed.push((ask.body(r#"{"name":"brief"}"#).key(&uuid()?), status));
    }
    tour.chapter("Within its time a result is replayed.", "M5, O4, G16").await?;
    for ((ask, status), executions) in keyed.iter().zip(1..) {
        tour.step(ask, |_| Promise::work(*status, executions)).await?;
        tour.step(&ask.remark("retry"), |_| Promise::replay(*status, executions)).await?;
    }
    tokio::time::sleep(BRIEF_TTL + MARGIN).await;
    tour.chapter(
        "After it, here 2 s later, the key is expired: the same request is a fresh one.",
        "M7, O5, G17",
    )
    .await?;
    for ((ask, status), executions) in keyed.iter().zip(1..) {
        tour.step(&ask.remark("again"), |_| Promise::work(*status, executions)).await?;
    }
    Ok(())
}
