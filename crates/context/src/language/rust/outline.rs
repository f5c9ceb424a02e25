//! What Rust's files define and import.

use tree_sitter::Node;

use crate::DefinitionKind::{Field, Function, Method, Type, Variable};
use crate::ImportPath;
use crate::outline::{Inside, Sink, Step, head_before, head_of};

pub(crate) fn visit(node: Node, inside: Inside, sink: &mut Sink) -> Step {
    let name = node.child_by_field_name("name");
    match (node.kind(), name) {
        ("struct_item" | "union_item" | "enum_item" | "trait_item", Some(name)) => {
            let body = node.child_by_field_name("body");
            let is_tuple = body.is_some_and(|b| b.kind() == "ordered_field_declaration_list");
            let head = if is_tuple { node.byte_range() } else { head_of(node) };
            sink.define_of(Type, name, None, head);
            Step::Type(name.byte_range())
        }
        ("type_item" | "associated_type", Some(name)) => {
            sink.define(Type, name, node.byte_range());
            Step::Over
        }
        ("impl_item", _) => match node.child_by_field_name("type").map(plain) {
            Some(of) => Step::Type(of.byte_range()),
            None => Step::Over,
        },
        ("function_item" | "function_signature_item", Some(name)) => {
            let kind = if inside == Inside::Type { Method } else { Function };
            sink.define(kind, name, head_of(node));
            Step::Over
        }
        ("field_declaration", Some(name)) => {
            sink.define(Field, name, node.byte_range());
            Step::Over
        }
        ("enum_variant", Some(name)) => {
            sink.define(Field, name, node.byte_range());
            Step::Over
        }
        ("const_item" | "static_item", Some(name)) => {
            let kind = if inside == Inside::Type { Field } else { Variable };
            let value = node.child_by_field_name("value").filter(|v| v.byte_range().len() > 60);
            sink.define(kind, name, head_before(node, value));
            Step::Over
        }
        ("macro_definition", Some(name)) => {
            sink.define(Function, name, node.start_byte()..name.end_byte());
            Step::Over
        }
        ("mod_item", Some(name)) if sink.text_of(name) == "tests" => Step::Over,
        ("use_declaration", _) => {
            if let Some(argument) = node.child_by_field_name("argument") {
                import(argument, sink);
            }
            Step::Over
        }
        (
            "source_file"
            | "mod_item"
            | "foreign_mod_item"
            | "declaration_list"
            | "field_declaration_list"
            | "enum_variant_list"
            | "ERROR",
            _,
        ) => Step::Into,
        _ => Step::Over,
    }
}

/// The name of a type without what it is given.
fn plain(mut of: Node) -> Node {
    for _ in 0..8 {
        let inner = match of.kind() {
            "generic_type" | "reference_type" | "pointer_type" => of.child_by_field_name("type"),
            "scoped_type_identifier" => of.child_by_field_name("name"),
            _ => None,
        };
        match inner {
            Some(inner) => of = inner,
            None => break,
        }
    }
    of
}

/// Each leaf of a `use` with the path down to it.
fn import(argument: Node, sink: &mut Sink) {
    const MAX: usize = 500;
    let mut stack = vec![(argument, String::new())];
    let mut n = 0;
    while let Some((node, path)) = stack.pop() {
        n += 1;
        if n > MAX {
            return;
        }
        let text = |node: Node| -> String { sink.text_of(node).split_whitespace().collect() };
        let below = |node: Option<Node>| match node.map(text) {
            Some(part) if path.is_empty() => part,
            Some(part) => format!("{path}::{part}"),
            None => path.clone(),
        };
        let field = |name| node.child_by_field_name(name);
        let leaf = match node.kind() {
            "scoped_use_list" => {
                let path = below(field("path"));
                stack.extend(field("list").map(|list| (list, path)));
                None
            }
            "use_list" => {
                let mut parts: Vec<Node> = node.named_children(&mut node.walk()).collect();
                parts.reverse();
                stack.extend(parts.into_iter().map(|part| (part, path.clone())));
                None
            }
            "use_wildcard" => {
                let module = below(node.named_child(0));
                Some(ImportPath { module, names: Vec::new(), all: true })
            }
            "use_as_clause" => Some(taken(&below(field("path")), field("alias").map(text))),
            _ => Some(taken(&below(Some(node)), None)),
        };
        if let Some(leaf) = leaf {
            sink.import(leaf);
        }
    }
}

/// `a::b::C` takes C of a::b; `a::b::self` takes b of a.
fn taken(path: &str, alias: Option<String>) -> ImportPath {
    let path = path.strip_suffix("::self").unwrap_or(path);
    let (module, name) = path.rsplit_once("::").unwrap_or((path, ""));
    let last = if name.is_empty() { module } else { name };
    let local = alias.unwrap_or_else(|| last.to_owned());
    ImportPath { module: module.to_owned(), names: vec![(name.to_owned(), local)], all: false }
}
