//! The embedded store as a backend.

use bytes::Bytes;
use std::time::Instant;

use super::{Backend, BackendTicket, BackendWait};
use crate::engine::{Store, Ticket, Wait};
use crate::error::{Error, TicketError};
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::outcome::{Claim, ClaimOptions, Record, Resolution, Resolved};

impl Backend for Store {
    type Ticket = Ticket;
    type Wait = Wait;

    fn claim(
        &self,
        key: Key<'_>,
        print: Fingerprint,
        options: ClaimOptions,
    ) -> impl Future<Output = Result<Claim<Self>, Error>> + Send + 'static {
        self.claim_with(key, print, options)
    }

    fn has_room(&self, scope: &[u8]) -> bool {
        Store::has_room(self, scope)
    }

    fn get(
        &self,
        key: Key<'_>,
    ) -> impl Future<Output = Result<Option<Record>, Error>> + Send + 'static {
        std::future::ready(Store::get(self, key))
    }

    fn resolve(
        &self,
        key: Key<'_>,
        resolution: Resolution,
    ) -> impl Future<Output = Result<Resolved, Error>> + Send + 'static {
        Store::resolve(self, key, resolution)
    }
}

impl BackendTicket for Ticket {
    fn number(&self) -> u64 {
        Ticket::number(self)
    }

    fn complete(
        self,
        payload: Bytes,
    ) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        Ticket::complete(self, payload)
    }

    fn complete_without_payload(
        self,
        note: Bytes,
    ) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        Ticket::complete_without_payload(self, note)
    }

    fn release(self) -> impl Future<Output = Result<(), TicketError<Self>>> + Send + 'static {
        Ticket::release(self)
    }
}

impl BackendWait<Store> for Wait {
    fn record(&self) -> &Record {
        Wait::record(self)
    }

    fn until(
        self,
        deadline: Instant,
    ) -> impl Future<Output = Result<Claim<Store>, Error>> + Send + 'static {
        Wait::until(self, deadline)
    }
}
