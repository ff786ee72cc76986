//! Keys: how they may be written, and where they have no effect.

use http::Method;
use onceward::http::{Condition, KeySyntax};
use serde_json::json;

use super::super::suite::{Checked, Suite, not_applicable, quoted, want};
use super::super::wire::Ask;
use super::checks;

checks! {
    ["C1" "D1"] "two keys are refused, be they lines or a list" repeated;
    ["C2" "D1"] "an empty key is refused" empty;
    ["C3" "G22"] "the longest key is taken, and one octet more is refused" length;
    ["C4" "D1" "D12"] "octets that no key has are refused" octets;
    ["C5" "D1" "X14"] "quoted or bare" quoted_or_bare;
    ["G21" "C5"] "case counts" case_counts;
    ["D1"] "parameters of a key are read and ignored" parameters;
    ["M4" "G9" "O11" "X14"] "the spellings the documents show" spellings;
    ["M14" "G7" "G8" "G20" "O10" "C7"] "a key on another method has no effect" other_methods;
    ["C6"] "nor has a malformed one" malformed_on_other_methods;
    ["C23"] "HEAD is a read" head;
    ["M15" "G18" "O17" "C47" "D7" "X6"] "a request without a key" without;
    ["M2" "G2" "O1" "X11"] "another header bears no key" other_header;
}

/// `value` in the key's header.
fn keyed(suite: &Suite, ask: Ask, value: impl AsRef<[u8]>) -> Ask {
    ask.with(suite.profile.header.as_str(), value)
}

async fn refused(suite: &Suite, values: &[&[u8]]) -> Checked {
    for value in values {
        let case = suite.case();
        let reply = case.send(&keyed(suite, case.ask(), value)).await?;
        let said = String::from_utf8_lossy(value).into_owned();
        want(reply.status == 400, || format!("key `{said}`: 400 is due, {} came", reply.status))?;
        suite.key_refused(&reply).await?;
        case.executed(0).await?;
    }
    Ok(())
}

async fn repeated(suite: &Suite) -> Checked {
    let header = suite.profile.header.as_str();
    let case = suite.case();
    let again = suite.written(case.key());
    for second in [again.clone(), suite.written("another")] {
        let reply = case.send(&case.ask().field(header, &second)).await?;
        suite.key_refused(&reply).await?;
    }
    case.executed(0).await?;
    let list = format!("{again}, {again}");
    refused(suite, &[list.as_bytes()]).await?;
    // Within a String, a comma is a character like another.
    let case = suite.case();
    let ask = keyed(suite, case.ask(), quoted(&format!("{},b", case.key())));
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    suite.replayed(&first, &case.send(&ask).await?)
}

async fn empty(suite: &Suite) -> Checked {
    refused(suite, &[b"", b"   ", b"\"\""]).await
}

async fn length(suite: &Suite) -> Checked {
    let longest = suite.profile.key_octets_max;
    let case = suite.case();
    let padded = |length: usize| format!("{:k<length$}", case.key());
    let ask = keyed(suite, case.ask(), suite.written(&padded(longest)));
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    suite.replayed(&first, &case.send(&ask).await?)?;
    // Counted without quotes and escapes.
    let last = longest - 1;
    let escaped = format!("\"{:e<last$}\\\"\"", case.key());
    let ask = keyed(suite, case.ask(), escaped);
    suite.fresh(&case.send(&ask).await?, 201)?;
    let long = padded(longest + 1);
    let written = quoted(&long);
    let mut values = vec![written.as_bytes()];
    if suite.profile.key_syntax == KeySyntax::Lenient {
        values.push(long.as_bytes());
    }
    refused(suite, &values).await
}

async fn octets(suite: &Suite) -> Checked {
    let values: [&[u8]; 8] = [
        b"k\xff",
        b"\"k\xc3\xa4\"",
        b"two words",
        b"\"tab\there\"",
        b"\"open",
        b"\"bad\\escape\"",
        b"\"k\"rest",
        b"a;b\\",
    ];
    refused(suite, &values).await?;
    // Only a String has room for spaces.
    let case = suite.case();
    let ask = keyed(suite, case.ask(), quoted(&format!("{} two words", case.key())));
    let first = case.send(&ask).await?;
    suite.fresh(&first, 201)?;
    suite.replayed(&first, &case.send(&ask).await?)
}

