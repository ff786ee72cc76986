//! Every number of `docs/requirements.md` is cited by a test, and every number cited is one of them.
//!
//! A test cites a number in its name (`c13_…`, `m5_m7_…`, `c16_to_c19_…`), in its doc comment, or
//! anywhere in its body: `C13`, or `C16 to C19`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the house rules use the rest of it")]
#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::{Source, sources, texts};

/// The sections and how many numbers each has.
const SECTIONS: [(char, u32); 6] =
    [('M', 18), ('G', 22), ('O', 17), ('D', 13), ('X', 16), ('C', 48)];

type Number = (char, u32);

fn written((letter, number): Number) -> String {
    format!("{letter}{number}")
}

/// The number a word is: `C13`, and neither `C` nor `C013`.
fn number(word: &str) -> Option<Number> {
    let letter = word.chars().next()?;
    let digits = &word[letter.len_utf8()..];
    let known = SECTIONS.iter().any(|(section, _)| *section == letter);
    let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    (known && plain && !digits.starts_with('0')).then(|| (letter, digits.parse().unwrap()))
}

/// The numbers a text names, ranges included.
fn cited_in(text: &str) -> BTreeSet<Number> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut cited = BTreeSet::new();
    let mut last: Option<(Number, usize)> = None;
    let mut at = 0;
    for word in text.split(|c| !is_word(c)) {
        let start = at;
        at += word.len() + text[start + word.len()..].chars().next().map_or(0, char::len_utf8);
        let Some(found) = number(word) else { continue };
        if let Some((from, end)) = last
            && from.0 == found.0
            && matches!(text[end..start].trim(), "to" | "-" | "–" | "..=")
        {
            cited.extend((from.1..found.1).map(|between| (found.0, between)));
        }
        cited.insert(found);
        last = Some((found, start + word.len()));
    }
    cited
}

/// The numbers a test's name begins with.
fn cited_by_name(name: &str) -> BTreeSet<Number> {
    let leading = name.split('_').take_while(|part| {
        *part == "to"
            || part.starts_with(char::is_lowercase) && number(&part.to_uppercase()).is_some()
    });
    let parts: Vec<String> =
        leading.map(|part| if part == "to" { part.into() } else { part.to_uppercase() }).collect();
    cited_in(&parts.join(" "))
}

/// The tests of a file: the name of each, and its text with what stands above it.
fn tests(source: &Source) -> Vec<(String, String)> {
    let text: Vec<&str> = source.text.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    let mut tests = Vec::new();
    for (at, line) in code.iter().enumerate() {
        let attribute = line.trim();
        if attribute != "#[test]" && !attribute.starts_with("#[tokio::test") {
            continue;
        }
        let above = text[..at].iter().rev().take_while(|line| {
            let line = line.trim();
            line.starts_with("//") || line.starts_with("#[")
        });
        let from = at - above.count();
        let head = (at + 1..code.len()).find(|line| code[*line].contains("fn ")).unwrap();
        let name = code[head].split("fn ").nth(1).unwrap();
        let name = name.split(['(', '<']).next().unwrap();
        let (mut opened, mut closed, mut to) = (0, 0, head);
        for (line, code) in code.iter().enumerate().skip(head) {
            to = line;
            opened += code.matches('{').count();
            closed += code.matches('}').count();
            if opened > 0 && closed >= opened {
                break;
            }
        }
        tests.push((name.to_owned(), text[from..=to].join("\n")));
    }
    tests
}

/// The numbers of `docs/requirements.md`, each with what it says.
fn defined() -> BTreeMap<Number, String> {
    let texts = texts();
    let (_, page) = texts.iter().find(|(path, _)| path == "docs/requirements.md").unwrap();
    let mut defined = BTreeMap::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("- **")) {
        let (name, rule) = line.split_once("**: ").unwrap();
        let number = number(name).unwrap_or_else(|| panic!("{name} is no number"));
        let before = defined.insert(number, rule.to_owned());
        assert_eq!(before, None, "{name} is defined twice");
    }
    defined
}

