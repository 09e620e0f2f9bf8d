//! Colours and signs: two palettes and none, block characters or ASCII. No meaning is carried by a colour alone.

use ratatui::style::{Color, Modifier, Style};

use crate::engine::saturation::State;

/// How the screen looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// No character above 0x7e.
    pub ascii: bool,
    /// The palette.
    pub colors: Colors,
}

/// A palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    /// For a dark background.
    Dark,
    /// For a light background.
    Light,
    /// Bold, underlined and reversed only.
    None,
}

impl Look {
    fn paint(self, dark: Color, light: Color) -> Style {
        match self.colors {
            Colors::Dark => Style::new().fg(dark),
            Colors::Light => Style::new().fg(light),
            Colors::None => Style::new(),
        }
    }

    /// What names a thing beside its value.
    pub fn label(self) -> Style {
        self.paint(Color::Gray, Color::DarkGray)
    }

    /// What may be overlooked.
    pub fn faint(self) -> Style {
        self.paint(Color::DarkGray, Color::DarkGray)
    }

    /// A figure to be read first.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The heads of panes.
    pub fn title(self) -> Style {
        self.paint(Color::Cyan, Color::Blue).add_modifier(Modifier::BOLD)
    }

    /// The heads of columns.
    pub fn head(self) -> Style {
        self.label().add_modifier(Modifier::UNDERLINED)
    }

    /// The column that is sorted by.
    pub fn sorted(self) -> Style {
        self.title().add_modifier(Modifier::UNDERLINED)
    }

    /// The selected row.
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What a search found.
    pub fn hit(self) -> Style {
        self.paint(Color::Magenta, Color::Magenta).add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
    }

    /// What is well.
    pub fn good(self) -> Style {
        self.paint(Color::Green, Color::Green)
    }

    /// What should be looked at.
    pub fn warn(self) -> Style {
        self.paint(Color::Yellow, Color::Magenta)
    }

    /// What hurts somebody.
    pub fn bad(self) -> Style {
        self.paint(Color::LightRed, Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What hurts somebody now, or makes the numbers wrong.
    pub fn loud(self) -> Style {
        self.bad().add_modifier(Modifier::REVERSED)
    }

    /// A mode that is easily forgotten.
    pub fn mode(self) -> Style {
        self.title().add_modifier(Modifier::REVERSED)
    }

    /// A state's word.
    pub fn state(self, state: State) -> Style {
        match state {
            State::Ok | State::Recovered => self.good().add_modifier(Modifier::BOLD),
            State::Pressure => self.warn().add_modifier(Modifier::BOLD | Modifier::REVERSED),
            State::Evicting | State::Refusing => self.loud(),
        }
    }

    /// Stands for what was cut off.
    pub fn ellipsis(self) -> char {
        if self.ascii { '~' } else { '…' }
    }

    /// A separator between two statements.
    pub fn dot(self) -> char {
        if self.ascii { '-' } else { '·' }
    }

    /// A line across.
    pub fn rule(self) -> char {
        if self.ascii { '-' } else { '─' }
    }

    /// A threshold on a gauge.
    pub fn mark(self) -> char {
        if self.ascii { '|' } else { '│' }
    }

    /// An empty place of a gauge.
    pub fn empty(self) -> char {
        if self.ascii { '.' } else { '░' }
    }

    /// Before a row that is pinned.
    pub fn pin(self) -> char {
        if self.ascii { '*' } else { '◆' }
    }

    /// Behind the head of the sorted column: which end is up.
    pub fn arrow(self, least_first: bool) -> char {
        match (self.ascii, least_first) {
            (true, true) => '^',
            (true, false) => 'v',
            (false, true) => '▲',
            (false, false) => '▼',
        }
    }

    /// A cell of a bar that grows to the right, filled to so many eighths.
    pub fn across(self, eighths: usize) -> char {
        const BLOCKS: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
        match self.ascii {
            true if eighths >= 4 => '#',
            true => ' ',
            false => BLOCKS[eighths.min(8)],
        }
    }

    /// A cell of a bar that grows upwards, filled to so many eighths.
    pub fn up(self, eighths: usize) -> char {
        const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const LETTERS: [char; 9] = [' ', '.', ':', '-', '=', '+', '*', '#', '@'];
        if self.ascii { LETTERS[eighths.min(8)] } else { BLOCKS[eighths.min(8)] }
    }
}
