//! Characters that no command line may contain, quoted or not: those that cannot be seen, that reorder what is seen,
//! or that shells use for themselves. Which characters mean something to a shell is `grammar`'s.

/// What is wrong with the character, as words for people; `None` when it may stand in a word.
pub(super) fn forbidden(c: char) -> Option<&'static str> {
    match c {
        '\0' => Some("NUL"),
        '\n' => Some("a line feed"),
        '\r' => Some("a carriage return"),
        '\t' => Some("a quoted tab"),
        ' '..='~' => None,
        c if c.is_control() => Some("a control character"),
        c if c.is_whitespace() || is_blank_glyph(c) => Some("a blank that no shell reads as one"),
        c if is_bidi(c) => Some("a character that changes the direction of text"),
        c if is_invisible(c) => Some("an invisible character"),
        c if is_private(c) => Some("a character without meaning (private use or noncharacter)"),
        _ => None,
    }
}

/// Characters that look like a blank and are letters or symbols to Unicode: Hangul fillers, the empty Braille cell.
fn is_blank_glyph(c: char) -> bool {
    matches!(c, '\u{115F}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}')
}

fn is_bidi(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{206F}')
}

/// General category Cf and the property Default_Ignorable_Code_Point of Unicode 16, without those above.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}'
            | '\u{034F}'
            | '\u{0600}'..='\u{0605}'
            | '\u{06DD}'
            | '\u{070F}'
            | '\u{0890}'..='\u{0891}'
            | '\u{08E2}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200D}'
            | '\u{2060}'..='\u{2065}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFF0}'..='\u{FFFC}'
            | '\u{110BD}'
            | '\u{110CD}'
            | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

/// fish keeps its own marks among these (U+F600 and following, U+FDD0 and following), and would take ours for its.
fn is_private(c: char) -> bool {
    matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{FDD0}'..='\u{FDEF}' | '\u{F0000}'..='\u{10FFFF}')
        || u32::from(c) & 0xFFFE == 0xFFFE
        || c == '\u{FFFD}'
}
