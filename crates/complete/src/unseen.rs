//! Characters that nobody sees: a suggestion that has them is not what it looks like.
//!
//! Controls, marks that turn the direction of text around (what is read is then not what is
//! compiled), blanks without width, tags; and what joins or varies its neighbour where there is
//! nothing to join.

/// The beginning of `completion` without them: whole lines before the first that has one. `before`:
/// the text left of the cursor, to which its first character may belong.
pub(crate) fn before_unseen<'a>(before: &str, completion: &'a str) -> &'a str {
    let mut previous = before.chars().next_back();
    let mut line = 0;
    let mut rest = completion.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let next = rest.peek().map(|(_, next)| *next);
        if !is_seen(previous, c, next) {
            return completion[..line].trim_end();
        }
        if c == '\n' {
            line = at + 1;
        }
        previous = Some(c);
    }
    completion
}

/// Whether a character is one that is seen, or belongs to its neighbours.
fn is_seen(previous: Option<char>, c: char, next: Option<char>) -> bool {
    match c {
        '\t' | '\n' => true,
        '\r' => next == Some('\n'),
        // How a sign is drawn; letters have no other form.
        '\u{fe0e}' | '\u{fe0f}' => {
            previous.is_some_and(|p| !p.is_alphabetic() && !p.is_whitespace())
        }
        // Between letters of scripts that join, and within emoji.
        '\u{200c}' | '\u{200d}' => [previous, next]
            .iter()
            .all(|side| side.is_some_and(|c| !c.is_ascii() && !c.is_whitespace())),
        c if c.is_control() => false,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => {
            false
        }
        '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' => false,
        '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => false,
        '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' => false,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_ends_a_suggestion() {
        for (before, completion, left) in [
            ("s = \"日本語の", "\u{fe0f}\"", ""),
            ("s = \"a", "\u{200b}b\"", ""),
            ("if ok", ":\u{202e} return  # \u{2066}", ""),
            ("x = ", "1\n    y\u{0} = 2\nz = 3", "1"),
            ("x = ", "1\r\ny\u{1b}[31m = 2", "1"),
            ("x = ", "a\rb", ""),
            ("x = \"", "\u{e0041}\u{e0042}\"", ""),
            ("name", "\u{3164} = 1", ""),
            ("", "\u{feff}import os", ""),
            ("x = a", "\u{200d}", ""),
        ] {
            assert_eq!(before_unseen(before, completion), left, "{completion:?}");
        }
        for (before, completion) in [
            ("s = \"", "👩\u{200d}💻 ❤\u{fe0f} 1\u{fe0f}\u{20e3}\""),
            ("s = \"می", "\u{200c}خواهم\""),
            ("s = \"❤", "\u{fe0f}\""),
            ("if ok:\r\n", "\treturn 1\r\n"),
            ("s = \"", "naïve e\u{301} 日本語\u{3000}العربية\u{a0}\""),
        ] {
            assert_eq!(before_unseen(before, completion), completion);
        }
    }
}
