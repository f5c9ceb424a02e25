//! What a completion may add at a word that goes on right of the cursor: only what is missing in
//! it, or what stands before it.

use lacuna_context::Language;

/// Letters of a right half from which on restating it is no accident.
const RESTATED: usize = 2;

/// What of `completion` fits where a word follows the cursor directly; `None`: it says again what
/// stands there, or runs into it. All of it where no word follows.
///
/// Inside a word (`len(it|ms)`) only what is missing in it is inserted: what the completion writes
/// before it restates the right half (`ems)`), or all of a completion whose seams make words that
/// the file has elsewhere. At the start of a word (`len(|header)`) the completion ends before its
/// own copy of that word, or in something that does not run into it.
pub(crate) fn before_word<'a>(
    language: Language,
    before: &str,
    completion: &'a str,
    after: &str,
) -> Option<&'a str> {
    let right = leading_word(language, after);
    if right.is_empty() {
        return Some(completion);
    }
    let left = trailing_word(language, before);
    if left.is_empty() {
        before_start(language, completion, right)
    } else {
        inside(language, [before, after], [left, right], completion)
    }
}

fn before_start<'a>(language: Language, completion: &'a str, right: &str) -> Option<&'a str> {
    if leading_word(language, completion) == right {
        return None;
    }
    let last = trailing_word(language, completion);
    if last == right {
        return Some(&completion[..completion.len() - right.len()])
            .filter(|kept| !kept.trim().is_empty());
    }
    last.is_empty().then_some(completion)
}

fn inside<'a>(
    language: Language,
    [before, after]: [&str; 2],
    [left, right]: [&str; 2],
    completion: &'a str,
) -> Option<&'a str> {
    let is_known = |word: &str| is_in(language, [before, after], word);
    let word = leading_word(language, completion);
    if word.is_empty() || word == right || is_known(&format!("{left}{right}")) {
        return None; // the word is whole
    }
    let rest = &completion[word.len()..];
    // What comes before the right half is missing; what comes after it must be what stands right of
    // the word.
    if let Some(missing) =
        word.strip_suffix(right).filter(|_| is_beginning(rest, &after[right.len()..]))
    {
        let doubles =
            right.starts_with(missing) || missing.starts_with(right) || left.ends_with(missing);
        let is_sure = right.chars().count() >= RESTATED && !doubles;
        return (is_sure || is_known(&format!("{left}{missing}{right}"))).then_some(missing);
    }
    if rest.is_empty() {
        return is_known(&format!("{left}{word}{right}")).then_some(word);
    }
    let last = trailing_word(language, rest);
    let has_seams = is_known(&format!("{left}{word}")) && is_known(&format!("{last}{right}"));
    (has_seams && !last.is_empty() && !completion.ends_with(right)).then_some(completion)
}

/// Whether what is written after the right half begins as what stands there: nothing, or the same
/// mark.
fn is_beginning(rest: &str, after: &str) -> bool {
    let mark = |text: &str| text.trim_start_matches([' ', '\t']).chars().next();
    rest.trim().is_empty() || mark(rest) == mark(after)
}

/// Whether one of the texts has `word` as a word of its own. What touches the cursor is half a word
/// and does not count.
pub(crate) fn is_in(language: Language, [before, after]: [&str; 2], word: &str) -> bool {
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
            ("a.py", "return len(it", "ems[0]", "ms)\n", None),
            ("a.py", "items = []\nreturn len(it", "ems[0]", "ms)\n", None),
            ("a.py", "prin", "ts", "t(x)\n", None),
            ("a.py", "header = item = 1\nx = hea", "der + it", "em\n", Some("der + it")),
            ("a.py", "header = item = 1\nx = hea", "p + it", "em\n", None),
            ("a.py", "pri", "int", "nt(x)\n", None),
            ("a.py", "return len(it", "e", "ms)\n", None),
            ("a.py", "items = []\nreturn len(it", "e", "ms)\n", Some("e")),
            ("a.py", "return len(it", "ms", "ms)\n", None),
            ("a.py", "items = []\nreturn len(it", "ems", "ems)\n", None),
            ("a.py", "items = []\nreturn len(i", "x_t", "tems)\n", None),
            ("a.py", "print", "(", "name)\n", None),
            ("a.py", "add_", "first_name(x)", "name(y)\n", Some("first_")),
            ("a.rs", "let al", "location = 1;", "cation = 1;\n", Some("lo")),
            ("a.js", "const $a", "_b = 1", "b\n", None),
            ("a.js", "const $a", "_bc = 1", "bc = 2\n", Some("_")),
            ("a.go", "größ", "en_x", "_x\n", Some("en")),
            ("a.c", "foo.b", "ar.baz", "ar.baz;\n", None),
            ("a.txt", "wo", "rd again", "rd\n", None),
        ] {
            let language = Language::from_path(std::path::Path::new(path));
            assert_eq!(
                before_word(language, before, completion, after),
                kept,
                "{before:?} {completion:?} {after:?}"
            );
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
            assert_eq!(
                before_word(Language::Python, "return len(", completion, after),
                kept,
                "{completion:?} before {after:?}"
            );
        }
    }

    #[test]
    fn words_at_the_end_of_which_the_cursor_stands_are_left_to_the_model() {
        assert_eq!(before_word(Language::Python, "return len(h", "eader", ")\n"), Some("eader"));
    }

    /// Any cut of any word: what an inserting editor would then have is never the right half twice.
    #[test]
    fn no_cut_of_a_word_is_doubled() {
        for word in ["header", "items", "aaaa", "banana", "größe", "to_string", "x1", "名前です"]
        {
            for (at, _) in word.char_indices().skip(1) {
                let (left, right) = word.split_at(at);
                let last = right.char_indices().next_back().map_or(0, |(i, _)| i);
                for completion in [
                    right.to_owned(),
                    format!("{right})"),
                    format!("{right}{right}"),
                    right[..last].to_owned(),
                ] {
                    let kept = before_word(
                        Language::Python,
                        &format!("f({left}"),
                        &completion,
                        &format!("{right})\n"),
                    );
                    assert_eq!(kept, None, "{left}|{right} with {completion:?}");
                }
            }
        }
    }
}
