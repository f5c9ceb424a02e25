//! Metrics that need the file around the hole parsed: names used, and whether the completion leaves
//! the file in order.

use lacuna_context::{Language, ParseLimit, SyntaxTree, identifiers};
use lacuna_text::Document;

use super::{identifier_exact_match, identifier_f1};

/// A file with its true middle, parsed once, beside which completions are parsed by the difference.
pub struct Parsed<'a> {
    language: Language,
    prefix: &'a str,
    middle: &'a str,
    suffix: &'a str,
    document: Document,
    tree: SyntaxTree,
    names: Vec<String>,
    n_errors: usize,
}

/// What the parse says about one completion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyntaxScores {
    pub identifier_exact_match: bool,
    pub identifier_f1: f64,
    /// No more ERROR and MISSING nodes than with the true middle; `None` without a grammar or when
    /// the parse was given up.
    pub parse_clean: Option<bool>,
}

impl<'a> Parsed<'a> {
    pub fn new(
        language: Language,
        prefix: &'a str,
        middle: &'a str,
        suffix: &'a str,
    ) -> Parsed<'a> {
        let text = format!("{prefix}{middle}{suffix}");
        let document = Document::new(&text, 0);
        let tree = SyntaxTree::parse_within(language, document.rope(), ParseLimit::REPEATABLE);
        let n_errors = tree.n_errors();
        let names = names(&tree, &text, prefix.len(), middle.len());
        Parsed { language, prefix, middle, suffix, document, tree, names, n_errors }
    }

    pub fn score(&self, prediction: &str) -> SyntaxScores {
        // CRLF inside the document is kept by it, so that byte offsets are those of the texts.
        let at = self.prefix.len()..self.prefix.len() + self.middle.len();
        let tree = self.tree.preview(&self.document, at, prediction);
        let text = format!("{}{prediction}{}", self.prefix, self.suffix);
        let names = names(&tree, &text, self.prefix.len(), prediction.len());
        let parsed = self.language != Language::Text && self.tree.is_present() && tree.is_present();
        SyntaxScores {
            identifier_exact_match: identifier_exact_match(&names, &self.names),
            identifier_f1: identifier_f1(&names, &self.names),
            parse_clean: parsed.then(|| tree.n_errors() <= self.n_errors),
        }
    }
}

fn names(tree: &SyntaxTree, text: &str, start: usize, len: usize) -> Vec<String> {
    if len == 0 {
        return Vec::new();
    }
    identifiers(tree, text, start..start + len).into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_middle_alone() {
        let parsed = Parsed::new(
            Language::Python,
            "x = f(",
            "alpha, beta.gamma, \"delta\"",
            ")  # epsilon\n",
        );
        let same = parsed.score("alpha,beta . gamma, 'zeta'");
        assert!(
            same.identifier_exact_match
                && same.identifier_f1 == 1.0
                && same.parse_clean == Some(true)
        );
        let other = parsed.score("alpha, beta");
        assert!(!other.identifier_exact_match);
        assert_eq!(other.identifier_f1, 2.0 * 2.0 / 5.0);
    }

    #[test]
    fn a_broken_completion_is_not_clean_and_a_broken_file_is_no_fault_of_it() {
        let parsed = Parsed::new(Language::JavaScript, "let a = [", "1, 2", "];\n");
        assert_eq!(parsed.score("1, 2]").parse_clean, Some(false));
        assert_eq!(parsed.score("").parse_clean, Some(true));
        let broken = Parsed::new(Language::JavaScript, "let = ;;; let a = [", "1", "];\n");
        assert_eq!(broken.score("2").parse_clean, Some(true));
    }

    #[test]
    fn without_a_grammar_words_are_names_and_nothing_is_said_of_the_parse() {
        let parsed = Parsed::new(Language::Text, "var a = ", "b.c(1)", ";");
        let score = parsed.score("b . c ( 2 )");
        assert!(score.identifier_exact_match);
        assert_eq!(score.parse_clean, None);
    }
}
