//! Every key and what it does: one table, which the program acts by, the help shows and the tests walk.
//!
//! Where iptstate or top have a key for it, it is that one.

use std::fmt;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::engine::query::View;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Does {
    /// Show a view.
    Show(View),
    /// The next view.
    NextView,
    /// The view before.
    PreviousView,
    /// Look closely at the selected row.
    Enter,
    /// Go back.
    Back,
    /// The row above.
    Up,
    /// The row below.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// The first row.
    Home,
    /// The last row.
    End,
    /// Sort by the next column.
    SortNext,
    /// Sort by the column before.
    SortPrevious,
    /// Turn the order round.
    Reverse,
    /// Edit the whole filter.
    Filter,
    /// Edit the source of the filter.
    Source,
    /// Edit the destination of the filter.
    Destination,
    /// Edit the source port of the filter.
    SourcePort,
    /// Edit the destination port of the filter.
    DestinationPort,
    /// Search.
    Search,
    /// The next row found.
    NextHit,
    /// The row found before.
    PreviousHit,
    /// Pin the selected row, or no longer.
    Pin,
    /// Names instead of addresses, or no longer.
    Names,
    /// Longer prefixes.
    Longer,
    /// Shorter prefixes.
    Shorter,
    /// The next network namespace in the header.
    NextNetns,
    /// The network namespace before in the header.
    PreviousNetns,
    /// The incidents, or no longer.
    Incidents,
    /// Keep the picture, or go on.
    Freeze,
    /// A fresh snapshot now.
    Refresh,
    /// Ask for the interval.
    Interval,
    /// Write what is on the screen to files.
    Write,
    /// Draw everything again.
    Redraw,
    /// Show the keys.
    Help,
    /// Stop like any job.
    Suspend,
    /// End.
    Quit,
}

/// Some keys that do the same.
#[derive(Debug)]
pub struct Binding {
    /// The keys.
    pub keys: &'static [Key],
    /// What they do.
    pub does: Does,
    /// What the help says.
    pub help: &'static str,
}

/// A key, with control held down or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Which.
    pub code: KeyCode,
    /// With control.
    pub control: bool,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.control { "^" } else { "" })?;
        match self.code {
            KeyCode::Char(' ') => f.write_str("Space"),
            KeyCode::Char(letter) if self.control => write!(f, "{}", letter.to_ascii_uppercase()),
            KeyCode::Char(letter) => write!(f, "{letter}"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            KeyCode::BackTab => f.write_str("Shift-Tab"),
            code => write!(f, "{code:?}"),
        }
    }
}

const fn key(letter: char) -> Key {
    Key { code: KeyCode::Char(letter), control: false }
}

const fn control(letter: char) -> Key {
    Key { code: KeyCode::Char(letter), control: true }
}

const fn named(code: KeyCode) -> Key {
    Key { code, control: false }
}

const fn binding(keys: &'static [Key], does: Does, help: &'static str) -> Binding {
    Binding { keys, does, help }
}

