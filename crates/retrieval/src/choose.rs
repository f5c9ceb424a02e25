//! [`choose`]: the definitions of other files that a place needs, as excerpts for its prompt.
//!
//! Names that are used near the cursor lead to definitions ([`crate::scope`]); the nearer, the
//! rarer and the less guessed, the better. Where nothing near leads out of the file, nothing is
//! chosen. Excerpts are one a file, in an order that depends on what they say alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use lacuna_context::{
    Definition, DefinitionKind, Excerpt, Language, LexKind, Lexer, Outline, Rope, SyntaxTree,
    outline,
};

use crate::index::{Index, Symbol};
use crate::modules::From;
use crate::scope::Scope;
use crate::{paths, show};

/// A cursor in a file of the workspace.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The workspace's folder that the file lies in.
    pub root: usize,
    /// Relative to it.
    pub path: &'a str,
    pub rope: &'a Rope,
    /// Of the rope's text.
    pub tree: &'a SyntaxTree,
    /// Byte offset.
    pub cursor: usize,
}

/// An excerpt and why it was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    pub excerpt: Excerpt,
    /// A few words for each definition in it, the best reason first.
    pub reasons: Vec<String>,
}

/// Lines around the cursor whose names are looked at.
const LINES_BEFORE: usize = 40;
const LINES_AFTER: usize = 15;
/// No more of a text is looked at.
const MAX_BYTES: usize = 24 << 10;
/// Larger files have no outline of their own.
const MAX_OWN_BYTES: usize = 1 << 20;
/// Lines above the cursor in which it is looked for what a variable is.
const MAX_LINES_UP: usize = 300;
/// Members of a type that may be shown, and of the one right before the cursor.
const MEMBERS: usize = 12;
const MEMBERS_AT_CURSOR: usize = 40;
/// What is worth less is not shown.
const LEAST: f32 = 0.35;

/// The definitions of other files that `place` needs, of at most `max_bytes` in all, a line break
/// for each excerpt included. `form` makes the excerpt of a path and a text
/// (`lacuna_prompt::excerpts::excerpt`).
pub fn choose(
    index: &Index,
    place: &Place<'_>,
    max_bytes: usize,
    form: impl Fn(&str, &str) -> String,
) -> Vec<Chosen> {
    if index.n_symbols() == 0 || max_bytes == 0 {
        return Vec::new();
    }
    let candidates = Search::new(index, place).candidates();
    show::excerpts(index, candidates, max_bytes, form)
}

/// What speaks for a symbol.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub symbol: Symbol,
    pub score: f32,
    pub reason: String,
}

/// A name that is used near the cursor.
#[derive(Clone, Copy, Debug)]
struct Use<'a> {
    name: &'a str,
    /// Lines from the cursor.
    distance: usize,
    /// The name before its `.`, `->` or `::`.
    receiver: Option<&'a str>,
}

impl Use<'_> {
    fn weight(&self) -> f32 {
        1.0 / (1.0 + self.distance as f32 / 6.0)
    }
}

struct Search<'a> {
    index: &'a Index,
    place: &'a Place<'a>,
    text: String,
    own: Outline,
    found: HashMap<Symbol, (f32, String)>,
}

