//! Where the cursor is: the classes and functions around it.
//!
//! The tree answers where it is whole. Code that is being typed often has no whole tree around the
//! cursor; then the lines above with ever smaller indentation answer, by the words they start with.

use std::ops::Range;

use lacuna_text::Rope;
use tree_sitter::Node;

use crate::cursor::{MAX_LINE, floor_char, text, width};
use crate::excerpt::head_text;
use crate::{Language, SyntaxTree};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScopeKind {
    FileLevel,
    /// Module or namespace.
    Module,
    /// Class, structure, trait, interface, `impl` block, enumeration.
    Class,
    Function,
    /// Body of a control structure that is not in any item.
    Block,
}

/// The innermost item around a place, and its way down from the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub kind: ScopeKind,
    /// Name of the item; `None` for the file, for blocks and for anonymous functions.
    pub name: Option<String>,
    /// Names of the enclosing items, outer to inner, the item itself included.
    pub path: Vec<String>,
    /// Bytes of the item. Where only indentation told it: from its first line up to the place asked
    /// for.
    pub range: Range<usize>,
    /// Columns of blanks before the item's first line; 0 for the file.
    pub indent: usize,
}

/// Lines looked at where there is no tree to ask.
const MAX_LINES_UP: usize = 5_000;

/// Items deeper than this are not told.
const MAX_ITEMS: usize = 64;

struct Item {
    kind: ScopeKind,
    name: Option<String>,
    range: Range<usize>,
}

impl SyntaxTree {
    /// The scope of the place `byte` (clamped to the text) of `rope`, which must be the text of
    /// this tree.
    pub fn scope(&self, rope: &Rope, byte: usize) -> Scope {
        let mut items = self.items(rope, byte);
        let path = items.iter().filter_map(|i| i.name.clone()).collect();
        match items.pop() {
            Some(item) => {
                let indent = width(&line_text(rope, item.range.start));
                Scope { kind: item.kind, name: item.name, path, range: item.range, indent }
            }
            None => Scope {
                kind: ScopeKind::FileLevel,
                name: None,
                path,
                range: 0..rope.len_bytes(),
                indent: 0,
            },
        }
    }

    /// Heads (first line up to the body) of the items around `byte`, outer to inner, with the bytes
    /// they are in.
    pub(crate) fn heads(&self, rope: &Rope, byte: usize) -> Vec<(Range<usize>, String)> {
        self.items(rope, byte)
            .into_iter()
            .filter(|i| i.kind != ScopeKind::Block)
            .map(|item| {
                let line = rope.byte_to_line(item.range.start);
                let line_end = if line + 1 < rope.len_lines() {
                    rope.line_to_byte(line + 1)
                } else {
                    rope.len_bytes()
                };
                let range = item.range.start..line_end;
                (range.clone(), head_text(rope, range))
            })
            .collect()
    }

    /// Items around `byte`, outer to inner.
    fn items(&self, rope: &Rope, byte: usize) -> Vec<Item> {
        let language = self.language();
        let cursor = floor_char(rope, byte);
        if language == Language::Text {
            return Vec::new();
        }
        // Blanks before the cursor belong to what stands before them: the end of an indented block
        // is where its last statement ends, not where the cursor waits for the next one.
        let line_start = rope.line_to_byte(rope.byte_to_line(cursor));
        let before = text(rope, line_start.max(cursor.saturating_sub(MAX_LINE)), cursor);
        let blank = before.trim().is_empty();
        let mut items = Vec::new();
        let mut broken = !self.is_present();
        let anchor = if language.is_indented() { last_code_byte(rope, cursor) } else { cursor };
        self.descend(anchor, |node| {
            broken |= node.is_error();
            let inside =
                node.start_byte() < cursor && (cursor < node.end_byte() || language.is_indented());
            if let Some(kind) = item_kind(node.kind())
                && inside
                && items.len() < MAX_ITEMS
            {
                items.push(Item { kind, name: name(rope, node), range: node.byte_range() });
            }
        });
        if broken || items.is_empty() {
            return by_indentation(language, rope, cursor);
        }
        if blank && language.is_indented() {
            items.retain(|i| width(&line_text(rope, i.range.start)) < width(&before));
        }
        items
    }
}

/// Offset of the last byte before `cursor` that is not blank (looking back a few thousand at most).
fn last_code_byte(rope: &Rope, cursor: usize) -> usize {
    let mut bytes = rope.bytes_at(cursor);
    for back in 1..=MAX_LINE {
        match bytes.prev() {
            Some(byte) if !byte.is_ascii_whitespace() => return cursor - back,
            Some(_) => {}
            None => return 0,
        }
    }
    cursor
}

fn line_text(rope: &Rope, byte: usize) -> String {
    let line = rope.byte_to_line(byte.min(rope.len_bytes()));
    let start = rope.line_to_byte(line);
    let end =
        if line + 1 < rope.len_lines() { rope.line_to_byte(line + 1) } else { rope.len_bytes() };
    text(rope, start, end.min(start + MAX_LINE))
}

