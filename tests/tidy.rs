//! The house rules, as tests. Each walks the source tree and names every place that breaks its rule.
//!
//! Where a rule looks at whole texts, what it forbids is written here in two halves, joined when this
//! compiles, so that it holds for this file too.

#[path = "tidy/source.rs"]
mod source;

use std::path::Path;

use source::{Source, crate_sources, is_word, names, root, sources, texts};

/// A file may have this many lines before its tests; past that, there is a second idea in it.
const LINES_BEFORE_TESTS_MAX: usize = 500;

/// Modules everybody may name: vocabulary, and the seam between the HTTP layer and a store.
const GROUND: &[&str] = &[
    "backend",
    "clock",
    "error",
    "event",
    "expiry",
    "fingerprint",
    "key",
    "options",
    "outcome",
    "planted",
    "poison",
    "random",
    "seed",
    "stats",
    "stripe",
    "sync",
];

/// Which modules of the crate each module may name, besides itself and the ground floor. Arrows
/// point down only; `log`, `tree` and `index` do not know one another, and `http` knows no store.
const ARROWS: &[(&str, &[&str])] = &[
    ("format", NOTHING),
    ("storage", NOTHING),
    ("location", &["format"]),
    ("crypt", &["format", "storage"]),
    ("log", &["format", "storage", "location", "crypt"]),
    ("tree", &["format", "storage", "location"]),
    ("index", &["format", "storage", "location"]),
    ("engine", &["format", "storage", "location", "crypt", "log", "tree", "index"]),
    ("backend::conformance", NOTHING),
    ("backend::embedded", &["engine"]),
    ("backend::postgres", NOTHING),
    ("backend::redis", NOTHING),
    ("http", NOTHING),
    ("fuzzing", &["http", "format", "storage", "log", "engine", "index"]),
];

const NOTHING: &[&str] = &[];

/// Arrows that point up: the file, the module, and why.
const ARROWS_UP: &[(&str, &str, &str)] = &[
    ("src/outcome.rs", "engine", "the embedded store is what `Claim` is about unless one says so"),
    ("src/options.rs", "engine", "`Options::open` is where a `Store` comes from"),
    ("src/options.rs", "crypt", "what a store is encrypted under is an option"),
    ("src/options.rs", "storage", "which disk a store stands on is an option"),
];

/// A name that few may use.
struct Reserved {
    /// Paths or identifiers.
    names: &'static [&'static str],
    /// Files, and folders with their `/`, where they belong, relative to the repository.
    home: &'static [&'static str],
    /// Whether tests inside `src` are bound as well.
    binds_tests: bool,
}

const CLOCKS: Reserved = Reserved {
    names: &["SystemTime::now", "Instant::now", "clock_gettime", ".elapsed()"],
    // A wait ends at an `Instant`, and who waits has to make one: src/http/lookup.rs, and tests. No
    // record's life depends on it.
    home: &["src/clock.rs", "src/bin/", "src/http/lookup.rs"],
    binds_tests: false,
};

const FILES: Reserved = Reserved {
    names: &["fs"],
    // The kernel's boot id is a file of the clock's own, and what of a request waits in a file
    // without a name is no part of a store.
    home: &["src/storage/", "src/bin/", "src/clock.rs", "src/http/spool.rs"],
    binds_tests: true,
};

const MAPS: Reserved =
    Reserved { names: &["memmap2"], home: &["src/storage/map.rs"], binds_tests: true };

const REDB: Reserved = Reserved { names: &["redb"], home: &["src/tree/"], binds_tests: true };

const TOKIO: Reserved = Reserved {
    names: &["tokio"],
    home: &["src/http/", "src/bin/", "src/backend/postgres", "src/backend/redis"],
    binds_tests: true,
};

const UNSAFE: Reserved = Reserved {
    names: &["unsafe"],
    // The crate's one file, and those of the peers' harness that map a file or have LMDB map one.
    home: &["src/storage/map.rs", "peers/src/floor.rs", "peers/src/peers/lmdb.rs"],
    binds_tests: true,
};

fn assert_none(rule: &str, places: &[String]) {
    assert!(places.is_empty(), "{rule}\n  {}\n", places.join("\n  "));
}

fn assert_reserved(rule: &str, reserved: &Reserved, sources: &[Source]) {
    let mut broken = Vec::new();
    for source in sources {
        if source.is_under(reserved.home) {
            continue;
        }
        let bound = if reserved.binds_tests { usize::MAX } else { source.before_tests };
        for (number, line) in source.lines().take(bound) {
            for name in reserved.names.iter().filter(|name| names(line, name)) {
                broken.push(source.at(number, name));
            }
        }
    }
    assert_none(rule, &broken);
}