async fn quoted_or_bare(suite: &Suite) -> Checked {
    let case = suite.case();
    let first = case.send(&keyed(suite, case.ask(), quoted(case.key()))).await?;
    suite.fresh(&first, 201)?;
    let bare = case.send(&keyed(suite, case.ask(), case.key())).await?;
    match suite.profile.key_syntax {
        KeySyntax::Strict => suite.key_refused(&bare).await?,
        KeySyntax::Lenient => suite.replayed(&first, &bare)?,
    }
    case.executed(1).await
}

async fn case_counts(suite: &Suite) -> Checked {
    let case = suite.case();
    for end in ["a", "A"] {
        let ask = keyed(suite, case.ask(), suite.written(&format!("{}{end}", case.key())));
        suite.fresh(&case.send(&ask).await?, 201)?;
    }
    case.executed(2).await
}

async fn parameters(suite: &Suite) -> Checked {
    let case = suite.case();
    let first = case.send(&keyed(suite, case.ask(), quoted(case.key()))).await?;
    suite.fresh(&first, 201)?;
    let more = format!("{};a=1;b=\"x\"", quoted(case.key()));
    suite.replayed(&first, &case.send(&keyed(suite, case.ask(), more)).await?)?;
    case.executed(1).await
}

/// A bare UUID that begins with a digit is no structured field, and neither is most of what the
/// documents show.
async fn spellings(suite: &Suite) -> Checked {
    if suite.profile.key_syntax == KeySyntax::Strict {
        return not_applicable("keys are structured Strings");
    }
    let run = &suite.run;
    for key in [
        format!("550e8400-e29b-41d4-a716-{run:.12}"),
        format!("f47ac10b-58cc-4372-a567-{run:.12}"),
        format!("redeploy-{run}"),
        format!("redeploy-env_01abc-1741958400{run}"),
        format!("gh-actions-run-12345678{run}"),
        format!("k:{run}/_.~+=(1)@[2]"),
    ] {
        let case = suite.case();
        let ask = keyed(suite, case.ask(), &key);
        let first = case.send(&ask).await?;
        suite.fresh(&first, 201)?;
        suite.replayed(&first, &case.send(&ask).await?)?;
        case.executed(1).await?;
    }
    Ok(())
}

async fn without_effect(suite: &Suite, methods: &[Method], key: &str) -> Checked {
    for method in methods {
        let case = suite.case();
        let ask = keyed(suite, case.ask(), key).method(method.as_str());
        let ask = if *method == Method::HEAD { ask.body("") } else { ask };
        for _ in 0..2 {
            suite.fresh(&case.send(&ask).await?, 201)?;
        }
        case.executed(2).await?;
    }
    Ok(())
}

async fn other_methods(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let key = suite.written(suite.case().key());
    without_effect(suite, &suite.other_methods(), &key).await
}

async fn malformed_on_other_methods(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    without_effect(suite, &suite.other_methods(), "not, a \"key").await
}

async fn head(suite: &Suite) -> Checked {
    suite.needs_contract()?;
    let key = suite.written(suite.case().key());
    without_effect(suite, &[Method::HEAD], &key).await
}

async fn without(suite: &Suite) -> Checked {
    let case = suite.case();
    let ask = case.ask().without(suite.profile.header.as_str());
    if suite.profile.key_required {
        let reply = case.send(&ask).await?;
        suite.refused(&reply, &Condition::MissingKey).await?;
        return case.executed(0).await;
    }
    for _ in 0..2 {
        suite.fresh(&case.send(&ask).await?, 201)?;
    }
    case.executed(2).await
}

async fn other_header(suite: &Suite) -> Checked {
    let profile = &suite.profile;
    let known = |name: &str| {
        profile.header == name || profile.header_aliases.iter().any(|alias| alias == name)
    };
    let names = ["idempotency-key", "x-idempotency-key", "request-idempotency"];
    for name in names.into_iter().filter(|name| !known(name)) {
        let case = suite.case();
        let key = suite.written(case.key());
        let mut ask = case.ask().without(profile.header.as_str()).field(name, &key);
        if suite.contract {
            ask = ask.plan(&json!({}));
        }
        if profile.key_required {
            suite.refused(&case.send(&ask).await?, &Condition::MissingKey).await?;
            case.executed(0).await?;
            continue;
        }
        for _ in 0..2 {
            suite.fresh(&case.send(&ask).await?, 201)?;
        }
        case.executed(2).await?;
    }
    Ok(())
}