impl<'a> Search<'a> {
    fn new(index: &'a Index, place: &'a Place<'a>) -> Search<'a> {
        let text = place.rope.to_string();
        let own = if text.len() <= MAX_OWN_BYTES {
            outline(place.tree, &text)
        } else {
            Outline::default()
        };
        Search { index, place, text, own, found: HashMap::new() }
    }

    fn language(&self) -> Language {
        self.place.tree.language()
    }

    fn candidates(mut self) -> Vec<Candidate> {
        let Place { root, path, cursor, .. } = *self.place;
        let language = self.language();
        let text = std::mem::take(&mut self.text);
        let cursor = text.floor_char_boundary(cursor);
        let from = From { root, path, language };
        let scope = Scope::new(self.index, from, self.own.imports.clone());
        let (before, after) = text.split_at(cursor);
        let uses = uses(language, before, after);
        let own: HashSet<String> = self.own.definitions.iter().map(|d| d.name.clone()).collect();

        let mut seen = HashSet::new();
        for used in &uses {
            if !seen.insert((used.name, used.receiver)) {
                continue;
            }
            match used.receiver {
                None if own.contains(used.name) => {}
                None => self.free(&scope, used),
                Some(receiver) => self.member(&scope, before, used, receiver),
            }
        }
        self.at_cursor(&scope, before);
        self.unused_imports(&scope, &text);
        self.bases(&scope, &text, cursor);
        self.subject();

        let index = self.index;
        let is_own = |symbol: &Symbol| {
            index.file(symbol.file).is_none_or(|f| f.root == root && &*f.path == path)
        };
        let mut found: Vec<Candidate> = self
            .found
            .into_iter()
            .filter(|(symbol, (score, _))| *score >= LEAST && !is_own(symbol))
            .map(|(symbol, (score, reason))| Candidate { symbol, score, reason })
            .collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.symbol.cmp(&b.symbol)));
        found
    }

    fn note(&mut self, symbol: Symbol, score: f32, reason: impl FnOnce() -> String) {
        let known = self.found.entry(symbol).or_insert_with(|| (0.0, String::new()));
        if score > known.0 {
            *known = (score, reason());
        }
    }

    /// A type, with the members of it that come first.
    fn note_type(&mut self, of: Symbol, score: f32, n_members: usize, begun: &str, reason: &str) {
        let index = self.index;
        let name = index.name(of).to_owned();
        self.note(of, score, || reason.to_owned());
        let mut members: Vec<Symbol> =
            index.members(&name).filter(|member| is_beside(index, *member, of)).collect();
        // What makes one first, then what is meant for others.
        let rank = |member: &Symbol| {
            let called = index.name(*member);
            let makes = matches!(called, "__init__" | "constructor" | "new") || called == name;
            let hidden =
                called.starts_with(['_', '#']) || index.head(*member).starts_with("private");
            let begins = !begun.is_empty() && called.starts_with(begun);
            (!begins, !makes, hidden, *member)
        };
        members.sort_by_key(rank);
        members.dedup_by(|a, b| index.name(*a) == index.name(*b));
        for (i, member) in members.into_iter().take(n_members).enumerate() {
            let called = index.name(member);
            if called.starts_with("__") && called != "__init__" {
                continue;
            }
            let score = score * 0.8 * 0.97_f32.powi(i as i32);
            self.note(member, score, || format!("member of {name}"));
        }
    }

    /// A name that is used as it is.
    fn free(&mut self, scope: &Scope<'_>, used: &Use<'_>) {
        let (by, symbols) = scope.resolve(used.name);
        let rarity = 1.0 / (1.0 + (symbols.len() as f32).ln().max(0.0));
        let score = 2.0 * by.weight() * rarity * used.weight();
        let reason = format!("{} is used near", used.name);
        for symbol in symbols.into_iter().take(3) {
            match self.index.kind(symbol) {
                DefinitionKind::Type => self.note_type(symbol, score, MEMBERS, "", &reason),
                _ => self.note(symbol, score, || reason.clone()),
            }
        }
    }

    /// `receiver.name`: the member of what the receiver is.
    fn member(&mut self, scope: &Scope<'_>, before: &str, used: &Use<'_>, receiver: &str) {
        let index = self.index;
        let score = 1.6 * used.weight();
        let reason = || format!("{receiver}.{} is used near", used.name);
        let of_module = scope.module(receiver);
        let in_module: Vec<Symbol> =
            index.named(used.name).filter(|symbol| of_module.contains(&symbol.file)).collect();
        for symbol in in_module.into_iter().take(2) {
            self.note(symbol, score, reason);
        }
        for of in self.types_of(scope, before, receiver) {
            let name = index.name(of).to_owned();
            let member = index
                .members(&name)
                .find(|member| index.name(*member) == used.name && is_beside(index, *member, of));
            if let Some(member) = member {
                self.note(member, score, reason);
            }
            self.note(of, score * 0.5, || format!("{receiver} is one"));
        }
    }

    /// What stands right before the cursor: `receiver.` and perhaps the beginning of a name.
    fn at_cursor(&mut self, scope: &Scope<'_>, before: &str) {
        let language = self.language();
        let Some((receiver, begun)) = receiver_at_end(language, before) else { return };
        let of_module = scope.module(receiver);
        for file in of_module.iter().take(4) {
            let free = self.index.of_file(*file).filter(|s| self.index.owner(*s).is_none());
            let shown: Vec<Symbol> = free.take(MEMBERS_AT_CURSOR).collect();
            for symbol in shown {
                let begins = if self.index.name(symbol).starts_with(begun) { 4.0 } else { 2.0 };
                self.note(symbol, begins, || format!("in {receiver}, before the cursor"));
            }
        }
        for of in self.types_of(scope, before, receiver) {
            let reason = format!("what {receiver} is, before the cursor");
            self.note_type(of, 5.0, MEMBERS_AT_CURSOR, begun, &reason);
        }
    }

    /// Types of the workspace that a receiver may be of.
    fn types_of(&self, scope: &Scope<'_>, before: &str, receiver: &str) -> Vec<Symbol> {
        let index = self.index;
        let is_type = |symbol: &Symbol| index.kind(*symbol) == DefinitionKind::Type;
        if matches!(receiver, "self" | "this" | "cls" | "super" | "Self") {
            return self.base_types(scope, before, before.len());
        }
        let direct: Vec<Symbol> =
            scope.resolve(receiver).1.into_iter().filter(is_type).take(2).collect();
        if !direct.is_empty() {
            return direct;
        }
        let language = self.language();
        for line in before.rsplit('\n').take(MAX_LINES_UP) {
            for words in binding_words(language, line, receiver) {
                let types = self.types_named(scope, &words);
                if !types.is_empty() {
                    return types;
                }
            }
        }
        Vec::new()
    }

    /// Types among some words, or what functions among them return.
    fn types_named(&self, scope: &Scope<'_>, words: &[&str]) -> Vec<Symbol> {
        let index = self.index;
        for word in words {
            let (_, symbols) = scope.resolve(word);
            for symbol in symbols.into_iter().take(2) {
                match index.kind(symbol) {
                    DefinitionKind::Type => return vec![symbol],
                    DefinitionKind::Function | DefinitionKind::Method => {
                        let returned = self.returned(symbol);
                        if !returned.is_empty() {
                            return returned;
                        }
                    }
                    _ => {}
                }
            }
        }
        Vec::new()
    }

    /// Types that a function's signature says it returns, seen from its own file.
    fn returned(&self, function: Symbol) -> Vec<Symbol> {
        let index = self.index;
        let Some(file) = index.file(function.file) else { return Vec::new() };
        let from = From { root: file.root, path: &file.path, language: file.symbols.language };
        let head = index.head(function);
        let name = index.name(function);
        let behind = head.rfind(')').map_or("", |at| &head[at..]);
        let ahead = head.find(name).map_or("", |at| &head[..at]);
        let scope = Scope::new(index, from, index.imports(function.file));
        for word in words(from.language, behind).into_iter().chain(words(from.language, ahead)) {
            let here = index.named(word).find(|symbol| {
                symbol.file == function.file && index.kind(*symbol) == DefinitionKind::Type
            });
            let found = here.or_else(|| {
                let (_, symbols) = scope.resolve(word);
                symbols.into_iter().find(|s| index.kind(*s) == DefinitionKind::Type)
            });
            if let Some(found) = found {
                return vec![found];
            }
        }
        Vec::new()
    }

    /// What is imported and stands nowhere else: it is wanted somewhere, perhaps here.
    fn unused_imports(&mut self, scope: &Scope<'_>, text: &str) {
        let language = self.language();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        if text.len() > MAX_OWN_BYTES {
            return;
        }
        for word in words(language, text) {
            *counts.entry(word).or_default() += 1;
        }
        for (local, symbols) in scope.imported() {
            if counts.get(local).copied().unwrap_or(0) > 1 {
                continue;
            }
            let reason = format!("{local} is imported and not used yet");
            for symbol in symbols.into_iter().take(2) {
                match self.index.kind(symbol) {
                    DefinitionKind::Type => self.note_type(symbol, 1.8, MEMBERS, "", &reason),
                    _ => self.note(symbol, 1.8, || reason.clone()),
                }
            }
        }
    }

    /// What the class around the cursor extends.
    fn bases(&mut self, scope: &Scope<'_>, text: &str, cursor: usize) {
        for of in self.base_types(scope, text, cursor) {
            self.note_type(of, 1.2, MEMBERS, "", "the class around the cursor extends it");
        }
    }

    fn base_types(&self, scope: &Scope<'_>, text: &str, cursor: usize) -> Vec<Symbol> {
        let around = self.place.tree.scope(self.place.rope, cursor.min(text.len())).path;
        let is_class = |name: &&String| {
            self.own.definitions.iter().any(|d| d.kind == DefinitionKind::Type && d.name == **name)
        };
        let Some(class) = around.iter().rev().find(is_class) else { return Vec::new() };
        let head = |d: &&Definition| d.kind == DefinitionKind::Type && d.name == *class;
        let Some(own) = self.own.definitions.iter().find(head) else { return Vec::new() };
        let mut found = Vec::new();
        for word in words(self.language(), &own.head) {
            if word != class {
                let (_, symbols) = scope.resolve(word);
                let is_type = |s: &Symbol| self.index.kind(*s) == DefinitionKind::Type;
                found.extend(symbols.into_iter().filter(is_type).take(1));
            }
        }
        found.truncate(3);
        found
    }

    /// What a test tests, by the names of the files.
    fn subject(&mut self) {
        let stem = paths::last(paths::module(self.place.path));
        let subject =
            ["test_", "tests_"].iter().find_map(|mark| stem.strip_prefix(mark)).or_else(|| {
                ["_test", "_tests", "Test", "Tests"].iter().find_map(|m| stem.strip_suffix(m))
            });
        // `a.test.ts` has the stem a.
        let name = paths::last(self.place.path);
        let subject = subject
            .or_else(|| (name.contains(".test.") || name.contains(".spec.")).then_some(stem));
        let Some(subject) = subject.filter(|subject| subject.len() >= 2) else { return };
        let index = self.index;
        let mut files: Vec<_> =
            index.modules(subject).filter(|id| index.path(*id) != self.place.path).collect();
        files.sort_by_key(|id| usize::MAX - paths::shared(index.path(*id), self.place.path));
        let Some(file) = files.first() else { return };
        let free: Vec<Symbol> = index
            .of_file(*file)
            .filter(|s| index.owner(*s).is_none() && !index.name(*s).starts_with('_'))
            .take(MEMBERS)
            .collect();
        for (i, symbol) in free.into_iter().enumerate() {
            self.note(symbol, 0.7 * 0.97_f32.powi(i as i32), || "the test's subject".to_owned());
        }
    }
}

