//! Calls of a store that have not come back.

use std::future::Future;
use std::pin::Pin;

use onceward::{Claim, Error, Resolved, Ticket, TicketError};

use crate::fact::Fact;
use crate::known::Begun;
use crate::script::Patience;

/// A future that is polled by hand.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call that has not come back.
pub(crate) enum Call {
    Claim {
        begun: Begun,
        patience: Patience,
        future: Boxed<Result<Claim, Error>>,
    },
    /// A claim behind somebody else's flight.
    Wait {
        begun: Begun,
        future: Boxed<Result<Claim, Error>>,
    },
    Finish {
        fact: Fact,
        begun: Begun,
        future: Boxed<Result<(), TicketError<Ticket>>>,
    },
    Resolve {
        fact: Option<Fact>,
        future: Boxed<Result<Resolved, Error>>,
    },
}

impl Call {
    /// The claim that may still be granted.
    pub(crate) fn claim(&self) -> Option<Begun> {
        match self {
            Self::Claim { begun, .. } | Self::Wait { begun, .. } => Some(*begun),
            Self::Finish { .. } | Self::Resolve { .. } => None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "a claim",
            Self::Wait { .. } => "a wait",
            Self::Finish { .. } => "the end of a claim",
            Self::Resolve { .. } => "a resolution",
        }
    }
}
