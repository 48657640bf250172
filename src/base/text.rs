//! Text that strangers wrote.

/// Whether a character steers a terminal, or what is read on it: control characters, line and paragraph
/// separators, and marks that reverse the writing direction.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}
