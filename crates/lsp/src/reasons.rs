//! What each reason for a silence means and what the user can do about it. docs/protocol.md lists
//! the same codes.

use lacuna_complete::Reason;

use lacuna_serving::languages::Off;

/// Why a document is not completed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// Paused everywhere.
    Paused,
    /// Paused in this document.
    PausedHere,
    /// Paused for this language.
    PausedLanguage,
    /// The language gets no suggestions.
    LanguageOff(Off),
    /// The path matches `context.ignore`, the built-in list, or a line of `.lacunaignore` or
    /// `.ignore`.
    IgnoredPath,
    /// The line looks as if it held a key or a password.
    SecretLine,
    /// The line is too long to be looked through for one.
    LongLine,
    /// A change of the text was missed.
    OutOfStep,
    /// Nothing unasked for some minutes.
    Snoozed,
    /// The last change took something back.
    AfterUndo,
    /// `show.in_comments` and the like.
    InComment,
    InDocComment,
    InString,
}

/// A code with its explanation. Both sentences are shown to people.
#[derive(Debug, PartialEq)]
pub struct Advice {
    pub code: &'static str,
    pub meaning: &'static str,
    pub remedy: &'static str,
}

pub fn quiet_advice(quiet: Quiet) -> &'static Advice {
    match quiet {
        Quiet::Paused => &Advice {
            code: "paused",
            meaning: "Suggestions are paused everywhere.",
            remedy: "Resume them: the menu of the status bar in VS Code, `:Lacuna resume` in Neovim.",
        },
        Quiet::PausedHere => &Advice {
            code: "paused-here",
            meaning: "Suggestions are paused in this file.",
            remedy: "Resume them: the menu of the status bar in VS Code, `:Lacuna resume here` in Neovim.",
        },
        Quiet::PausedLanguage => &Advice {
            code: "paused-language",
            meaning: "Suggestions are paused for this language.",
            remedy: "Resume them: the menu of the status bar in VS Code, `:Lacuna resume language` in Neovim.",
        },
        Quiet::LanguageOff(Off::Disabled) => &Advice {
            code: "language-off",
            meaning: "The setting show.disabled_languages names this file's language.",
            remedy: "Take it out there; `:Lacuna language on` does so in Neovim, \"Turn On for This Language\" in VS Code.",
        },
        Quiet::LanguageOff(Off::Unlisted) => &Advice {
            code: "language-off",
            meaning: "The setting show.languages does not list this file's language.",
            remedy: "Add it there; `:Lacuna language on` does so in Neovim, \"Turn On for This Language\" in VS Code.",
        },
        Quiet::LanguageOff(Off::Untrained) => &Advice {
            code: "language-off",
            meaning: "The model was not trained for this file's language.",
            remedy: "Add the language to show.languages; `:Lacuna language on` does so in Neovim, \"Turn On for This Language\" in VS Code.",
        },
        Quiet::IgnoredPath => &Advice {
            code: "ignored-path",
            meaning: "The file's name is one under which secrets are kept, or context.ignore, .lacunaignore or .ignore names it.",
            remedy: "If it holds no secrets: change these, or set context.ignore_defaults = false in your own configuration file.",
        },
        Quiet::SecretLine => &Advice {
            code: "secret-line",
            meaning: "The line looks as if it held a key or a password.",
            remedy: "Nothing to do: such lines are neither completed nor shown to other files.",
        },
        Quiet::LongLine => &Advice {
            code: "long-line",
            meaning: "The line is longer than 4,096 bytes, too long to be looked through for keys and passwords.",
            remedy: "Break the line; generated and minified files are better named in context.ignore.",
        },
        Quiet::OutOfStep => &Advice {
            code: "out-of-step",
            meaning: "A change of this file did not reach the server as it should, so its text is not known any more.",
            remedy: "Close the file and open it again.",
        },
        Quiet::Snoozed => &Advice {
            code: "snoozed",
            meaning: "Nothing is suggested unasked for some minutes.",
            remedy: "Ask by hand, or end the snooze: the menu of the status bar in VS Code, `:Lacuna snooze 0` in Neovim.",
        },
        Quiet::AfterUndo => &Advice {
            code: "after-undo",
            meaning: "Something was just taken back or deleted.",
            remedy: "Type on, or ask by hand.",
        },
        Quiet::InComment => &Advice {
            code: "in-comment",
            meaning: "The cursor is in a comment, and show.in_comments says not to suggest there.",
            remedy: "Ask by hand if it is \"explicit\", or set show.in_comments = true.",
        },
        Quiet::InDocComment => &Advice {
            code: "in-doc-comment",
            meaning: "The cursor is in documentation, and show.in_doc_comments says not to suggest there.",
            remedy: "Ask by hand if it is \"explicit\", or set show.in_doc_comments = true.",
        },
        Quiet::InString => &Advice {
            code: "in-string",
            meaning: "The cursor is in a string, and show.in_strings says not to suggest there.",
            remedy: "Ask by hand if it is \"explicit\", or set show.in_strings = true.",
        },
    }
}