/// Whether a member is of this type, not of another with its name: in its file, or in its folder
/// where a language spreads types over files.
fn is_beside(index: &Index, member: Symbol, of: Symbol) -> bool {
    let folder = |symbol: Symbol| paths::folder(index.path(symbol.file));
    member.file == of.file
        || matches!(index.language(of.file), Language::Go | Language::Rust | Language::Cpp)
            && folder(member) == folder(of)
}

/// Names in the lines around a cursor, the nearest first.
fn uses<'a>(language: Language, before: &'a str, after: &'a str) -> Vec<Use<'a>> {
    let start = nth_line_back(before, LINES_BEFORE);
    let start = before.ceil_char_boundary(start.max(before.len().saturating_sub(MAX_BYTES)));
    let end = after.match_indices('\n').nth(LINES_AFTER).map_or(after.len(), |(at, _)| at);
    let end = after.floor_char_boundary(end.min(MAX_BYTES));
    let mut all = Vec::new();
    let before = &before[start..];
    names(language, before, &mut all, |at| before[at..].matches('\n').count());
    let after = &after[..end];
    // A word that the cursor cuts is not one.
    let word = after.len() - after.trim_start_matches(|c| language.is_word_char(c)).len();
    let after = &after[word..];
    names(language, after, &mut all, |at| after[..at].matches('\n').count());
    all.sort_by_key(|used| used.distance);
    all
}

