//! A row of the table as bars in an SVG file.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
/// Where bars begin, and the most they take.
const LEFT: f64 = 170.0;
const BAR: f64 = 450.0;
const LINE: f64 = 20.0;
const TEXT: &str = "font-family=\"system-ui, sans-serif\" font-size=\"12\"";

/// One bar.
pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// Bars that are of one measure, and drawn to one scale.
pub(crate) struct Group {
    pub(crate) label: &'static str,
    pub(crate) bars: Vec<Bar>,
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn colour(name: &str) -> &'static str {
    match name {
        "onceward" => "#0b6e4f",
        "floor" => "#b0b7bd",
        _ => "#7a9cc6",
    }
}

/// The drawing; each group has the scale of its own largest figure.
pub(crate) fn svg(title: &str, better: &str, groups: &[Group]) -> String {
    let lines: usize = groups.iter().map(|group| group.bars.len() + 2).sum();
    let height = 44.0 + lines as f64 * LINE;
    let mut svg = String::new();
    let mut put = |line: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(svg, "{line}");
    };
    put(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">"
    ));
    put(format!("<title>{}</title>", escaped(title)));
    put("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>".to_owned());
    put(format!("<text x=\"10\" y=\"22\" {TEXT} font-weight=\"600\">{}</text>", escaped(title)));
    put(format!(
        "<text x=\"{}\" y=\"22\" {TEXT} fill=\"#666\" text-anchor=\"end\">{better}</text>",
        WIDTH - 10.0
    ));
    let mut y = 44.0;
    for group in groups {
        let most = group.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let label = escaped(group.label);
        put(format!("<text x=\"10\" y=\"{}\" {TEXT} fill=\"#333\">{label}</text>", y + 8.0));
        y += LINE;
        for bar in &group.bars {
            let (length, middle) = ((bar.value.max(0.0) / most * BAR).max(1.0), y + 8.0);
            put(format!(
                "<text x=\"{}\" y=\"{middle}\" {TEXT} fill=\"#333\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                escaped(bar.name)
            ));
            let colour = colour(bar.name);
            put(format!(
                "<rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"14\" fill=\"{colour}\"/>",
                y - 3.0
            ));
            put(format!(
                "<text x=\"{:.1}\" y=\"{middle}\" {TEXT} fill=\"#333\">{}</text>",
                LEFT + length + 6.0,
                escaped(&bar.label)
            ));
            y += LINE;
        }
        y += LINE;
    }
    put("</svg>".to_owned());
    svg
}
