//! The table of a view: a title, heads, pinned rows, rows, and what they leave.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::app::{App, Item};
use super::columns::{self, Cell, Figures, Spec};
use super::figures;
use super::filter_words;
use super::scene::{Scene, clip, put, put_right, rows};
use crate::engine::query::{Column, View};
use crate::engine::snapshot::Snapshot;
use crate::engine::table::{Key, Row};

/// The least and the greatest width of the keys.
const KEY_WIDTHS: (usize, usize) = (15, 60);

/// Draws the table and remembers how many rows found room.
pub fn draw(buffer: &mut Buffer, area: Rect, app: &mut App, snapshot: &Snapshot) {
    let items = app.items();
    let pinned = app.pinned().count();
    let cursor = app.cursor(&items);
    let body = rows(area, 2, area.height.saturating_sub(3));
    let room = usize::from(body.height);
    let kept = pinned.min(room);
    app.page = (room - kept).max(1);
    app.offset = offset(app.offset, cursor.saturating_sub(pinned), app.page, items.len() - pinned);
    let from = pinned + app.offset;
    let drawn: Vec<usize> = (0..kept).chain((from..items.len()).take(app.page)).collect();
    app.widest =
        drawn.iter().map(|at| key_width(&app.scene(snapshot), &items[*at])).fold(app.widest, usize::max);
    let scene = app.scene(snapshot);
    let shape = Shape::of(&scene, area.width, app.widest);

    put(buffer, area, 0, scene.look, &title(&scene, app));
    let first = if items.len() > pinned { app.offset + 1 } else { 0 };
    let last = (app.offset + app.page).min(items.len() - pinned);
    let groups = snapshot.table.groups;
    let place = match last {
        0 => Line::from(" none"),
        _ => Line::from(format!(" {first}-{last} of {}", figures::grouped(groups))),
    };
    put_right(buffer, area, 0, scene.look, &place);
    put(buffer, area, 1, scene.look, &shape.heads(&scene));

    let by_key = |key: &Key| snapshot.table.rows.iter().find(|row| row.key == *key);
    for (row, at) in (0..).zip(drawn) {
        let Item::Row(key) = items[at] else { continue };
        if let Key::Source(address, _) | Key::Destination(address) = key {
            scene.want_name(address);
        }
        let gutter = if at < pinned { scene.look.pin() } else { ' ' };
        let hit = app.is_hit(&items[at]);
        let line = shape.row(&scene, gutter, &key, by_key(&key), hit);
        put(buffer, body, row, scene.look, &line);
        if at == cursor && row < body.height {
            let place = rows(body, row, 1);
            buffer.set_style(Rect { width: place.width.min(shape.width()), ..place }, scene.look.selected());
        }
    }
    let other = Figures::other(&snapshot.table.other);
    let line = shape.line(&scene, ' ', Span::styled("other", scene.look.label()), Some(&other));
    let after = u16::try_from(kept + (items.len() - from).min(app.page)).unwrap_or(u16::MAX);
    put(buffer, area, after.min(body.height).saturating_add(2), scene.look, &line);
}

/// The first row drawn, so that the cursor is among them.
pub fn offset(offset: usize, cursor: usize, page: usize, all: usize) -> usize {
    let last = all.saturating_sub(page);
    offset.min(last).clamp((cursor + 1).saturating_sub(page), cursor)
}

/// The view, the filter and since when it is counted.
fn title<'a>(scene: &Scene<'_>, app: &App) -> Line<'a> {
    let (look, table) = (scene.look, &scene.snapshot.table);
    let mut line = Line::from(Span::styled(table.view.as_str(), look.title()));
    if table.view == View::Prefixes {
        line.push_span(format!(" /{} and /{}", scene.query.prefix.v4, scene.query.prefix.v6));
    }
    let filter = filter_words::written(&scene.query.filter);
    if !filter.is_empty() {
        line.push_span("  filter ");
        line.push_span(Span::styled(filter, look.strong().patch(look.warn())));
    }
    if table.view != View::States {
        line.push_span(format!("  sums since {}", scene.clock(table.since_ktime_ns, 0)));
    } else {
        line.push_span(match &scene.snapshot.events.last_audit {
            Some(audit) => format!(
                "  as seen {} ago by an audit, which took {}",
                scene.ago(audit.ended_ktime_ns),
                figures::span_ns(audit.length_ns())
            ),
            None => "  no audit has looked yet".into(),
        });
    }
    if !app.search.is_empty() && app.prompt.is_none() {
        line.push_span("  search ");
        line.push_span(Span::styled(app.search.clone(), look.hit()));
    }
    line
}

