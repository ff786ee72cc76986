//! Whose key is meant: a scope's own digits, or the caller's name, of which the scope is made (C8).

use http::{Method, Uri};
use onceward::SCOPE_OCTETS_MAX;
use onceward::http::{Profile, Scope};

use super::query::Query;
use super::refusal::Refusal;
use crate::config::Choice;
use crate::octets;
use crate::principal::Principal;

/// How the gateway makes scopes.
#[derive(Clone, Debug)]
pub(crate) struct Scopes {
    pub(crate) principal: Principal,
    /// What holds for which request.
    pub(crate) choice: Choice,
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
    match (of_query(query, scopes)?, scopes) {
        (Some(scope), _) => Ok(scope),
        (None, Some(scopes)) if scopes.principal == Principal::SingleTenant => {
            scopes.of("", None, None)
        }
        (None, _) => Err(Refusal::bad_request(
            "whose key? give the scope's hexadecimal digits, or `principal`",
        )),
    }
}

/// The scope a query names, or the only one there is; `None` when it names none.
pub(super) fn of_query(
    query: &mut Query,
    scopes: Option<&Scopes>,
) -> Result<Option<Vec<u8>>, Refusal> {
    let digits = query.take("scope")?;
    let principal = query.take("principal")?;
    let (method, path) = (query.take("method")?, query.take("path")?);
    let routed = method.is_some() || path.is_some();
    match (digits, principal) {
        (Some(_), Some(_)) => {
            Err(Refusal::bad_request("`scope` and `principal` say the same thing: give one"))
        }
        (Some(_), None) if routed => {
            Err(Refusal::bad_request("`scope` says it all: `method` and `path` go with a caller"))
        }
        (Some(digits), None) => from_digits(&digits).map(Some),
        (None, Some(name)) => {
            let scopes = scopes.ok_or_else(|| {
                Refusal::bad_request("only a running gateway knows its callers: give the scope")
            })?;
            scopes.of(&name, method.as_deref(), path.as_deref()).map(Some)
        }
        (None, None) => match scopes {
            Some(scopes) if scopes.principal == Principal::SingleTenant => {
                // Everyone is one, but keys that belong to their path have a scope for each.
                let named = routed || !scopes.by_route();
                named.then(|| scopes.of("", method.as_deref(), path.as_deref())).transpose()
            }
            _ if routed => {
                Err(Refusal::bad_request("`method` and `path` go with `principal`: whose key?"))
            }
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
    /// Whether some keys belong to a path.
    fn by_route(&self) -> bool {
        let rules = self.choice.rules.iter().filter(|rule| rule.protect).map(|rule| &rule.profile);
        rules
            .chain([self.choice.profile()])
            .any(|profile| profile.scope == Scope::PrincipalAndRoute)
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
            // Which of two keys of one name is meant would be a guess.
            None if self.by_route() => {
                return Err(Refusal::bad_request(
                    "on this gateway a key may belong to a path, too: give `path` (and `method`)",
                ));
            }
            None => Uri::default(),
        };
        let profile: &Profile = match path {
            Some(_) => self.choice.profile_for(&method, target.path()),
            None => self.choice.profile(),
        };
        let principal = self.principal.named(name);
        Ok(profile.scope_of(Some(&principal), &method, &target).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Made, OnGatewayStatus, Refresh, Rule};

    fn scopes(principal: &str, profile: Profile) -> Scopes {
        let (main, refresh) = (Made::shipped(profile), Refresh::Off);
        let on_gateway_status = OnGatewayStatus::InDoubt;
        let choice = Choice { main, refresh, on_gateway_status, rules: Vec::new() };
        Scopes { principal: Principal::parse(principal).unwrap(), choice }
    }

    fn rule(path: &str, profile: Profile) -> Rule {
        let (methods, refresh, place) = (Vec::new(), Refresh::Off, String::new());
        Rule { path: path.to_owned(), methods, protect: true, profile, refresh, place }
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

    #[test]
    fn x7_a_callers_scope_is_made_as_the_rule_of_the_path_makes_it() {
        let mut scopes = scopes("header:x-account", Profile::standard());
        scopes.choice.rules = vec![rule("/free", Profile::standard()), rule("/**", Profile::oec())];
        let scope = |scopes: &Scopes, query| of(Some(scopes), query).unwrap().unwrap();
        let of_main = Profile::standard().scope_of(Some(b"a"), &Method::POST, &Uri::default());
        let of_route =
            Profile::oec().scope_of(Some(b"a"), &Method::PUT, &Uri::from_static("/other"));
        assert_eq!(scope(&scopes, "principal=a&path=/free"), of_main);
        assert_eq!(scope(&scopes, "principal=a&path=/other&method=PUT"), of_route);
        assert!(of(Some(&scopes), "principal=a").is_err(), "which of two keys is meant?");
        // Everyone is one, and there is more than one scope all the same.
        scopes.principal = Principal::SingleTenant;
        assert_eq!(of(Some(&scopes), "").unwrap(), None);
        assert!(of(Some(&scopes), "path=/other").unwrap().is_some());
        // A rule under which nothing is protected has no keys.
        scopes.choice.rules.iter_mut().for_each(|rule| rule.protect = false);
        assert!(of(Some(&scopes), "").unwrap().is_some());
    }

    #[test]
    fn a_path_without_a_caller_is_no_filter_that_goes_unheeded() {
        let by_header = scopes("header:x-account", Profile::oec());
        for query in ["path=/a", "method=POST", "scope=00&path=/a"] {
            assert!(of(Some(&by_header), query).is_err(), "{query}");
        }
    }
}
