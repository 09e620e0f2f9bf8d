//! Draws a captured screen (text with the escape sequences of its colours, on standard input) as an SVG picture.
//!
//! A live test prints such a screen: `docs/top.svg` is one.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};

use anyhow::{Context as _, Result};

const CELL: (f64, f64) = (8.4, 17.0);
const MARGIN: f64 = 12.0;
const BACKGROUND: &str = "#11151c";
const FOREGROUND: &str = "#d5d8dd";
/// The sixteen colours, as dark themes have them.
const PALETTE: [&str; 16] = [
    "#20242c", "#e06c6c", "#8cc570", "#e5c07b", "#6aa5e8", "#c586d8", "#5fc3c9", "#c8ccd4", "#6b7280",
    "#ff8080", "#a6e08a", "#ffd78a", "#8abfff", "#e0a6f0", "#7fe0e6", "#ffffff",
];

/// How a cell looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Style {
    foreground: Option<String>,
    background: Option<String>,
    bold: bool,
    faint: bool,
    underlined: bool,
    reversed: bool,
}

fn main() -> Result<()> {
    let mut screen = String::new();
    io::stdin().read_to_string(&mut screen).context("read the screen")?;
    io::stdout().write_all(svg(&screen).as_bytes()).context("write the picture")
}

fn svg(screen: &str) -> String {
    let mut style = Style::default();
    let rows: Vec<Vec<(char, Style)>> = screen.lines().map(|line| cells(line, &mut style)).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let (width, height) = (columns as f64 * CELL.0 + 2.0 * MARGIN, rows.len() as f64 * CELL.1 + 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\" \
         xml:space=\"preserve\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for (row, cells) in rows.iter().enumerate() {
        for run in cells.chunk_by(|one, two| one.1 == two.1).scan(0, |column, run| {
            *column += run.len();
            Some((*column - run.len(), run))
        }) {
            draw(&mut out, row, run.0, run.1);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// A run of cells of one style. Its length is given, so that no font can shift what follows.
fn draw(out: &mut String, row: usize, column: usize, run: &[(char, Style)]) {
    let Some((_, style)) = run.first() else { return };
    let text: String = run.iter().map(|(letter, _)| *letter).collect();
    let (x, y) = (MARGIN + column as f64 * CELL.0, MARGIN + row as f64 * CELL.1);
    let width = run.len() as f64 * CELL.0;
    let (mut ink, mut paper) = (style.foreground.as_deref(), style.background.as_deref());
    if style.reversed {
        (ink, paper) = (Some(paper.unwrap_or(BACKGROUND)), Some(ink.unwrap_or(FOREGROUND)));
    }
    if let Some(paper) = paper {
        let height = CELL.1;
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{paper}\"/>"
        );
    }
    if text.trim().is_empty() {
        return;
    }
    let bold = if style.bold { " font-weight=\"bold\"" } else { "" };
    let faint = if style.faint { " opacity=\"0.6\"" } else { "" };
    let underlined = if style.underlined { " text-decoration=\"underline\"" } else { "" };
    let (ink, base) = (ink.unwrap_or(FOREGROUND), y + CELL.1 * 0.76);
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{base:.1}\" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
         fill=\"{ink}\"{bold}{faint}{underlined}>{text}</text>"
    );
}

/// The cells of a line; the style goes on in the next.
fn cells(line: &str, style: &mut Style) -> Vec<(char, Style)> {
    let mut cells = Vec::new();
    let mut rest = line.chars();
    while let Some(letter) = rest.next() {
        if letter != '\u{1b}' {
            cells.push((letter, style.clone()));
            continue;
        }
        let sequence: String = rest.by_ref().take_while(|letter| !letter.is_ascii_alphabetic()).collect();
        apply(sequence.trim_start_matches('['), style);
    }
    cells
}

/// Applies a "select graphic rendition" sequence.
fn apply(sequence: &str, style: &mut Style) {
    let mut numbers = sequence.split([';', ':']).map(|number| number.parse::<u8>().unwrap_or(0));
    while let Some(number) = numbers.next() {
        match number {
            0 => *style = Style::default(),
            1 => style.bold = true,
            2 => style.faint = true,
            4 => style.underlined = true,
            7 => style.reversed = true,
            22 => (style.bold, style.faint) = (false, false),
            24 => style.underlined = false,
            27 => style.reversed = false,
            30..=37 => style.foreground = Some(named(number - 30)),
            90..=97 => style.foreground = Some(named(number - 90 + 8)),
            40..=47 => style.background = Some(named(number - 40)),
            100..=107 => style.background = Some(named(number - 100 + 8)),
            38 => style.foreground = extended(&mut numbers),
            48 => style.background = extended(&mut numbers),
            39 => style.foreground = None,
            49 => style.background = None,
            _ => {}
        }
    }
}

fn named(number: u8) -> String {
    PALETTE[usize::from(number) % PALETTE.len()].to_owned()
}

/// `5;n` of 256 colours, or `2;r;g;b`.
fn extended(numbers: &mut impl Iterator<Item = u8>) -> Option<String> {
    let rgb = |r: u8, g: u8, b: u8| format!("#{r:02x}{g:02x}{b:02x}");
    match numbers.next()? {
        2 => Some(rgb(numbers.next()?, numbers.next()?, numbers.next()?)),
        5 => Some(match numbers.next()? {
            number @ 0..=15 => named(number),
            number @ 16..=231 => {
                let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
                let cube = number - 16;
                rgb(level(cube / 36), level(cube / 6 % 6), level(cube % 6))
            }
            number => {
                let grey = 8 + 10 * (number - 232);
                rgb(grey, grey, grey)
            }
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::svg;

    #[test]
    fn runs_of_one_style_are_drawn_where_they_stand() {
        let picture = svg("ab\u{1b}[1;31mcd\u{1b}[0m\u{1b}[7m <\u{1b}[0m\n\u{1b}[38;5;196mx");
        assert!(picture.contains(">ab</text>"), "{picture}");
        assert!(picture.contains("fill=\"#e06c6c\" font-weight=\"bold\">cd</text>"), "{picture}");
        assert!(picture.contains("&lt;</text>"), "{picture}");
        assert!(picture.contains("fill=\"#ff0000\">x</text>"), "{picture}");
    }
}
