//! The post-process stage of one output: the rules by which an editor shows a text or does not.

use lacuna_complete::{Request, passes, post_process};
use lacuna_context::{ParseLimit, SyntaxTree};
use lacuna_text::Document;

use crate::Example;
use crate::example::stages::{Answer, Output};

/// What of the output would be inserted. Texts of other modes than the editor's are taken as they
/// are. `least`: what is less likely to be right is withheld from who has not asked.
pub fn answer(example: &Example, output: &Output, least: f32) -> Answer {
    let Output { mode, sample, text, silence, .. } = output;
    let answer = Answer {
        mode: mode.clone(),
        sample: *sample,
        text: text.clone(),
        silence: silence.clone(),
        ..Answer::default()
    };
    let Some(mean) = output.confidence.filter(|_| mode == "editor") else { return answer };
    let withheld = !passes(output.probability.unwrap_or(mean), least);
    let document = Document::new(&format!("{}{}", example.prefix, example.suffix), 0);
    let tree = SyntaxTree::parse_within(example.syntax(), document.rope(), ParseLimit::REPEATABLE);
    let request = Request {
        explain: true,
        ..Request::at("", example.path.as_deref(), &document, &tree, example.prefix.len())
    };
    let (shown, filters) = post_process(&request, text);
    let rules = filters.into_iter().map(|f| f.name.to_owned()).collect();
    match shown {
        Ok(text) => Answer { text, rules, withheld, ..answer },
        Err(reason) => {
            Answer { text: String::new(), silence: Some(reason.code().to_owned()), rules, ..answer }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Example {
        let (prefix, suffix) = ("x = f(".to_owned(), ")\ny = 2\n".to_owned());
        Example { language: "python".to_owned(), prefix, suffix, ..Example::default() }
    }

    fn output(mode: &str, text: &str, confidence: Option<f32>) -> Output {
        Output { mode: mode.to_owned(), text: text.to_owned(), confidence, ..Output::default() }
    }

    #[test]
    fn the_editors_rules_apply_to_the_editors_mode_alone() {
        let shown = |mode: &str, text: &str, least: f32| {
            let Answer { text, silence, rules, withheld, .. } =
                answer(&example(), &output(mode, text, Some(0.5)), least);
            (text, silence, rules, withheld)
        };
        assert_eq!(shown("editor", "a, b)  ", 0.0).0, "a, b", "what the file already has is cut");
        assert!(!shown("editor", "a, b)  ", 0.0).2.is_empty());
        assert_eq!(shown("editor", "  ", 0.0).1.as_deref(), Some("empty"));
        assert_eq!(
            shown("editor", "a", 0.6),
            ("a".to_owned(), None, vec![], true),
            "shown to who asks"
        );
        assert_eq!(shown("editor", "a", 0.4), ("a".to_owned(), None, vec![], false));
        assert_eq!(shown("raw", "a, b)  ", 0.6), ("a, b)  ".to_owned(), None, vec![], false));
        let sure = Output { probability: Some(0.7), ..output("editor", "a", Some(0.1)) };
        assert!(
            !answer(&example(), &sure, 0.6).withheld,
            "the probability counts where there is one"
        );
    }

    #[test]
    fn what_was_never_generated_stays_silent_for_its_reason() {
        let silent =
            Output { silence: Some("file-too-large".to_owned()), ..output("editor", "", None) };
        assert_eq!(answer(&example(), &silent, 0.0).silence.as_deref(), Some("file-too-large"));
    }
}
