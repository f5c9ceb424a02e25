//! Which languages get suggestions.
//!
//! One rule: `show.disabled_languages` wins; else a language is on that `show.languages` lists.
//! There `trained` stands for the languages that the model says it was trained for (a model that
//! does not say: all), `*` for all. What is off is off for every request, also one that is made by
//! hand.

use std::path::Path;

use lacuna_context::Language;

use lacuna_config::{ShowConfig, TRAINED};

const ALL: &str = "*";

/// Why a language is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// `show.disabled_languages` names it.
    Disabled,
    /// `show.languages` does not.
    Unlisted,
    /// The model was not trained for it.
    Untrained,
}

#[derive(Clone, Debug)]
pub struct Languages {
    listed: Vec<String>,
    disabled: Vec<String>,
    /// LSP language ids; `None`: the model does not say, so all.
    trained: Option<Vec<String>>,
}

impl Default for Languages {
    fn default() -> Languages {
        Languages { listed: vec![ALL.to_owned()], disabled: Vec::new(), trained: None }
    }
}

impl Languages {
    /// `trained`: what the model says.
    pub fn new(show: &ShowConfig, trained: Option<&[String]>) -> Languages {
        Languages {
            listed: show.languages.clone(),
            disabled: show.disabled_languages.clone(),
            trained: trained.map(<[String]>::to_vec),
        }
    }

    /// `None`: a document with this language id and name gets suggestions.
    pub fn off(&self, id: &str, path: &str) -> Option<Off> {
        let syntax = match Language::from_lsp_id(id) {
            Language::Text => Language::from_path(Path::new(path)),
            known => known,
        };
        // An id that tells nothing (another editor's) counts by the file's name.
        let names = |entry: &String| {
            let same = entry == id
                || syntax != Language::Text
                    && Language::from_lsp_id(id) == Language::Text
                    && is_of(entry, syntax);
            same || entry == ALL
        };
        if self.disabled.iter().any(names) {
            return Some(Off::Disabled);
        }
        if self.listed.iter().any(names) {
            return None;
        }
        if !self.listed.iter().any(|entry| entry == TRAINED) {
            return Some(Off::Unlisted);
        }
        let Some(trained) = &self.trained else { return None };
        let is_trained = trained.iter().any(|entry| entry == id || is_of(entry, syntax));
        (!is_trained).then_some(Off::Untrained)
    }

    /// The ids that are on; `None`: all, or all but the disabled ones.
    pub fn on(&self) -> Option<Vec<String>> {
        let mut on = Vec::new();
        for entry in &self.listed {
            match entry.as_str() {
                ALL => return None,
                TRAINED => on.extend(self.trained.as_ref()?.iter().cloned()),
                _ => on.push(entry.clone()),
            }
        }
        on.retain(|id| !self.disabled.iter().any(|off| off == id || off == ALL));
        Some(on)
    }
}

/// For people: what the model was trained for and what the settings make of it. Ids are LSP's.
#[derive(Debug, PartialEq, serde::Serialize)]
pub struct Overview {
    /// `None`: the model does not say.
    pub trained: Option<Vec<String>>,
    /// `None`: every language but those of `off`.
    pub on: Option<Vec<String>>,
    /// What the model was trained for and the settings turn off, and what they name so; with `on`,
    /// every other language is off too.
    pub off: Vec<String>,
}

impl Languages {
    pub fn overview(&self) -> Overview {
        let on = self.on();
        let mut off: Vec<String> = self.disabled.clone();
        let is_off = |id: &&String| on.as_ref().is_some_and(|on| !on.contains(id));
        off.extend(
            self.trained
                .iter()
                .flatten()
                .filter(is_off)
                .filter(|id| !self.disabled.contains(id))
                .cloned(),
        );
        Overview { trained: self.trained.clone(), on, off }
    }
}

