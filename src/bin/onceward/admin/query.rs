//! The query of a URL: each parameter once, and none that nobody asked for.

use super::refusal::Refusal;
use crate::octets;

/// Parameters that have not been asked for yet.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URL behind `?`.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let decoded = |text: &str| {
            octets::from_percent(&text.replace('+', " "))
                .and_then(|octets| String::from_utf8(octets).ok())
                .ok_or_else(|| Refusal::bad_request("the query is not percent-encoded UTF-8"))
        };
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// The parameter `name`, if it is there.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let Some(at) = self.0.iter().position(|(given, _)| given == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        if self.0.iter().any(|(given, _)| given == name) {
            return Err(Refusal::bad_request(format!("`{name}` is given twice")));
        }
        Ok(Some(value))
    }

    /// Refuses what was not asked for: a misspelt filter must not go for none.
    pub(super) fn end(self) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some(_) => {
                Err(Refusal::bad_request("the query has a parameter this path does not take"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_taken_once() {
        let mut query = Query::parse(Some("principal=Bearer+a%2Fb%20c&&limit=5&x")).unwrap();
        assert_eq!(query.take("principal").unwrap().as_deref(), Some("Bearer a/b c"));
        assert_eq!(query.take("principal").unwrap(), None);
        assert_eq!(query.take("limit").unwrap().as_deref(), Some("5"));
        assert_eq!(query.take("x").unwrap().as_deref(), Some(""));
        assert!(query.end().is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(Query::parse(Some("a=%")).is_err());
        assert!(Query::parse(Some("a=%ff")).is_err());
        assert!(Query::parse(Some("a=1&a=2")).unwrap().take("a").is_err());
        assert!(Query::parse(Some("sate=in-doubt")).unwrap().end().is_err());
        assert!(Query::parse(None).unwrap().end().is_ok());
    }
}
