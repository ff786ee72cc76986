//! Whose key is meant: a scope's own digits, or the caller's name, of which the scope is made (C8).

use http::{Method, Uri};
use onceward::SCOPE_OCTETS_MAX;
use onceward::http::{Profile, Scope};

use super::query::Query;
use super::refusal::Refusal;
use crate::octets;
use crate::principal::Principal;

/// How the gateway makes scopes.
#[derive(Clone, Debug)]
pub(crate) struct Scopes {
    pub(crate) principal: Principal,
    pub(crate) profile: Profile,
}

/// The scope that a path's part names, where `-` leaves it to the query.
pub(super) fn of_path(
    part: &str,
    query: &mut Query,
    scopes: Option<&Scopes>,
) -> Result<Vec<u8>, Refusal> {
    if part != "-" {
        return from_digits(part);
    }
    of_query(query, scopes)?.ok_or_else(|| {
        Refusal::bad_request("whose key? give the scope's hexadecimal digits, or `principal`")
    })
}

/// The scope a query names, or the only one there is; `None` when it names none.
pub(super) fn of_query(
    query: &mut Query,
    scopes: Option<&Scopes>,
) -> Result<Option<Vec<u8>>, Refusal> {
    let digits = query.take("scope")?;
    let principal = query.take("principal")?;
    let (method, path) = (query.take("method")?, query.take("path")?);
    match (digits, principal) {
        (Some(_), Some(_)) => {
            Err(Refusal::bad_request("`scope` and `principal` say the same thing: give one"))
        }
        (Some(digits), None) => from_digits(&digits).map(Some),
        (None, Some(name)) => {
            let scopes = scopes.ok_or_else(|| {
                Refusal::bad_request("only a running gateway knows its callers: give the scope")
            })?;
            scopes.of(&name, method.as_deref(), path.as_deref()).map(Some)
        }
        (None, None) => match scopes {
            Some(scopes) if scopes.is_one() => scopes.of("", None, None).map(Some),
            _ => Ok(None),
        },
    }
}

fn from_digits(digits: &str) -> Result<Vec<u8>, Refusal> {
    octets::from_hex(digits).filter(|scope| scope.len() <= SCOPE_OCTETS_MAX).ok_or_else(|| {
        Refusal::bad_request(format!(
            "a scope is an even number of hexadecimal digits, {} at most",
            2 * SCOPE_OCTETS_MAX
        ))
    })
}

impl Scopes {
    /// Whether there is one scope for everything.
    fn is_one(&self) -> bool {
        self.principal == Principal::SingleTenant && self.profile.scope == Scope::Principal
    }

    fn of(&self, name: &str, method: Option<&str>, path: Option<&str>) -> Result<Vec<u8>, Refusal> {
        let method = Method::from_bytes(method.unwrap_or("POST").as_bytes())
            .map_err(|_| Refusal::bad_request("`method` is not one"))?;
        let target = match path {
            Some(path) => {
                path.parse::<Uri>().ok().filter(|_| path.starts_with('/')).ok_or_else(|| {
                    Refusal::bad_request("`path` is not a path that begins with /")
                })?
            }
            None if self.profile.scope == Scope::PrincipalAndRoute => {
                return Err(Refusal::bad_request(
                    "under this profile a key belongs to a path, too: give `path` (and `method`)",
                ));
            }
            None => Uri::default(),
        };
        let principal = self.principal.named(name);
        Ok(self.profile.scope_of(Some(&principal), &method, &target).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(principal: &str, profile: Profile) -> Scopes {
        Scopes { principal: Principal::parse(principal).unwrap(), profile }
    }

    fn of(scopes: Option<&Scopes>, query: &str) -> Result<Option<Vec<u8>>, Refusal> {
        of_query(&mut Query::parse(Some(query)).unwrap(), scopes)
    }

    #[test]
    fn c8_a_caller_is_named_or_a_scope_is_given() {
        let by_header = scopes("header:x-account", Profile::standard());
        assert_eq!(of(Some(&by_header), "").unwrap(), None);
        let one = of(Some(&by_header), "principal=acct_1").unwrap().unwrap();
        assert_ne!(Some(&one), of(Some(&by_header), "principal=acct_2").unwrap().as_ref());
        assert_eq!(of(Some(&by_header), "scope=00fF").unwrap().unwrap(), [0, 255]);
        assert_eq!(of(None, "scope=").unwrap().unwrap(), b"");
        for query in ["scope=0", "scope=zz", "scope=00&principal=a"] {
            assert!(of(Some(&by_header), query).is_err(), "{query}");
        }
        assert!(of(None, "principal=acct_1").is_err());
        assert!(of(None, &format!("scope={}", "00".repeat(256))).is_err());
        let single = scopes("single-tenant", Profile::standard());
        assert_eq!(of(Some(&single), "").unwrap(), of(Some(&single), "principal=x").unwrap());
        assert!(of(Some(&single), "").unwrap().is_some());
    }

    #[test]
    fn x7_under_oec_a_scope_is_of_a_path_too() {
        let oec = scopes("header:x-account", Profile::oec());
        assert!(of(Some(&oec), "principal=a").is_err());
        let scope = |query| of(Some(&oec), query).unwrap().unwrap();
        let projects = scope("principal=a&path=/api/public/v1/projects");
        assert_eq!(projects, scope("principal=a&path=/api/public/v1/projects?x=1&method=POST"));
        assert_ne!(projects, scope("principal=a&path=/api/public/v1/webhooks"));
        assert!(of(Some(&oec), "principal=a&path=projects").is_err());
        assert!(of(Some(&oec), "principal=a&path=/&method=P%20T").is_err());
    }
}