fn nth_line_back(text: &str, n: usize) -> usize {
    text.rmatch_indices('\n').nth(n).map_or(0, |(at, _)| at + 1)
}

fn names<'a>(
    language: Language,
    text: &'a str,
    all: &mut Vec<Use<'a>>,
    distance: impl Fn(usize) -> usize,
) {
    let mut last: Option<(&str, usize)> = None;
    for lexeme in Lexer::new(language, text) {
        if lexeme.kind != LexKind::Word {
            continue;
        }
        let (start, end) = (lexeme.range.start, lexeme.range.end);
        let name = &text[lexeme.range];
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let is_joined =
            |end: usize| matches!(text[end..start].trim(), "." | "->" | "::" | "?." | "!.");
        let receiver = last.filter(|(_, end)| is_joined(*end)).map(|(name, _)| name);
        // A member of what a call or an index gives: of what, is not known.
        let is_of_other = receiver.is_none()
            && [".", "->", "::"].iter().any(|mark| text[..start].trim_end().ends_with(mark));
        if !is_of_other {
            all.push(Use { name, distance: distance(start), receiver });
        }
        last = Some((name, end));
    }
}

fn words(language: Language, text: &str) -> Vec<&str> {
    Lexer::new(language, text)
        .filter(|lexeme| lexeme.kind == LexKind::Word)
        .map(|lexeme| &text[lexeme.range])
        .filter(|word| !word.starts_with(|c: char| c.is_ascii_digit()))
        .collect()
}