#[test]
fn a_file_holds_one_idea() {
    let broken: Vec<String> = crate_sources()
        .iter()
        .filter(|source| source.before_tests > LINES_BEFORE_TESTS_MAX)
        .map(|source| source.at(source.before_tests, "lines before its tests"))
        .collect();
    assert_none("a file has at most 500 lines before its tests; look for the second idea", &broken);
}

#[test]
fn a_file_begins_with_what_it_is() {
    let broken: Vec<String> = sources()
        .iter()
        .filter(|source| {
            let first = source.text.lines().find(|line| !line.starts_with("#!["));
            !first.is_some_and(|line| line.starts_with("//! "))
        })
        .map(|source| source.at(1, "no `//!` before anything else"))
        .collect();
    assert_none("every file begins with a sentence that says what it is", &broken);
}

#[test]
fn nothing_is_left_for_later() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut broken = Vec::new();
    for (path, text) in texts() {
        for (at, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| names(line, word)) {
                broken.push(format!("{path}:{}: {word}", at + 1));
            }
        }
    }
    let macros = ["todo!", "unimplemented!", "dbg!", "#[ignore"];
    for source in sources() {
        for (number, line) in source.lines() {
            for name in macros.iter().filter(|name| names(line, name)) {
                broken.push(source.at(number, name));
            }
        }
    }
    assert_none("what is in the repository is finished, and every test runs", &broken);
}

#[test]
fn a_test_asserts_what_it_matches() {
    let mut broken = Vec::new();
    for source in sources() {
        for (at, name) in source.code.match_indices("matches!(") {
            let before = source.code.get(..at).unwrap_or_default().trim_end().chars().next_back();
            let mut depth = 0_usize;
            let mut after = source.code.get(at + name.len() - 1..).unwrap_or_default().chars();
            for c in after.by_ref() {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            let ends = after.find(|c| !c.is_whitespace()) == Some(';');
            if matches!(before, Some(';' | '{' | '}')) && ends {
                broken.push(source.at(source.line_of(at), "its answer goes nowhere"));
            }
        }
    }
    assert_none("`matches!` as a statement of its own asserts nothing", &broken);
}

#[test]
fn only_the_clock_reads_a_clock() {
    assert_reserved("time comes through `Clock`, in src/clock.rs", &CLOCKS, &crate_sources());
}

#[test]
fn only_storage_touches_files() {
    assert_reserved("files are touched through `Storage` alone", &FILES, &crate_sources());
    assert_reserved("segments are mapped in src/storage/map.rs alone", &MAPS, &crate_sources());
}

#[test]
fn only_the_tree_names_redb() {
    assert_reserved("redb stays behind src/tree", &REDB, &crate_sources());
}

#[test]
fn the_engine_needs_no_runtime() {
    assert_reserved(
        "tokio belongs to the HTTP layer and what is above it",
        &TOKIO,
        &crate_sources(),
    );
}

#[test]
fn unsafe_stands_in_one_file_and_says_why() {
    let sources = sources();
    assert_reserved(
        "`unsafe` belongs in the crate's src/storage/map.rs alone, and where a peer maps",
        &UNSAFE,
        &sources,
    );
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.is_under(UNSAFE.home)) {
        for (number, _) in source.lines().filter(|(_, line)| names(line, "unsafe")) {
            let above: Vec<&str> = source.text.lines().take(number - 1).map(str::trim).collect();
            // From the statement's first line up, through the comment that stands on it.
            let reason = above
                .iter()
                .rev()
                .skip_while(|line| !line.starts_with("//") && !line.ends_with([';', '{', '}']))
                .take_while(|line| line.starts_with("//"))
                .any(|line| line.starts_with("// Safety: "));
            if !reason {
                broken.push(source.at(number, "no `// Safety: ` above it"));
            }
        }
    }
    assert_none("every `unsafe` says why it is sound", &broken);
}