fn item_kind(kind: &str) -> Option<ScopeKind> {
    Some(match kind {
        "function_definition"
        | "function_item"
        | "function_declaration"
        | "method_definition"
        | "method_declaration"
        | "constructor_declaration"
        | "generator_function_declaration"
        | "function_expression"
        | "arrow_function"
        | "func_literal"
        | "function_signature_item" => ScopeKind::Function,
        "class_definition"
        | "class_declaration"
        | "class"
        | "abstract_class_declaration"
        | "impl_item"
        | "struct_item"
        | "enum_item"
        | "union_item"
        | "trait_item"
        | "interface_declaration"
        | "enum_declaration"
        | "struct_specifier"
        | "class_specifier"
        | "enum_specifier"
        | "record_declaration"
        | "type_spec" => ScopeKind::Class,
        "mod_item" | "namespace_definition" | "internal_module" | "module_declaration" => {
            ScopeKind::Module
        }
        _ => return None,
    })
}

/// The name of an item, at most 200 bytes.
fn name(rope: &Rope, node: Node) -> Option<String> {
    let field = if node.kind() == "impl_item" { "type" } else { "name" };
    let mut named = node.child_by_field_name(field);
    if named.is_none() {
        // C: function_definition → declarator → … → identifier. An anonymous JavaScript function
        // has the name of the variable it is the value of.
        let mut declarator = node.child_by_field_name("declarator");
        for _ in 0..10 {
            match declarator.and_then(|d| d.child_by_field_name("declarator")) {
                Some(inner) => declarator = Some(inner),
                None => break,
            }
        }
        let variable = matches!(
            node.kind(),
            "arrow_function" | "function_expression" | "func_literal" | "class"
        );
        let parent = || {
            node.parent().filter(|p| {
                matches!(p.kind(), "variable_declarator" | "pair" | "public_field_definition")
            })
        };
        named = match (declarator, variable) {
            (None, true) => parent().and_then(|p| {
                p.child_by_field_name("name").or_else(|| p.child_by_field_name("key"))
            }),
            (declarator, _) => declarator,
        };
    }
    let range = named?.byte_range();
    let end = range.end.min(range.start + 200).min(rope.len_bytes());
    Some(text(rope, range.start, end))
}

/// Items by the lines above whose indentation is ever smaller.
fn by_indentation(language: Language, rope: &Rope, cursor: usize) -> Vec<Item> {
    let line = rope.byte_to_line(cursor);
    let line_start = rope.line_to_byte(line);
    let own = text(rope, line_start, cursor.min(line_start + MAX_LINE));
    let mut limit = if own.trim().is_empty() { own.len().max(width(&own)) } else { width(&own) };
    let mut items = Vec::new();
    for above in (0..line).rev().take(MAX_LINES_UP) {
        if limit == 0 || items.len() >= MAX_ITEMS {
            break;
        }
        let text = line_text(rope, rope.line_to_byte(above));
        let trimmed = text.trim();
        // Closing lines and labels stand where their block began but do not open it.
        if trimmed.is_empty()
            || trimmed.starts_with(['}', ')', ']', '#', '/', '*', '@'])
            || width(&text) >= limit
        {
            continue;
        }
        limit = width(&text);
        if let Some((kind, name)) = item_of_line(language, trimmed) {
            items.push(Item { kind, name, range: rope.line_to_byte(above)..cursor });
        }
    }
    items.reverse();
    items
}

/// What a line begins, by its words: `pub async fn name(…) {` is the function `name`.
pub(crate) fn item_of_line(language: Language, line: &str) -> Option<(ScopeKind, Option<String>)> {
    let mut words =
        line.split(|c: char| !language.is_word_char(c)).filter(|w| !w.is_empty()).take(8);
    while let Some(word) = words.next() {
        let kind = match word {
            "def" | "fn" | "function" | "func" => ScopeKind::Function,
            "class" | "struct" | "enum" | "trait" | "impl" | "interface" | "record" | "type" => {
                ScopeKind::Class
            }
            "mod" | "namespace" => ScopeKind::Module,
            "if" | "for" | "while" | "return" | "else" | "match" | "switch" | "let" | "const"
            | "var" | "with" | "try" | "catch" | "do" => {
                return None;
            }
            _ => continue,
        };
        return Some((kind, words.next().map(short)));
    }
    // A method without a keyword: `async name(…) {`, `static int name(…) {`.
    let head = line.strip_suffix('{')?.split('(').next().filter(|h| h.len() < line.len() - 1)?;
    head.trim_end()
        .rsplit(|c: char| !language.is_word_char(c))
        .next()
        .filter(|n| !n.is_empty())
        .map(|n| (ScopeKind::Function, Some(short(n))))
}

fn short(name: &str) -> String {
    name.chars().take(100).collect()
}
