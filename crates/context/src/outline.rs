//! [`outline`]: what a file defines, as one would tell it to a colleague (kind, owner, signature,
//! first line of the doc), and which files it imports from.
//!
//! Owns: the walk over the tree and the form of signatures. Which nodes define and import is told
//! by the languages' folders. Bodies of functions are not looked into, but for the fields that they
//! give to an object; nothing of them is ever in an outline.

use std::ops::Range;

use tree_sitter::Node;

use crate::language::{c, go, java, javascript, python, rust};
use crate::tree::Visit;
use crate::{Language, SyntaxTree};

/// Definitions and imports of a file beyond are not read: nobody writes so many by hand.
const MAX_DEFINITIONS: usize = 20_000;
const MAX_IMPORTS: usize = 2_000;
/// Bytes of a signature, of a doc's line, of a name.
const MAX_HEAD: usize = 200;
const MAX_DOC: usize = 100;
const MAX_NAME: usize = 100;
/// Nodes that are looked at: a tree of error nodes can be as large as its text.
const MAX_NODES: usize = 2_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefinitionKind {
    /// Class, structure, interface, trait, enumeration, alias.
    Type,
    Function,
    /// Function of a type.
    Method,
    /// Field, property or constant of a type, variant of an enumeration.
    Field,
    /// Variable or constant of a file.
    Variable,
}

/// Something that other files can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub kind: DefinitionKind,
    pub name: String,
    /// The type that it belongs to.
    pub owner: Option<String>,
    /// The signature in one line, at most 200 bytes of it; no body.
    pub head: String,
    /// First line of its doc; empty where there is none.
    pub doc: String,
    /// Where it stands, from 0.
    pub line: u32,
}

/// A file or package that is imported, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportPath {
    /// As the language writes it: `..a.b`, `./a/b`, `crate::a`, `java.util`, `net/http`, `a/b.h`.
    pub module: String,
    /// What is taken of it and how it is called here; an empty name is the module itself.
    pub names: Vec<(String, String)>,
    /// Everything is taken.
    pub all: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    pub definitions: Vec<Definition>,
    pub imports: Vec<ImportPath>,
}

/// The outline of `text`, whose tree is `tree`; empty without one.
pub fn outline(tree: &SyntaxTree, text: &str) -> Outline {
    let mut outline = Outline::default();
    let Some(visit) = rules(tree.language()) else { return outline };
    // What is open around a node: its depth, what it is, the type's name.
    let mut open: Vec<(usize, Inside, Option<String>)> = Vec::new();
    let mut n = 0;
    tree.walk(|node, _, depth| {
        n += 1;
        if n > MAX_NODES || outline.definitions.len() >= MAX_DEFINITIONS {
            return Visit::Stop;
        }
        open.truncate(open.partition_point(|(at, ..)| *at < depth));
        let (inside, owner) =
            open.last().map_or((Inside::File, None), |(_, inside, owner)| (*inside, owner.clone()));
        let mut sink = Sink { text, owner, outline: &mut outline };
        match visit(node, inside, &mut sink) {
            Step::Into => Visit::Into,
            Step::Over => Visit::Over,
            Step::Type(name) => {
                let name = sink.name(name);
                open.push((depth, Inside::Type, Some(name)));
                Visit::Into
            }
            Step::Body => {
                let owner = sink.owner.take();
                open.push((depth, Inside::Body, owner));
                Visit::Into
            }
        }
    });
    outline
}

type VisitFn = fn(Node<'_>, Inside, &mut Sink<'_>) -> Step;

fn rules(language: Language) -> Option<VisitFn> {
    Some(match language {
        Language::Python => python::outline::visit,
        Language::JavaScript | Language::TypeScript | Language::Tsx => javascript::outline::visit,
        Language::Java => java::outline::visit,
        Language::Rust => rust::outline::visit,
        Language::Go => go::outline::visit,
        Language::C | Language::Cpp => c::outline::visit,
        Language::Text => return None,
    })
}

/// What a node stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    File,
    Type,
    /// The body of a method.
    Body,
}

/// How the walk goes on behind a node.
pub(crate) enum Step {
    Into,
    Over,
    /// Into the type of that name.
    Type(Range<usize>),
    /// Into the body of a method, for the fields that it sets.
    Body,
}

/// Where definitions and imports go to.
pub(crate) struct Sink<'a> {
    pub text: &'a str,
    /// The type around the node.
    pub owner: Option<String>,
    outline: &'a mut Outline,
}