/// The floor a path below the crate's root belongs to, and what that floor may name.
fn floor(path: &str) -> Option<(&'static str, &'static [&'static str])> {
    let holds = |module: &str| {
        path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let above = ARROWS.iter().filter(|(module, _)| holds(module)).copied();
    above
        .chain(GROUND.iter().filter(|module| holds(module)).map(|module| (*module, NOTHING)))
        .next()
}

#[test]
fn arrows_point_down() {
    let sources = crate_sources();
    // What the crate's root gives out again, and the module it comes from.
    let exports: Vec<(String, String)> = sources
        .iter()
        .filter(|source| source.path == "src/lib.rs")
        .flat_map(|root| root.paths_after("pub use "))
        .filter_map(|(_, path)| {
            path.rsplit_once("::").map(|(from, item)| (item.into(), from.into()))
        })
        .collect();
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| !source.is_under(&["src/bin/", "src/lib.rs"])) {
        let Some((own, below)) = floor(&source.module().join("::")) else {
            broken.push(source.at(1, "has no floor: give its module one in tests/tidy.rs"));
            continue;
        };
        for (line, path) in source.crate_paths() {
            let head = path.split("::").next().unwrap_or_default();
            let export = exports.iter().find(|(item, _)| item == head).map(|(_, from)| from);
            let path = export.unwrap_or(&path).as_str();
            let named = floor(path).map_or(path, |(named, _)| named);
            let up = ARROWS_UP.iter().any(|(file, to, _)| *file == source.path && *to == named);
            if !(named == own || below.contains(&named) || GROUND.contains(&named) || up) {
                broken.push(source.at(line, &format!("`{own}` names `{named}`")));
            }
        }
    }
    assert_none("a module names only what is on a floor below it (see ARROWS)", &broken);
}

#[test]
fn comments_wear_no_banners() {
    let mut broken = Vec::new();
    for source in sources() {
        for ((number, code), line) in source.lines().zip(source.text.lines()) {
            let comment = line.trim_start().trim_start_matches(['/', '!']).trim_start();
            let ruled = ["===", "---", "***", "###", "~~~", "___", "──", "══"];
            if code.trim().is_empty() && ruled.iter().any(|rule| comment.starts_with(rule)) {
                broken.push(source.at(number, line.trim()));
            }
        }
    }
    assert_none("a comment is a sentence, and a ruled line is none", &broken);
}

#[test]
fn nothing_names_a_machine_or_a_registry() {
    let folders =
        [concat!("/wo", "rk/"), concat!("/tm", "p/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let hosts = [
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("npmjs", "."),
        concat!("deb.", "debian"),
        concat!("proxy.", "golang"),
    ];
    let mut broken = Vec::new();
    for (path, text) in texts().iter().filter(|(path, _)| !path.ends_with("Cargo.lock")) {
        for (at, line) in text.lines().enumerate() {
            let folder = folders.iter().find(|folder| {
                // A folder of that name further down a path is nobody's machine.
                line.match_indices(**folder).any(|(at, _)| {
                    let before = line.get(..at).and_then(|before| before.chars().next_back());
                    !before.is_some_and(|c| is_word(c) || ".-})".contains(c))
                })
            });
            let host = hosts.iter().find(|host| line.contains(**host));
            for found in folder.into_iter().chain(host) {
                broken.push(format!("{path}:{}: {found}", at + 1));
            }
        }
    }
    assert_none("the repository is the same on every machine", &broken);
}

#[test]
fn the_readme_and_the_changelog_say_what_they_must() {
    let needed: &[(&str, &[&str])] = &[
        (
            "README.md",
            &[
                "# onceward",
                "make demo",
                "make test",
                "## The embedded engine",
                "## With axum",
                "## As a gateway",
                "## What it promises",
                "## What it does not promise",
                "## How fast",
                "## Features",
                "## Licence",
            ],
        ),
        ("CHANGELOG.md", &["# Changelog", "Keep a Changelog", "## [Unreleased]", "### Added"]),
        ("CONTRIBUTING.md", &["make test"]),
        ("SECURITY.md", &["# Security"]),
        ("LICENSE-MIT", &["MIT License"]),
        ("LICENSE-APACHE", &["Apache License"]),
    ];
    let texts = texts();
    let mut broken = Vec::new();
    for (path, parts) in needed {
        let text = texts.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str());
        for part in *parts {
            if !text.unwrap_or_default().contains(part) {
                broken.push(format!("{path}:1: there is no {part:?} in it"));
            }
        }
    }
    assert_none("a reader finds what a reader looks for", &broken);
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in texts() {
        if Path::new(&path).extension().is_none_or(|kind| kind != "md") {
            continue;
        }
        let mut fenced = false;
        for (at, line) in text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced {
                continue;
            }
            let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
            let defined = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
            for link in inline.chain(defined.map(|(_, target)| target.trim())) {
                let target = link.split('#').next().unwrap_or_default();
                let elsewhere = target.contains("://") || target.starts_with("mailto:");
                if target.is_empty() || elsewhere {
                    continue;
                }
                let folder = root().join(&path).parent().map(Path::to_owned).unwrap_or_default();
                if !folder.join(target).exists() {
                    broken.push(format!("{path}:{}: {target}", at + 1));
                }
            }
        }
    }
    assert_none("a relative link names a file of the repository", &broken);
}
