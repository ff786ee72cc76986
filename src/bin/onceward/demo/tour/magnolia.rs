//! The tour of Magnolia's document.

use std::io::Write;

use http::Method;

use super::super::client::{Ask, Document};
use super::super::promise::Promise;
use super::super::random::{named, uuid};
use super::Tour;
use crate::Failure;

/// The document's API.
pub(crate) static MAGNOLIA: Document = Document {
    base: "/magnolia/v1",
    key_header: "Idempotency-Key",
    marker: Some("idempotency-replayed"),
    token: "mag_",
};

const ADA: &str = r#"{"name":"Ada"}"#;
/// The longest key, in characters.
const KEY_MAX: usize = 255;

/// The document's own example.
pub(crate) fn create() -> Ask {
    MAGNOLIA.post("/accounts").body(ADA)
}

/// Follows the document.
pub(crate) async fn visit<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.section("Magnolia", "profile magnolia, header Idempotency-Key, below /magnolia/v1")?;
    first_and_retry(tour).await?;
    spelling(tour).await?;
    two_operations(tour).await?;
    optional(tour).await
}

async fn first_and_retry<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "On POST and PATCH the same key gets the same response; nothing is processed again.",
        "G5, G6, G10, G16",
    )
    .await?;
    let post = create().key(&uuid()?);
    let patch = MAGNOLIA.ask(Method::PATCH, "/accounts/acc_1").body(ADA).key(&uuid()?);
    for (ask, status, executions) in [(post, 201, 1), (patch, 200, 2)] {
        let first = tour.step(&ask, |_| Promise::work(status, executions)).await?;
        tour.step(&ask.remark("retry"), |r| {
            Promise::replay(status, executions)
                .and("it is the same, octet by octet", r.body == first.body)
        })
        .await?;
    }
    tour.chapter("GET and DELETE are idempotent by themselves and need no key.", "G7, G8").await?;
    let get = MAGNOLIA.ask(Method::GET, "/accounts/acc_1");
    tour.step(&get, |_| Promise::work(200, 0)).await?;
    let delete = MAGNOLIA.ask(Method::DELETE, "/accounts/acc_1");
    tour.step(&delete, |_| Promise::work(204, 1)).await?;
    Ok(())
}

async fn spelling<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter("Keys are case-sensitive, and up to 255 characters long.", "G21, G22").await?;
    let lower = named("order-")?;
    let upper = lower.replace("order", "Order");
    tour.step(&create().key(&lower), |_| Promise::work(201, 1)).await?;
    tour.step(&create().key(&upper), |_| Promise::work(201, 2)).await?;
    let longest = format!("{lower}{}", "x".repeat(KEY_MAX - lower.len()));
    let ask = create().key(&longest).remark("255 characters");
    tour.step(&ask, |_| Promise::work(201, 3)).await?;
    tour.step(&ask.remark("255, retry"), |_| Promise::replay(201, 3)).await?;
    let ask = create().key(&format!("{longest}x")).remark("256 characters");
    tour.step(&ask, |r| {
        Promise::refusal(400, 3)
            .and("the error has its code", r.text("/code") == "invalid-key")
            .remark(r.text("/code"))
    })
    .await?;
    Ok(())
}

async fn two_operations<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "One key for two operations is a mistake: no contact gets an account's response.",
        "G13",
    )
    .await?;
    let account = create().key(&uuid()?);
    tour.step(&account, |_| Promise::work(201, 1)).await?;
    let contact = MAGNOLIA.post("/contacts").body(ADA).key(account.key_shown());
    tour.step(&contact, |r| {
        Promise::refusal(422, 1)
            .and("the error has its code", r.text("/code") == "key-reused")
            .remark(r.text("/code"))
    })
    .await?;
    tour.step(&contact.key(&uuid()?).remark("new key"), |_| Promise::work(201, 2)).await?;
    Ok(())
}

async fn optional<W: Write>(tour: &mut Tour<W>) -> Result<(), Failure> {
    tour.chapter(
        "Keys are optional, and for authenticated requests: on a form that anybody may send, the \
         key is ignored.",
        "G1, G18",
    )
    .await?;
    tour.step(&create().remark("no key"), |_| Promise::work(201, 1)).await?;
    tour.step(&create().remark("no key, again"), |_| Promise::work(201, 2)).await?;
    let form = MAGNOLIA.post("/contacts").body(ADA).by(None).key(&uuid()?);
    for (remark, executions) in [("nobody", 3), ("nobody, again", 4)] {
        tour.step(&form.remark(remark), |r| {
            let said = r.header("onceward-key-ignored");
            Promise::work(201, executions)
                .and("it says that the key is ignored", said == "no-principal")
                .remark(format!("Onceward-Key-Ignored: {said}"))
        })
        .await?;
    }
    Ok(())
}
