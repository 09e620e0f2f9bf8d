//! The last line: what the last key came to, or what can be done; modes that are easily forgotten.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::app::App;
use super::figures;
use super::scene::{put, put_right};

/// The least size that shows everything that matters.
pub const LEAST: (u16, u16) = (80, 24);

/// Draws it.
pub fn draw(buffer: &mut Buffer, area: Rect, app: &App, screen: Rect) {
    let look = app.look;
    if let Some(prompt) = &app.prompt {
        return put(buffer, area, 0, look, &prompt.line(look, area.width));
    }
    let modes = modes(app);
    let left = Rect { width: area.width.saturating_sub(modes.width() as u16), ..area };
    let line = match &app.answer {
        Some(answer) => {
            let style = if answer.failed { look.warn() } else { look.good() };
            Line::from(Span::styled(answer.text.clone(), style))
        }
        None if screen.width < LEAST.0 || screen.height < LEAST.1 => {
            let words =
                format!("{}x{}: too small, make it {}x{}", screen.width, screen.height, LEAST.0, LEAST.1);
            Line::from(Span::styled(words, look.warn()))
        }
        None => hints(app, left.width),
    };
    put(buffer, left, 0, look, &line);
    if left.width >= 30 {
        put_right(buffer, area, 0, look, &modes);
    }
}

fn hints<'a>(app: &App, width: u16) -> Line<'a> {
    let look = app.look;
    let mut hints: Vec<(&str, &str)> = vec![("?", "help"), ("1-8", "views")];

    let movement = if app.is_away() {
        [("Esc", "back"), ("j k", "scroll")]
    } else {
        [("Enter", "look closer"), ("b", "sort")]
    };
    hints.extend(movement);
    hints.extend([("f", "filter"), ("/", "search"), ("p", "freeze"), ("w", "write"), ("q", "quit")]);
    let mut line = Line::default();
    for (key, what) in hints {
        if line.width() + key.len() + what.len() + 3 > usize::from(width) {
            break;
        }
        line.push_span(Span::styled(key.to_owned(), look.strong()));
        line.push_span(Span::styled(format!(" {what}  "), look.label()));
    }
    line
}

fn modes<'a>(app: &App) -> Line<'a> {
    let look = app.look;
    let mut line = Line::default();
    if app.frozen {
        line.push_span(Span::styled(" FROZEN ", look.mode()));
    }
    if app.names {
        line.push_span(Span::styled(" names ", look.mode()));
    }
    line.push_span(Span::styled(
        format!(" every {}", figures::span(app.interval.as_secs_f64()).replace(".0s", "s")),
        look.label(),
    ));
    line
}