impl std::fmt::Display for Overview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |ids: &[String]| if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
        match &self.trained {
            Some(trained) => write!(f, "trained for {}", list(trained))?,
            None => f.write_str("the model does not say what it was trained for")?,
        }
        match (&self.on, &self.off[..]) {
            (None, []) => f.write_str("; all are on"),
            (None, off) => write!(f, "; off: {}", list(off)),
            (Some(on), []) if Some(on) == self.trained.as_ref() => {
                f.write_str("; all others are off")
            }
            (Some(on), []) => write!(f, "; on: {}; all others are off", list(on)),
            (Some(on), off) => write!(f, "; on: {}; off: {} and all others", list(on), list(off)),
        }
    }
}

fn is_of(entry: &str, syntax: Language) -> bool {
    syntax != Language::Text && Language::from_lsp_id(entry) == syntax
}

#[cfg(test)]
mod tests {
    use super::*;

    fn languages(listed: &[&str], disabled: &[&str], trained: Option<&[&str]>) -> Languages {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        Languages { listed: owned(listed), disabled: owned(disabled), trained: trained.map(owned) }
    }

    #[test]
    fn what_is_on_and_off_is_told() {
        for (listed, disabled, trained, told) in [
            (
                &["trained"][..],
                &[][..],
                Some(&["python", "go"][..]),
                "trained for python, go; all others are off",
            ),
            (
                &["trained"],
                &["go"],
                Some(&["python", "go"]),
                "trained for python, go; on: python; off: go and all others",
            ),
            (
                &["trained", "lua"],
                &[],
                Some(&["go"]),
                "trained for go; on: go, lua; all others are off",
            ),
            (
                &["go"],
                &[],
                Some(&["python", "go"]),
                "trained for python, go; on: go; off: python and all others",
            ),
            (&["*"], &["lua"], Some(&["python"]), "trained for python; off: lua"),
            (
                &["trained"],
                &["*"],
                Some(&["python"]),
                "trained for python; on: none; off: *, python and all others",
            ),
            (&["trained"], &[], None, "the model does not say what it was trained for; all are on"),
        ] {
            assert_eq!(languages(listed, disabled, trained).overview().to_string(), told);
        }
    }

    #[test]
    fn one_rule_for_what_is_on() {
        use Off::*;
        let some = Some(&["python", "javascript", "cpp"][..]);
        for (listed, disabled, trained, id, path, off) in [
            (&["trained"][..], &[][..], None, "lua", "a.lua", None),
            (&["trained"], &[], some, "python", "a", None),
            (&["trained"], &[], some, "javascriptreact", "a.jsx", None),
            (&["trained"], &[], some, "cuda-cpp", "a.cu", None),
            (&["trained"], &[], some, "", "a.py", None),
            (&["trained"], &[], some, "lua", "a.lua", Some(Untrained)),
            (&["trained"], &[], some, "plaintext", "", Some(Untrained)),
            (&["trained", "lua"], &[], some, "lua", "a.lua", None),
            (&["trained", "lua"], &[], some, "python", "a.py", None),
            (&["lua"], &[], some, "python", "a.py", Some(Unlisted)),
            (&["lua"], &[], None, "python", "a.py", Some(Unlisted)),
            (&["*"], &[], some, "lua", "a.lua", None),
            (&["*"], &["lua"], some, "lua", "a.lua", Some(Disabled)),
            (&["lua"], &["lua"], some, "lua", "a.lua", Some(Disabled)),
            (&["*"], &["*"], some, "python", "a.py", Some(Disabled)),
            (&["trained"], &["py"], some, "python", "a.py", None),
            (&["trained"], &["javascript"], some, "javascriptreact", "a.jsx", None),
            (&[], &[], some, "python", "a.py", Some(Unlisted)),
        ] {
            let found = languages(listed, disabled, trained).off(id, path);
            assert_eq!(found, off, "{listed:?} {disabled:?} {trained:?}: {id} {path}");
        }
        assert_eq!(
            languages(&["trained", "lua"], &["python"], some).on(),
            Some(["javascript", "cpp", "lua"].map(str::to_owned).to_vec())
        );
        assert_eq!(languages(&["trained"], &[], None).on(), None);
        assert_eq!(languages(&["*"], &["lua"], some).on(), None);
    }
}