fn key_width(scene: &Scene<'_>, item: &Item) -> usize {
    match item {
        Item::Row(key) => columns::key(scene, key).chars().count(),
        _ => 0,
    }
}

/// Which columns there are and how wide.
struct Shape {
    key: usize,
    specs: Vec<Spec>,
}

impl Shape {
    fn of(scene: &Scene<'_>, width: u16, widest: usize) -> Self {
        let (least, greatest) = KEY_WIDTHS;
        let widest = widest.clamp(least, greatest);
        let beside = width.saturating_sub(widest as u16 + 1);
        let specs = columns::fitting(scene, scene.snapshot.table.view, beside);
        let taken: u16 = specs.iter().map(|spec| spec.width + 1).sum();
        let room = usize::from(width.saturating_sub(taken + 1));
        Self { key: widest.min(room.max(1)), specs }
    }

    fn width(&self) -> u16 {
        1 + self.key as u16 + self.specs.iter().map(|spec| spec.width + 1).sum::<u16>()
    }

    fn heads<'a>(&self, scene: &Scene<'_>) -> Line<'a> {
        let look = scene.look;
        let style =
            |cell| if cell == Cell::Of(scene.query.sort.column) { look.sorted() } else { look.head() };
        let view = scene.snapshot.table.view;
        let key = columns::head(scene, columns::key_head(view), Cell::Of(Column::Key));
        let mut line = Line::from(vec![
            Span::raw(" "),
            Span::styled(format!("{key:<width$}", width = self.key), style(Cell::Of(Column::Key))),
        ]);
        for spec in &self.specs {
            let head = columns::head(scene, spec.head, spec.cell);
            line.push_span(" ");
            line.push_span(Span::styled(aligned(spec, &head), style(spec.cell)));
        }
        line
    }

    fn row<'a>(&self, scene: &Scene<'_>, gutter: char, key: &Key, row: Option<&Row>, hit: bool) -> Line<'a> {
        let text = clip(&columns::key(scene, key), self.key, scene.look);
        let style = if hit { scene.look.hit() } else { Style::new() };
        let figures = row.map(Figures::row);
        self.line(scene, gutter, Span::styled(text, style), figures.as_ref())
    }

    fn line<'a>(
        &self,
        scene: &Scene<'_>,
        gutter: char,
        key: Span<'a>,
        figures: Option<&Figures<'_>>,
    ) -> Line<'a> {
        let pad = self.key.saturating_sub(key.width());
        let mut line = Line::from(vec![Span::raw(gutter.to_string()), key, Span::raw(" ".repeat(pad))]);
        for spec in &self.specs {
            // A pinned row may hold nothing any more.
            let text = figures.map_or_else(|| "-".into(), |figures| figures.cell(scene, spec));
            let text = clip(&text, spec.width.into(), scene.look);
            let style = style(scene, spec, &text);
            line.push_span(" ");
            line.push_span(Span::styled(aligned(spec, &text), style));
        }
        line
    }
}

fn aligned(spec: &Spec, text: &str) -> String {
    let width = usize::from(spec.width);
    match spec.cell {
        Cell::Netns | Cell::State | Cell::Bar => format!("{text:<width$}"),
        _ => format!("{text:>width$}"),
    }
}

/// What hurts stands out, and zeros step back.
fn style(scene: &Scene<'_>, spec: &Spec, text: &str) -> Style {
    let look = scene.look;
    match spec.cell {
        _ if text == "0" || text == "-" => look.faint(),
        Cell::Of(Column::Entries) => look.strong(),
        Cell::Of(Column::Refused | Column::Evicted) => look.bad(),
        Cell::Of(Column::Failed | Column::Unconfirmed) => look.warn(),
        Cell::Bar => look.title(),
        _ => Style::new(),
    }
}
