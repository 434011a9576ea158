//! Bars in a terminal.

use crate::ui::count;

/// Eighths of a cell.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Draws a bar a line: label, bar, count. The longest fills `width` columns.
pub(crate) fn bars(values: &[(String, u64)], width: u16) -> String {
    let most = values.iter().map(|(_, n)| *n).max().unwrap_or(0).max(1);
    let label = values.iter().map(|(label, _)| label.chars().count()).max();
    let label = label.unwrap_or(0);
    let number = count(most).len();
    let room = usize::from(width).saturating_sub(label + number + 3).max(8) as u64;
    let mut text = String::new();
    for (name, n) in values {
        // In whole numbers: a count may be more than a float holds. What is
        // there at all shows as an eighth.
        let eighths = (u128::from(*n) * u128::from(room) * 8 / u128::from(most)) as usize;
        let eighths = eighths.max(usize::from(*n > 0));
        let bar = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
        let n = count(*n);
        let pad = room as usize - bar.chars().count();
        text.push_str(&format!("{name:label$} {bar}{:pad$} {n:>number$}\n", ""));
    }
    text
}
