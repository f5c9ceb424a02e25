//! What a completion may add at a word that goes on right of the cursor: only what is missing in it, or what stands before it.

use lacuna_context::Language;

/// What of `completion` fits where a word follows the cursor directly; `None`: it says again what stands there, or runs into it. All of it where
/// no word follows.
///
/// Inside a word (`len(it|ms)`) only characters of that word are inserted: those that the completion writes before it restates the right half
/// (`ems`), or all of a completion that makes a word which the file has elsewhere (`e`). At the start of a word (`len(|header)`) the completion
/// ends before its own copy of that word, or in something that does not run into it.
pub(crate) fn before_word<'a>(language: Language, before: &str, completion: &'a str, after: &str) -> Option<&'a str> {
    let right = leading_word(language, after);
    if right.is_empty() {
        return Some(completion);
    }
    let left = trailing_word(language, before);
    if left.is_empty() { before_start(language, completion, right) } else { inside(language, [before, after], left, completion, right) }
}

fn before_start<'a>(language: Language, completion: &'a str, right: &str) -> Option<&'a str> {
    if leading_word(language, completion) == right {
        return None;
    }
    let last = trailing_word(language, completion);
    if last == right {
        return Some(&completion[..completion.len() - right.len()]).filter(|kept| !kept.trim().is_empty());
    }
    last.is_empty().then_some(completion)
}

fn inside<'a>(language: Language, around: [&str; 2], left: &str, completion: &'a str, right: &str) -> Option<&'a str> {
    let word = leading_word(language, completion);
    // Where the model restates the right half, what comes before it is missing; what comes after it stands right of the word.
    let restated = word.strip_suffix(right);
    let missing = restated.or((word == completion).then_some(word)).filter(|m| !m.is_empty())?;
    if is_in(language, around, &format!("{left}{right}")) {
        return None; // the word is whole
    }
    let doubles = right.starts_with(missing) || missing.starts_with(right);
    let is_known = is_in(language, around, &format!("{left}{missing}{right}"));
    (is_known || (restated.is_some() && !doubles)).then_some(missing)
}

/// Whether one of the texts has `word` as a word of its own. What touches the cursor is half a word and does not count.
fn is_in(language: Language, [before, after]: [&str; 2], word: &str) -> bool {
    let before = &before[..before.len() - trailing_word(language, before).len()];
    let after = &after[leading_word(language, after).len()..];
    [before, after].iter().any(|text| text.split(|c| !language.is_word_char(c)).any(|w| w == word))
}

pub(crate) fn leading_word(language: Language, text: &str) -> &str {
    &text[..text.find(|c| !language.is_word_char(c)).unwrap_or(text.len())]
}

pub(crate) fn trailing_word(language: Language, text: &str) -> &str {
    &text[text.trim_end_matches(|c| language.is_word_char(c)).len()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_a_word_only_what_is_missing_is_added() {
        for (path, before, completion, after, kept) in [
            ("a.py", "return len(h", "eader)", "eader)\n", None),
            ("a.py", "return len(h", "eaders", "eader)\n", None),
            ("a.py", "return len(h", "ead", "eader)\n", None),
            ("a.py", "return len(h", "eadereader", "eader)\n", None),
            ("a.py", "return len(it", "ems", "ms)\n", Some("e")),
            ("a.py", "return len(it", "ems)", "ms)\n", Some("e")),
            ("a.py", "return len(it", "e", "ms)\n", None),
            ("a.py", "items = []\nreturn len(it", "e", "ms)\n", Some("e")),
            ("a.py", "return len(it", "ms", "ms)\n", None),
            ("a.py", "items = []\nreturn len(it", "ems", "ems)\n", None),
            ("a.py", "items = []\nreturn len(i", "x_t", "tems)\n", None),
            ("a.py", "print", "(", "name)\n", None),
            ("a.py", "add_", "first_name(x)", "name(y)\n", Some("first_")),
            ("a.rs", "let al", "location = 1;", "cation = 1;\n", Some("lo")),
            ("a.js", "const $a", "_b = 1", "b\n", Some("_")),
            ("a.go", "größ", "en_x", "_x\n", Some("en")),
            ("a.c", "foo.b", "ar.baz", "ar.baz;\n", None),
            ("a.txt", "wo", "rd again", "rd\n", None),
        ] {
            let language = Language::from_path(std::path::Path::new(path));
            assert_eq!(before_word(language, before, completion, after), kept, "{before:?} {completion:?} {after:?}");
        }
    }

    #[test]
    fn at_the_start_of_a_word_nothing_runs_into_it() {
        for (completion, after, kept) in [
            ("header", "header)\n", None),
            ("header)", "header)\n", None),
            ("self.header", "header)\n", Some("self.")),
            ("self.", "header)\n", Some("self.")),
            ("x", "header)\n", None),
            ("not", "header)\n", None),
            ("a, ", "header)\n", Some("a, ")),
            ("x", ")\n", Some("x")),
            ("x", " header\n", Some("x")),
            ("x", "", Some("x")),
        ] {
            assert_eq!(before_word(Language::Python, "return len(", completion, after), kept, "{completion:?} before {after:?}");
        }
    }

    #[test]
    fn words_at_the_end_of_which_the_cursor_stands_are_left_to_the_model() {
        assert_eq!(before_word(Language::Python, "return len(h", "eader", ")\n"), Some("eader"));
    }

    /// Any cut of any word: what an inserting editor would then have is never the right half twice.
    #[test]
    fn no_cut_of_a_word_is_doubled() {
        for word in ["header", "items", "aaaa", "banana", "größe", "to_string", "x1", "名前です"] {
            for (at, _) in word.char_indices().skip(1) {
                let (left, right) = word.split_at(at);
                let last = right.char_indices().next_back().map_or(0, |(i, _)| i);
                for completion in [right.to_owned(), format!("{right})"), format!("{right}{right}"), right[..last].to_owned()] {
                    let kept = before_word(Language::Python, &format!("f({left}"), &completion, &format!("{right})\n"));
                    assert_eq!(kept, None, "{left}|{right} with {completion:?}");
                }
            }
        }
    }
}
