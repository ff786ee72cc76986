//! The tour as a table for people, written line by line as it goes, and the count of what held.

use std::io::{self, Write};

/// Columns of text, without the last line break.
const WIDTH: usize = 99;
/// Columns of what is asked.
pub(crate) const REQUEST_WIDTH: usize = 40;
/// Columns of a key.
const KEY_WIDTH: usize = 14;

/// A line of the table.
pub(crate) struct Row<'a> {
    pub(crate) request: &'a str,
    pub(crate) key: &'a str,
    /// The status; `None` when there is no answer.
    pub(crate) status: Option<u16>,
    /// Whether the answer is a replay; `None` when it is neither that nor new.
    pub(crate) replayed: Option<bool>,
    /// Executions since the chapter began.
    pub(crate) executions: u64,
    /// A further line for the reader; empty for none.
    pub(crate) remark: &'a str,
    /// What was not as promised.
    pub(crate) broken: &'a [String],
}

/// Writes the table and counts its steps.
pub(crate) struct Table<W> {
    out: W,
    colours: bool,
    steps: usize,
    kept: usize,
}

#[derive(Clone, Copy)]
enum Style {
    Bold,
    Dim,
    Red,
    Green,
}

impl<W: Write> Table<W> {
    /// An empty table.
    pub(crate) fn new(out: W, colours: bool) -> Self {
        Self { out, colours, steps: 0, kept: 0 }
    }

    /// Whether every step so far was as promised.
    pub(crate) fn all_kept(&self) -> bool {
        self.kept == self.steps
    }

    /// Begins a part of the tour: its title, what there is to know about it, and the columns.
    pub(crate) fn section(&mut self, title: &str, facts: &str) -> io::Result<()> {
        let title = self.styled(Style::Bold, title);
        writeln!(self.out, "\n{title}  {facts}\n")?;
        let upper = columns(["", "", "", "", "executions", "as"]);
        let lower = columns(["request", "key", "status", "replayed?", "so far", "promised?"]);
        for line in [upper, lower] {
            let line = self.styled(Style::Dim, &line);
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    /// Begins a chapter: a sentence, and the numbers of what it is about.
    pub(crate) fn chapter(&mut self, sentence: &str, numbers: &str) -> io::Result<()> {
        let room = WIDTH - 4 - numbers.chars().count();
        let mut lines = vec![String::new()];
        for word in sentence.split(' ') {
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(word),
                Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        let last = lines.pop().unwrap_or_default();
        writeln!(self.out)?;
        for line in lines {
            writeln!(self.out, "  {line}")?;
        }
        let numbers = self.styled(Style::Dim, numbers);
        writeln!(self.out, "  {last:room$}  {numbers}")
    }

    /// Says what happens beside the requests.
    pub(crate) fn aside(&mut self, text: &str) -> io::Result<()> {
        let text = self.styled(Style::Dim, text);
        writeln!(self.out, "    {text}")
    }

    /// Adds a step.
    pub(crate) fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.steps += 1;
        let kept = row.broken.is_empty();
        self.kept += usize::from(kept);
        let (style, verdict) = if kept { (Style::Green, "✓") } else { (Style::Red, "✗") };
        let verdict = self.styled(style, verdict);
        let status = row.status.map_or_else(|| "–".to_owned(), |status| status.to_string());
        let replayed = row.replayed.map_or("–", |replayed| if replayed { "yes" } else { "no" });
        let key = shortened(row.key);
        let executions = row.executions.to_string();
        // The verdict's colour has no width: it is put in once the columns stand.
        let line = columns([row.request, &key, &status, replayed, &executions, "?"]);
        let line = line.strip_suffix('?').unwrap_or(&line);
        writeln!(self.out, "{line}{verdict}")?;
        if !row.remark.is_empty() {
            self.aside(&format!("  {}", row.remark))?;
        }
        for broken in row.broken {
            let broken = self.styled(Style::Red, &format!("not as promised: {broken}"));
            writeln!(self.out, "      {broken}")?;
        }
        // Somebody watches.
        self.out.flush()
    }

    /// Ends the table with the count.
    pub(crate) fn summary(&mut self) -> io::Result<()> {
        let text = format!("{} of {} steps as promised", self.kept, self.steps);
        let style = if self.all_kept() { Style::Green } else { Style::Red };
        let text = self.styled(style, &text);
        writeln!(self.out, "\n{text}")?;
        self.out.flush()
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A line with these in their columns.
fn columns(texts: [&str; 6]) -> String {
    let [request, key, status, replayed, executions, verdict] = texts;
    let line = format!(
        "    {request:REQUEST_WIDTH$} {key:KEY_WIDTH$} {status:^6}  {replayed:^9}  {executions:^10} \
         {verdict:^9}"
    );
    line.trim_end().to_owned()
}

/// A key in the width of its column: of a long one, both ends.
fn shortened(key: &str) -> String {
    let count = key.chars().count();
    if count <= KEY_WIDTH {
        return key.to_owned();
    }
    let head: String = key.chars().take(KEY_WIDTH - 4).collect();
    let tail: String = key.chars().skip(count - 3).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row<'_> = Row {
        request: "POST /sites",
        key: "6f1c2e9a-4b7d-4f0a-9c11-2a8e5d3b1f04",
        status: Some(202),
        replayed: Some(true),
        executions: 1,
        remark: "",
        broken: &[],
    };

    fn text(table: Table<Vec<u8>>) -> String {
        String::from_utf8(table.out).unwrap()
    }

    #[test]
    fn one_broken_promise_is_enough() {
        let mut table = Table::new(Vec::new(), false);
        table.row(&ROW).unwrap();
        assert!(table.all_kept());
        table.row(&Row { broken: &["the status should be 409".to_owned()], ..ROW }).unwrap();
        table.row(&ROW).unwrap();
        assert!(!table.all_kept());
        table.summary().unwrap();
        let text = text(table);
        assert!(text.contains("not as promised: the status should be 409"), "{text}");
        assert!(text.ends_with("\n2 of 3 steps as promised\n"), "{text}");
    }

    #[test]
    fn lines_fit_and_stand_below_their_heads() {
        let mut table = Table::new(Vec::new(), false);
        table.section("managed.dev", "what there is to know").unwrap();
        table.chapter(&"a sentence that goes on ".repeat(8), "M1, M16").unwrap();
        table.row(&ROW).unwrap();
        let text = text(table);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        let place = |of: &str| {
            let line = text.lines().find(|line| line.contains(of)).unwrap();
            line.chars().count() - line.split_once(of).unwrap().1.chars().count()
        };
        assert_eq!(place("status") - 1, place("202") + 1, "{text}");
        assert_eq!(place("promised?") - 4, place("✓"), "{text}");
        assert!(text.contains("6f1c2e9a-4…f04"), "{text}");
        assert!(text.contains("  M1, M16\n"), "{text}");
    }

    #[test]
    fn colours_are_for_terminals() {
        let mut plain = Table::new(Vec::new(), false);
        plain.row(&ROW).unwrap();
        assert!(!text(plain).contains('\x1b'));
        let mut coloured = Table::new(Vec::new(), true);
        coloured.row(&ROW).unwrap();
        assert!(text(coloured).contains("\x1b[32m✓\x1b[0m"));
    }
}