impl<'a> Sink<'a> {
    pub fn slice(&self, range: Range<usize>) -> &'a str {
        self.text.get(range).unwrap_or_default()
    }

    pub fn text_of(&self, node: Node) -> &'a str {
        self.slice(node.byte_range())
    }

    fn name(&self, range: Range<usize>) -> String {
        cut(self.slice(range).trim(), MAX_NAME).to_owned()
    }

    /// A definition of the type around it, or of the file.
    pub fn define(&mut self, kind: DefinitionKind, name: Node, head: Range<usize>) {
        let owner = self.owner.clone();
        self.define_of(kind, name, owner, head);
    }

    /// A definition of `owner`. A field is told once.
    pub fn define_of(
        &mut self,
        kind: DefinitionKind,
        name: Node,
        owner: Option<String>,
        head: Range<usize>,
    ) {
        let doc = doc_above(self.text, head.start);
        self.define_with(kind, name, owner, self.slice(head), doc);
    }

    /// As [`Sink::define_of`], with what is told of it.
    pub fn define_with(
        &mut self,
        kind: DefinitionKind,
        name: Node,
        owner: Option<String>,
        head: &str,
        doc: String,
    ) {
        let line = name.start_position().row as u32;
        let name = self.name(name.byte_range());
        let is_known = kind == DefinitionKind::Field
            && self
                .outline
                .definitions
                .iter()
                .rev()
                .take(200)
                .any(|other| other.kind == kind && other.name == name && other.owner == owner);
        if name.is_empty() || is_known {
            return;
        }
        let head = signature(head);
        self.outline.definitions.push(Definition { kind, name, owner, head, doc, line });
    }

    pub fn import(&mut self, import: ImportPath) {
        if self.outline.imports.len() < MAX_IMPORTS && !import.module.is_empty() {
            self.outline.imports.push(import);
        }
    }
}

/// From the start of a node to its body, or to its end.
pub(crate) fn head_of(node: Node) -> Range<usize> {
    let end = node.child_by_field_name("body").map_or(node.end_byte(), |body| body.start_byte());
    node.start_byte()..end.max(node.start_byte())
}

/// From the start of a node to its value, or to its end.
pub(crate) fn head_before(node: Node, value: Option<Node>) -> Range<usize> {
    let end = value.map_or(node.end_byte(), |value| value.start_byte());
    node.start_byte()..end.max(node.start_byte())
}

/// A head in one line: blanks joined, what opens a body taken away, long ones cut.
fn signature(head: &str) -> String {
    let mut line = String::new();
    // What is far behind is cut anyway.
    for word in cut(head, 4 * MAX_HEAD).split_whitespace() {
        let joins = line.is_empty()
            || line.ends_with(['(', '[', '<'])
            || word.starts_with([')', ']', ',', ';']);
        if !joins {
            line.push(' ');
        }
        line.push_str(word);
    }
    let line = line.trim_end_matches([' ', '{', ':', '=', ';', ',']).replace(",)", ")");
    cut(&line, MAX_HEAD).trim_end().to_owned()
}

/// First line of the comment right above byte `at`, attributes and annotations between them aside.
pub(crate) fn doc_above(text: &str, at: usize) -> String {
    const MAX_LINES: usize = 40;
    let above = text.get(..at).unwrap_or_default();
    let Some(end) = above.rfind('\n') else { return String::new() };
    // What stands on the line of something else has no doc of its own.
    if above[end..].contains(['{', ';']) {
        return String::new();
    }
    let mut doc = "";
    for line in above[..end].rsplit('\n').take(MAX_LINES) {
        let line = line.trim();
        if line.starts_with("#[") || line.starts_with('@') {
            continue;
        }
        let is_comment = ["//", "/*", "*"].iter().any(|mark| line.starts_with(mark));
        if !is_comment {
            break;
        }
        let said = line.trim_matches(|c: char| matches!(c, '/' | '*' | '!' | ' ' | '\t'));
        if !said.is_empty() {
            doc = said;
        }
        if line.starts_with("/*") {
            break;
        }
    }
    cut(doc, MAX_DOC).to_owned()
}

/// First line of a doc string.
pub(crate) fn doc_line(text: &str) -> String {
    let inner = text.trim_start_matches(char::is_alphabetic).trim_matches(['"', '\'']);
    let line = inner.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    cut(line, MAX_DOC).to_owned()
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