pub fn advice(reason: Reason) -> &'static Advice {
    match reason {
        Reason::Cancelled => &Advice {
            code: "cancelled",
            meaning: "The text changed while the suggestion was made.",
            remedy: "Pause for a moment; nothing is wrong.",
        },
        Reason::Deadline => &Advice {
            code: "deadline",
            meaning: "The time limit passed before anything worth showing was found.",
            remedy: "Raise latency.deadline_ms, lower context.prompt_tokens, or use a smaller model.",
        },
        Reason::Empty => &Advice {
            code: "empty",
            meaning: "The model thinks that nothing is missing here.",
            remedy: "Type on, or ask again at another place.",
        },
        Reason::BlankFile => &Advice {
            code: "blank-file",
            meaning: "The file is blank: there is nothing yet that a suggestion could go on from.",
            remedy: "Write a first line, or a comment that says what the file shall do.",
        },
        Reason::FinishedFile => &Advice {
            code: "finished-file",
            meaning: "The code above has come to its end and nothing follows: what comes next is not to be guessed.",
            remedy: "Begin the next line; its rest is suggested then.",
        },
        Reason::RepeatsSuffix => &Advice {
            code: "repeats-suffix",
            meaning: "What the model wrote already stands right of the cursor, below or directly above it.",
            remedy: "Nothing to do: the text is there.",
        },
        Reason::Repetition => &Advice {
            code: "repetition",
            meaning: "The model said the same over and over.",
            remedy: "Type on, or ask again at another place.",
        },
        Reason::ParsesWorse => &Advice {
            code: "parses-worse",
            meaning: "The suggestion would have broken the file's syntax.",
            remedy: "Type on; near broken code this is frequent.",
        },
        Reason::LowConfidence => &Advice {
            code: "low-confidence",
            meaning: "Nobody asked, and the suggestion was less likely to be right than the setting show.min_confidence wants.",
            remedy: "Ask by hand to see it, or lower show.min_confidence.",
        },
        Reason::DismissedBefore => &Advice {
            code: "dismissed-before",
            meaning: "What would be suggested here was dismissed before, and the line has not changed since.",
            remedy: "Type on, or ask by hand to see it again.",
        },
        Reason::FileTooLarge => &Advice {
            code: "file-too-large",
            meaning: "The file is larger than the setting context.max_file_bytes.",
            remedy: "Raise context.max_file_bytes.",
        },
        Reason::PromptRefused => &Advice {
            code: "prompt-refused",
            meaning: "The engine would not take the prompt.",
            remedy: "See the log for the cause; `lacuna doctor` checks the model.",
        },
        Reason::OverBudget => &Advice {
            code: "over-budget",
            meaning: "Running requests hold the memory of kv.budget_mb, or one prompt does not fit into it.",
            remedy: "Raise kv.budget_mb or lower context.prompt_tokens.",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_log_and_of_the_document() {
        let document = include_str!("../../../docs/protocol.md");
        use Reason::*;
        let given = [
            Cancelled,
            Deadline,
            Empty,
            BlankFile,
            FinishedFile,
            RepeatsSuffix,
            Repetition,
            ParsesWorse,
            LowConfidence,
            DismissedBefore,
            FileTooLarge,
            PromptRefused,
            OverBudget,
        ];
        for reason in given {
            assert_eq!(advice(reason).code, reason.code());
            assert!(
                document.contains(&format!("| `{}` |", reason.code())),
                "{reason:?} is not in docs/protocol.md"
            );
        }
        let quiets = [
            Quiet::Paused,
            Quiet::PausedHere,
            Quiet::PausedLanguage,
            Quiet::LanguageOff(Off::Disabled),
            Quiet::IgnoredPath,
        ];
        let unasked = [
            Quiet::Snoozed,
            Quiet::AfterUndo,
            Quiet::InComment,
            Quiet::InDocComment,
            Quiet::InString,
        ];
        let offs = [Off::Unlisted, Off::Untrained].map(Quiet::LanguageOff);
        for quiet in quiets
            .into_iter()
            .chain(offs)
            .chain([Quiet::SecretLine, Quiet::LongLine, Quiet::OutOfStep])
            .chain(unasked)
        {
            let code = quiet_advice(quiet).code;
            assert!(
                document.contains(&format!("| `{code}` |")),
                "{code} is not in docs/protocol.md"
            );
        }
    }
}