/// All of them, as the help lists them.
pub const TABLE: &[Binding] = &[
    binding(&[key('1')], Does::Show(View::Sources), "by source address"),
    binding(&[key('2')], Does::Show(View::Prefixes), "by source network"),
    binding(&[key('3')], Does::Show(View::Destinations), "by destination address"),
    binding(&[key('4')], Does::Show(View::Ports), "by protocol and port"),
    binding(&[key('5')], Does::Show(View::States), "by protocol and state"),
    binding(&[key('6')], Does::Show(View::Netns), "by network namespace"),
    binding(&[key('7')], Does::Show(View::Causes), "causes, and what to do"),
    binding(&[key('8')], Does::Show(View::Episodes), "episodes: saturations"),
    binding(&[named(KeyCode::Tab)], Does::NextView, "next view"),
    binding(&[named(KeyCode::BackTab)], Does::PreviousView, "view before"),
    binding(&[named(KeyCode::Enter)], Does::Enter, "look closely, or narrow"),
    binding(&[named(KeyCode::Esc), named(KeyCode::Backspace)], Does::Back, "back"),
    binding(&[named(KeyCode::Up), key('k')], Does::Up, "row above"),
    binding(&[named(KeyCode::Down), key('j')], Does::Down, "row below"),
    binding(&[named(KeyCode::PageUp), control('u')], Does::PageUp, "page up"),
    binding(&[named(KeyCode::PageDown), control('d')], Does::PageDown, "page down"),
    binding(&[named(KeyCode::Home), key('g')], Does::Home, "first row"),
    binding(&[named(KeyCode::End), key('G')], Does::End, "last row"),
    binding(&[key('b'), key('>')], Does::SortNext, "sort by next column"),
    binding(&[key('B'), key('<')], Does::SortPrevious, "sort by column before"),
    binding(&[key('r')], Does::Reverse, "reverse the order"),
    binding(&[key('f'), key('o')], Does::Filter, "edit the whole filter"),
    binding(&[key('s')], Does::Source, "filter by source"),
    binding(&[key('d')], Does::Destination, "filter by destination"),
    binding(&[key('S')], Does::SourcePort, "filter by source port"),
    binding(&[key('D')], Does::DestinationPort, "filter by dest. port"),
    binding(&[key('/'), key('L')], Does::Search, "search the rows"),
    binding(&[key('&')], Does::NextHit, "next row found"),
    binding(&[key('N')], Does::PreviousHit, "row found before"),
    binding(&[key('P')], Does::Pin, "pin the row on top"),
    binding(&[key('n'), key('l')], Does::Names, "names from the DNS"),
    binding(&[key('+')], Does::Longer, "longer prefixes"),
    binding(&[key('-')], Does::Shorter, "shorter prefixes"),
    binding(&[key(']')], Does::NextNetns, "next netns in the header"),
    binding(&[key('[')], Does::PreviousNetns, "netns before"),
    binding(&[key('t')], Does::Incidents, "incidents pane"),
    binding(&[key('p')], Does::Freeze, "freeze, or go on"),
    binding(&[key(' ')], Does::Refresh, "look again now"),
    binding(&[key('R')], Does::Interval, "time between looks"),
    binding(&[key('w')], Does::Write, "write .txt and .json"),
    binding(&[control('l')], Does::Redraw, "draw the screen again"),
    binding(&[key('?'), key('h')], Does::Help, "this help"),
    binding(&[control('z')], Does::Suspend, "stop; `fg` goes on"),
    binding(&[key('q'), control('c')], Does::Quit, "quit"),
];

/// What a key does, if anything.
pub fn does(event: &KeyEvent) -> Option<Does> {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    if event.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::META) {
        return None;
    }
    let pressed = Key { code: event.code, control };
    TABLE.iter().find(|binding| binding.keys.contains(&pressed)).map(|binding| binding.does)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_has_two_meanings_and_no_meaning_two_lines() {
        let keys: Vec<_> = TABLE.iter().flat_map(|binding| binding.keys).map(Key::to_string).collect();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        let meanings: HashSet<_> = TABLE.iter().map(|binding| binding.does).collect();
        assert_eq!(meanings.len(), TABLE.len());
    }

    #[test]
    fn the_manual_lists_them_all() {
        let manual = include_str!("../../../../docs/top.md");
        let line = |binding: &Binding| {
            let keys: Vec<_> = binding.keys.iter().map(|key| format!("`{key}`")).collect();
            format!("| {} | {} |", keys.join(" "), binding.help)
        };
        let lines: Vec<_> = TABLE.iter().map(line).collect();
        let lines = lines.join("\n");
        assert!(manual.contains(&lines), "docs/top.md should have:\n{lines}");
    }

    #[test]
    fn number_keys_are_the_views_in_their_order() {
        for (view, number) in View::ALL.into_iter().zip('1'..) {
            let pressed = KeyEvent::new(KeyCode::Char(number), KeyModifiers::NONE);
            assert_eq!(does(&pressed), Some(Does::Show(view)));
        }
    }
}
