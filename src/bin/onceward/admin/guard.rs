//! Who may ask the admin address: whoever has the token, if there is one, and no browser on behalf of
//! some page.

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};

use super::refusal::Refusal;
use super::token::Token;

/// Refuses who may not ask. A page in a browser may try to reach an address that only the browser's
/// machine can: what changes something is refused to whatever says that it is one, and what reads to
/// what says that it is of another site.
pub(super) fn check(
    token: Option<&Token>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let site = headers.get("sec-fetch-site");
    let by_a_page = headers.contains_key(header::ORIGIN)
        || site.is_some_and(|site| *method == Method::POST || site != "none");
    if by_a_page {
        let message = "the admin address does not answer pages in browsers";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "cross-site", message));
    }
    if token.is_some_and(|token| !token.is_in(headers)) {
        let message = "give the token: `Authorization: Bearer TOKEN`";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(token: Option<&str>, method: &Method, fields: &[(&str, &str)]) -> bool {
        let token = token.map(|token| Token::parse(token).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, value.parse().unwrap());
        }
        check(token.as_ref(), method, &headers).is_ok()
    }

    #[test]
    fn the_token_is_the_whole_one_and_given_once() {
        let token = Some("s3cret\n");
        let allowed = |values: &[&str]| {
            let fields: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            is_allowed(token, &Method::GET, &fields)
        };
        assert!(allowed(&["Bearer s3cret"]) && allowed(&["bearer  s3cret"]));
        for values in [
            &[][..],
            &["s3cret"],
            &["Bearer s3cre"],
            &["Bearer s3crets"],
            &["Basic s3cret"],
            &["Bearer"],
            &["Bearer s3cret", "Bearer s3cret"],
        ] {
            assert!(!allowed(values), "{values:?}");
        }
        assert!(is_allowed(None, &Method::POST, &[]));
        assert_eq!(Token::parse(" \n"), None);
        assert_eq!(Token::parse("two words"), None);
    }

    #[test]
    fn a_page_changes_nothing_and_reads_nothing() {
        for site in ["cross-site", "same-site", "same-origin"] {
            assert!(!is_allowed(None, &Method::POST, &[("sec-fetch-site", site)]), "{site}");
            assert!(!is_allowed(None, &Method::GET, &[("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["null", "http://127.0.0.1:9090"] {
            assert!(!is_allowed(None, &Method::POST, &[("origin", origin)]), "{origin}");
        }
        // Typed into the address bar.
        assert!(is_allowed(None, &Method::GET, &[("sec-fetch-site", "none")]));
        assert!(!is_allowed(None, &Method::POST, &[("sec-fetch-site", "none")]));
    }
}
