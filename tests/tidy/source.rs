//! The source tree as the house rules see it: its files, the code in them without comments and
//! quotes, and the paths that code names.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A Rust file.
pub(super) struct Source {
    /// Relative to the repository, separated by `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// `text`, line for line, with blanks for comments and for what stands in quotes.
    pub(super) code: String,
    /// How many lines come before its tests.
    pub(super) before_tests: usize,
}

impl Source {
    pub(super) fn is_under(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// The lines of code, numbered from one.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    pub(super) fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// The line of a place in `code`.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.code.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    /// The module this file is: `["log", "segment"]`.
    pub(super) fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').collect()
    }

    /// The paths, each with its line, that follow `prefix`; a use tree is all of its paths.
    pub(super) fn paths_after(&self, prefix: &str) -> Vec<(usize, String)> {
        let mut paths = Vec::new();
        for (at, _) in self.code.match_indices(prefix) {
            let (before, after) = self.code.split_at(at);
            if before.ends_with(|c| is_word(c) || c == ':') {
                continue;
            }
            let tree = tree_at(after.strip_prefix(prefix).unwrap_or(after));
            let line = self.line_of(at);
            paths.extend(paths_of(tree).into_iter().map(|path| (line, path)));
        }
        paths
    }

    /// Paths below the crate's root, each with its line: `crate::…`, and `super::…` as far as it
    /// leaves the file's own folder. (Within a test module one `super` more is the file itself.)
    pub(super) fn crate_paths(&self) -> Vec<(usize, String)> {
        let up = "super::".repeat(self.module().len());
        let above =
            self.paths_after(&up).into_iter().filter(|(line, _)| *line <= self.before_tests);
        self.paths_after("crate::").into_iter().chain(above).collect()
    }
}

pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository, with its text, sorted by path.
pub(super) fn texts() -> Vec<(String, String)> {
    let found = walk().unwrap_or_else(|error| panic!("{}: {error}", root().display()));
    assert!(
        found.iter().any(|(path, _)| path == "src/lib.rs"),
        "the walk went astray: there is no src/lib.rs in {}",
        root().display()
    );
    found
}

fn walk() -> io::Result<Vec<(String, String)>> {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let mut skipped: BTreeSet<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    skipped.insert(".git");
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let kind = entry.file_type()?;
            if skipped.contains(path.as_str()) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(fs::read(entry.path())?)
            {
                found.push((path, text));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Every Rust file of the repository.
pub(super) fn sources() -> Vec<Source> {
    let mut sources: Vec<Source> = texts()
        .into_iter()
        .filter(|(path, _)| Path::new(path).extension().is_some_and(|kind| kind == "rs"))
        .map(|(path, text)| {
            let code = code_of(&text);
            let before_tests = text.lines().count();
            Source { path, text, code, before_tests }
        })
        .collect();
    let mut test_files = BTreeSet::new();
    for source in &mut sources {
        let lines: Vec<&str> = source.code.lines().map(str::trim).collect();
        for (at, pair) in lines.windows(2).enumerate() {
            let [attribute, item] = pair else { continue };
            if !attribute.starts_with("#[cfg(test") && !attribute.starts_with("#[cfg(all(test") {
                continue;
            }
            if let Some(name) = item.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
                let folder = match source.path.rsplit_once('/') {
                    Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder,
                    _ => source.path.trim_end_matches(".rs"),
                };
                test_files.insert(format!("{folder}/{name}"));
            } else if item.starts_with("mod ") {
                source.before_tests = source.before_tests.min(at);
            }
        }
    }
    for source in &mut sources {
        let module = source.path.trim_end_matches(".rs");
        if test_files.iter().any(|file| {
            module.strip_prefix(file).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }) {
            source.before_tests = 0;
        }
    }
    sources
}

/// The Rust files of the crate itself.
pub(super) fn crate_sources() -> Vec<Source> {
    sources().into_iter().filter(|source| source.path.starts_with("src/")).collect()
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `text` with a blank for each character in a comment, a string or a character literal.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (kept, length) = if word > 0 {
            let (name, after) = rest.split_at(word);
            match raw_string(name, after) {
                Some(literal) => (word, word + literal),
                None => (word, word),
            }
        } else if rest.starts_with("//") {
            (0, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (0, block_comment(rest))
        } else if first == '"' {
            (0, quoted(rest, '"'))
        } else if first == '\'' && is_character(rest) {
            (0, quoted(rest, '\''))
        } else {
            (first.len_utf8(), first.len_utf8())
        };
        let (token, after) = rest.split_at(length);
        let (shown, hidden) = token.split_at(kept);
        code.push_str(shown);
        code.extend(hidden.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    code
}

/// The length of the raw string after its prefix, if it is one.
fn raw_string(prefix: &str, after: &str) -> Option<usize> {
    if !["r", "br", "cr"].contains(&prefix) {
        return None;
    }
    let hashes = after.find(|c| c != '#')?;
    let body = after.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + body.find(&end).map_or(body.len(), |at| at + end.len()))
}

/// The length of the block comment, with those inside it, that `rest` begins with.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        let (step, now) = if here.starts_with("/*") {
            (2, depth + 1)
        } else if here.starts_with("*/") {
            (2, depth - 1)
        } else {
            (here.chars().next().map_or(1, char::len_utf8), depth)
        };
        (depth, at) = (now, at + step);
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the literal that `rest` begins with, up to and with its closing `quote`.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = true;
    for (at, c) in rest.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    rest.len()
}

