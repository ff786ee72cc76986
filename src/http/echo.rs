//! Repeating the key in the response, as it was written (`echo_key`).

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Response};

use super::key_header;
use super::profile::Profile;

/// The one line that bore the key. A key that was sent twice is not one to repeat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Echo(Option<(HeaderName, HeaderValue)>);

impl Echo {
    /// What a response to a request with these headers repeats.
    pub(crate) fn of(headers: &HeaderMap, profile: &Profile) -> Self {
        if !profile.echo_key {
            return Self::default();
        }
        let mut lines = key_header::lines(headers, profile);
        match (lines.next(), lines.next()) {
            (Some((name, value)), None) => Self(Some((name.clone(), value.clone()))),
            _ => Self::default(),
        }
    }

    /// Puts it into the response, in the place of any header of that name.
    pub(crate) fn onto<B>(self, response: &mut Response<B>) {
        if let Some((name, value)) = self.0 {
            response.headers_mut().insert(name, value);
        }
    }
}
