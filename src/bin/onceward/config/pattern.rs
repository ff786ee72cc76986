//! Path patterns, as an operator writes them.

/// Checks a pattern and gives it back: segments with `/` before each, of which one in braces stands
/// for any one segment, and a last `**` for any number of them. It is compared with the raw path.
pub(crate) fn check(pattern: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("`{pattern}` is not a path pattern: {why}"));
    let Some(segments) = pattern.strip_prefix('/') else {
        return wrong("it does not begin with /");
    };
    if pattern.bytes().any(|octet| !octet.is_ascii_graphic() || octet == b'?' || octet == b'#') {
        return wrong("it is compared with a path as it is sent, which has no such characters");
    }
    let (last, before) = match segments.rsplit_once('/') {
        Some((before, last)) => (last, before),
        None => (segments, ""),
    };
    let plain = |segment: &str| {
        let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        !inner.unwrap_or(segment).contains(['{', '}', '*']) && inner != Some("")
    };
    if last != "**" && !plain(last) || !before.split('/').all(plain) {
        return wrong("write {name} for a whole segment, and ** as the last one");
    }
    Ok(pattern.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_told_from_what_is_none() {
        for pattern in ["/", "/a", "/a/{id}/b", "/**", "/a/**", "/a/{id}/**", "/%2e%2E/", "//a"] {
            assert_eq!(check(pattern), Ok(pattern.to_owned()));
        }
        for pattern in [
            "", "a", "*", "/*", "/a*", "/**/a", "/a**", "/{id", "/id}", "/x{id}", "/{}", "/a?b",
            "/a b", "/ä", "/a#b", "/{a}{b}",
        ] {
            assert!(check(pattern).is_err(), "{pattern:?}");
        }
    }
}
