//! What stands in for encryption in a program built without it: the same names, of which no value
//! can be had, so that nothing of it is compiled; and the refusal of stores that need it.

use std::convert::Infallible;
use std::io;

use crate::error::{Error, ErrorKind};
use crate::format::frame::Frame;
use crate::random::Random;

/// Octets a sealed payload has more than a plain one.
pub(crate) const OVERHEAD: u64 = 0;

/// No keys can be given.
#[derive(Clone, Debug)]
pub(crate) struct Keys(Infallible);

/// No segment is made with a key.
#[derive(Clone, Debug)]
pub(crate) struct Master(Infallible);

impl Master {
    pub(crate) fn make(&self, _: [u8; 16], _: u32) -> io::Result<(DataKey, [u8; 0])> {
        match self.0 {}
    }
}

/// No segment's key can be known.
#[derive(Clone, Debug)]
pub(crate) struct DataKey(Infallible);

impl DataKey {
    pub(crate) fn seal(&self, _: u64, _: &Frame<'_>, _: &[u8]) -> Vec<u8> {
        match self.0 {}
    }

    pub(crate) fn open(&self, _: u64, _: &Frame<'_>, _: &[u8]) -> Option<Vec<u8>> {
        match self.0 {}
    }
}

#[allow(clippy::unnecessary_wraps, reason = "with encryption it may fail")]
pub(crate) fn master(keys: Option<&Keys>, _: &Random) -> Result<Option<Master>, Error> {
    match keys {
        Some(keys) => match keys.0 {},
        None => Ok(None),
    }
}

pub(crate) fn unlock(_: Option<&Keys>, _: &[u8], _: [u8; 16], _: u32) -> Result<DataKey, Error> {
    Err(Error::new(
        ErrorKind::UnsupportedFormat,
        "the store is encrypted, and this program was built without the feature `encrypt`",
    ))
}
