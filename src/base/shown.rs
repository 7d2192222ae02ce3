//! Text of peers, of files and of the system, as a log line may show it.
//!
//! In: any text. Out: the same text with control characters escaped, and cut at a bound.
//! Laws: what is shown stays on its line and sends no command to a terminal; a cut falls between two characters and is
//! marked.

/// Stands where text was left out.
pub const LEFT_OUT: &str = "...";

/// The text as a log line shows it, in at most `most` bytes and the mark of a cut.
pub fn shown(text: &str, most: usize) -> Box<str> {
    let mut line = String::with_capacity(text.len().min(most) + LEFT_OUT.len());
    for c in text.chars() {
        let end = line.len();
        match c {
            // These do no harm.
            '"' | '\'' | '\\' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
        if line.len() > most {
            line.truncate(end);
            line.push_str(LEFT_OUT);
            break;
        }
    }
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_shown_as_it_is() {
        for text in ["", "GET /feed", "it's \"so\"", "C:\\new", "Gr\u{fc}\u{df}e \u{20ac}"] {
            assert_eq!(&*shown(text, 100), text);
        }
    }

    #[test]
    fn what_could_leave_the_line_or_command_a_terminal_is_escaped() {
        let all = "a\nb\rc\x1b[31md\0e\u{7f}\u{9b}f\u{202e}g";
        assert_eq!(&*shown(all, 100), "a\\nb\\rc\\u{1b}[31md\\0e\\u{7f}\\u{9b}f\\u{202e}g");
    }

    #[test]
    fn a_cut_falls_between_two_characters_and_is_marked() {
        for most in 0..12 {
            let cut = shown("\u{20ac}\u{20ac}\n\u{20ac}", most);
            let kept = cut.strip_suffix(LEFT_OUT).unwrap_or(&cut);
            assert!(kept.len() <= most && "\u{20ac}\u{20ac}\\n\u{20ac}".starts_with(kept), "{most}: {cut}");
            assert_eq!(kept.len() == cut.len(), most >= 11, "{most}: {cut}");
        }
        assert_eq!(&*shown(&"x".repeat(60_000), 3), "xxx...");
    }
}