/// `receiver.begun` at the end of a text.
fn receiver_at_end(language: Language, before: &str) -> Option<(&str, &str)> {
    let line = &before[nth_line_back(before, 0)..];
    let name_at = line.trim_end_matches(|c| language.is_word_char(c)).len();
    let (left, begun) = line.split_at(name_at);
    let left = ["->", "::", "?.", "!.", "."].iter().find_map(|mark| left.strip_suffix(mark))?;
    let receiver_at = left.trim_end_matches(|c| language.is_word_char(c)).len();
    let receiver = &left[receiver_at..];
    (!receiver.is_empty()).then_some((receiver, begun))
}

/// Words that say what a name is, where a line binds it: behind it up to a comma or bracket
/// (`name: Type`, `name = Type(…)`, `name *Type`), and the one before it (`Type name`).
fn binding_words<'a>(language: Language, line: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    const MAX_LINE: usize = 500;
    let mut all = Vec::new();
    if line.len() > MAX_LINE {
        return all;
    }
    for (at, _) in line.match_indices(name).take(8) {
        let (left, right) = (&line[..at], &line[at + name.len()..]);
        let is_whole = !left.ends_with(|c| language.is_word_char(c))
            && !right.starts_with(|c| language.is_word_char(c));
        if !is_whole || right.trim_start().starts_with(['.', '(', ')', ',']) && !is_typed(language)
        {
            continue;
        }
        let mut told = Vec::new();
        let behind = right.trim_start();
        let binds = behind.starts_with([':', '=', '*', '&', '?', '[']) || language == Language::Go;
        if binds && !behind.starts_with(['.', '(']) {
            let end = behind.find([',', ';', ')', '{']).unwrap_or(behind.len());
            told.extend(words(language, &behind[..end]));
        }
        if is_typed(language) {
            let before = left.trim_end_matches([' ', '*', '&', '>', '<']);
            told.extend(words(language, before).last());
        }
        if !told.is_empty() {
            all.push(told);
        }
    }
    all
}

/// Whether a declaration begins with its type.
fn is_typed(language: Language) -> bool {
    matches!(language, Language::Java | Language::C | Language::Cpp)
}

/// Candidates by file, as [`show`] wants them.
pub(crate) type ByFile<T> = BTreeMap<u32, T>;
