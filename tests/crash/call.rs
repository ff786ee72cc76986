//! Calls of a store that have not come back.

use std::future::Future;
use std::pin::Pin;

use onceward::{Claim, Error, Resolved, Ticket, TicketError};

use crate::oracle::Fact;

/// A future that is polled by hand.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call that has not come back.
pub(crate) enum Call {
    Claim { ttl_ms: u64, future: Boxed<Result<Claim, Error>> },
    Finish { fact: Fact, ttl_ms: u64, future: Boxed<Result<(), TicketError<Ticket>>> },
    Resolve { fact: Fact, begun: bool, future: Boxed<Result<Resolved, Error>> },
}
