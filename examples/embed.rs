//! The engine alone, in a program without an async runtime: `cargo run --example embed`.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use onceward::{Claim, Fingerprint, Key, Store};

/// The work that must be done once.
fn charge(order: &str) -> String {
    format!("charged for {order}")
}

/// Does what `order` asks for, unless that was done under `key` before.
fn pay(store: &Store, key: &str, order: &str) -> Result<String, onceward::Error> {
    let key = Key::new("acct_1", key)?;
    Ok(match store.blocking_claim(key, Fingerprint::of(order))? {
        Claim::Granted(ticket) => {
            let receipt = charge(order);
            // On disk once this returns; nobody sees the receipt before.
            ticket.blocking_complete(receipt.clone())?;
            format!("done:     {receipt}")
        }
        Claim::Replay(record) => {
            let receipt = record.payload()?.unwrap_or_default();
            format!("replayed: {}", String::from_utf8_lossy(&receipt))
        }
        Claim::Mismatch(_) => "refused:  the key was used for another order".to_owned(),
        Claim::InFlight(_) => "refused:  somebody is at work on it".to_owned(),
        Claim::InDoubt(_) => "refused:  it was interrupted, and may have been done".to_owned(),
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");

    let store = Store::open(&data)?;
    println!("first      {}", pay(&store, "key-1", "a lamp")?);
    println!("again      {}", pay(&store, "key-1", "a lamp")?);
    println!("changed    {}", pay(&store, "key-1", "a desk")?);

    // A ticket that is dropped unused stands for a program that died at its work.
    drop(store.blocking_claim(Key::new("acct_1", "key-2")?, Fingerprint::of("a chair"))?);
    store.close()?;

    let store = Store::open(&data)?;
    println!("reopened   {}", pay(&store, "key-1", "a lamp")?);
    println!("abandoned  {}", pay(&store, "key-2", "a chair")?);
    store.close()?;
    Ok(())
}