/// Whether the `'` that `rest` begins with opens a character, and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut after = rest.chars().skip(1);
    after.next() == Some('\\') || after.next() == Some('\'')
}

/// Whether `line` has `name` in it, and not as a part of a longer word.
pub(super) fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        let after = line.get(at + name.len()..).and_then(|after| after.chars().next());
        let longer = name.starts_with(is_word) && before.is_some_and(is_word)
            || name.ends_with(is_word) && after.is_some_and(is_word);
        !longer
    })
}

/// The paths a use tree stands for: `a::{b, c::{d, e}}` is `a::b`, `a::c::d`, `a::c::e`.
fn paths_of(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.find(|c| !is_word(c) && c != ':').map_or(Some(tree), |end| tree.get(..end));
        return path.map(str::to_owned).into_iter().collect();
    };
    let (mut depth, mut from, mut paths) = (1_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && c == ',' {
            let item = group.get(from..at).unwrap_or_default();
            paths.extend(paths_of(item).into_iter().map(|path| format!("{}{path}", head.trim())));
            from = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    paths
}

/// The path, or the use tree, that `rest` begins with.
fn tree_at(rest: &str) -> &str {
    let path = rest.find(|c| !is_word(c) && c != ':').unwrap_or(rest.len());
    let tree = rest.get(path..).filter(|after| after.starts_with('{')).map_or(path, |group| {
        let mut depth = 0_usize;
        let end = group.find(|c| {
            depth = match c {
                '{' => depth + 1,
                '}' => depth - 1,
                _ => depth,
            };
            depth == 0
        });
        path + end.map_or(group.len(), |end| end + 1)
    });
    rest.get(..tree).unwrap_or(rest)
}

#[test]
fn comments_and_quotes_are_not_code() {
    let text = concat!(
        "let a = \"unsafe \\\" unsafe\"; // unsafe\n",
        "/* unsafe /* unsafe */ unsafe\n unsafe */ let b = r#\"unsafe \" unsafe\"#;\n",
        "let c: &'static str = x('\"', '\\'', b'u'); let d = r#type;\n",
    );
    let code = code_of(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(!code.contains("unsafe"), "{code}");
    for kept in ["let a =", "let b = r", "let c: &'static str = x(", "let d = r#type;"] {
        assert!(code.contains(kept), "{kept:?} is gone from:\n{code}");
    }
    assert_eq!(paths_of("a::{b, c::{d, e as f}, self}"), ["a::b", "a::c::d", "a::c::e", "a::self"]);
    assert_eq!(tree_at("a::{b, c::{d}}; use g"), "a::{b, c::{d}}");
}