#[test]
fn the_page_defines_every_number_once() {
    let defined: Vec<Number> = defined().into_keys().collect();
    let mut expected: Vec<Number> =
        SECTIONS.iter().flat_map(|(letter, count)| (1..=*count).map(|n| (*letter, n))).collect();
    expected.sort_unstable();
    assert_eq!(defined, expected);
}

#[test]
fn every_number_is_shown_by_a_test() {
    let mut cited = BTreeSet::new();
    // This file's numbers are examples of how they are written.
    let sources: Vec<Source> =
        sources().into_iter().filter(|source| source.path != "tests/requirements.rs").collect();
    let tests = sources.iter().flat_map(tests);
    let mut count = 0;
    for (name, text) in tests {
        cited.extend(cited_by_name(&name));
        cited.extend(cited_in(&text));
        count += 1;
    }
    assert!(count > 100, "the walk went astray: there are {count} tests");
    let missing: Vec<String> = defined()
        .into_iter()
        .filter(|(number, _)| !cited.contains(number))
        .map(|(number, rule)| format!("{}: {rule}", written(number)))
        .collect();
    assert!(
        missing.is_empty(),
        "{} numbers are cited by no test:\n  {}",
        missing.len(),
        missing.join("\n  ")
    );
}

#[test]
fn every_number_cited_exists() {
    let defined = defined();
    let mut unknown = Vec::new();
    for (path, text) in texts() {
        let kind = Path::new(&path).extension().and_then(|kind| kind.to_str());
        // The examples here are of numbers that are none, too.
        if !matches!(kind, Some("rs" | "md")) || path == "tests/requirements.rs" {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            for number in cited_in(line).into_iter().filter(|n| !defined.contains_key(n)) {
                unknown.push(format!("{path}:{}: {}", at + 1, written(number)));
            }
        }
    }
    for source in sources() {
        for (name, _) in tests(&source) {
            for number in cited_by_name(&name).into_iter().filter(|n| !defined.contains_key(n)) {
                unknown.push(format!("{}: {name}: {}", source.path, written(number)));
            }
        }
    }
    assert!(unknown.is_empty(), "docs/requirements.md defines no\n  {}", unknown.join("\n  "));
}

#[test]
fn citations_are_read_as_people_write_them() {
    let of = |text: &str| -> Vec<String> { cited_in(text).into_iter().map(written).collect() };
    assert_eq!(of("C13, (D5); X7."), ["C13", "D5", "X7"]);
    assert_eq!(
        of("C16 to C19 and M1–M3, O1-O2"),
        ["C16", "C17", "C18", "C19", "M1", "M2", "M3", "O1", "O2"]
    );
    assert!(of("AC13 C13x C C013 C130 c13 R2 _C1").is_empty());
    let by = |name: &str| -> Vec<String> { cited_by_name(name).into_iter().map(written).collect() };
    assert_eq!(by("m5_c16_to_c18_x9_a_key_of_c1"), ["C16", "C17", "C18", "M5", "X9"]);
    assert!(by("to_c1x_c2").is_empty() && by("a_key_c2").is_empty());
}

#[test]
fn a_test_is_its_name_its_comment_and_its_body() {
    let text = "fn helper() {\n    // C1\n}\n\n/// C2: why.\n#[test]\nfn c3_works() {\n    \
                if a { b(\"}\") }\n    assert!(x, \"C4\");\n}\n\nconst C: &str = \"C5\";\n";
    let code = text.replace("\"}\"", "   ").replace("\"C4\"", "    ");
    let source = Source {
        path: "tests/x.rs".into(),
        text: text.into(),
        code,
        before_tests: text.lines().count(),
    };
    let tests = tests(&source);
    assert_eq!(tests.len(), 1);
    let (name, text) = &tests[0];
    assert_eq!(name, "c3_works");
    assert_eq!(cited_in(text), BTreeSet::from([('C', 2), ('C', 4)]));
    assert_eq!(cited_by_name(name), BTreeSet::from([('C', 3)]));
}
