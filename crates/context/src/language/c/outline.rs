//! What files in C and C++ define and include.

use tree_sitter::Node;

use crate::DefinitionKind::{Field, Function, Method, Type, Variable};
use crate::ImportPath;
use crate::outline::{Inside, Sink, Step, head_before, head_of};

pub(crate) fn visit(node: Node, inside: Inside, sink: &mut Sink) -> Step {
    match node.kind() {
        "struct_specifier" | "class_specifier" | "union_specifier" | "enum_specifier" => {
            specifier(node, sink)
        }
        "function_definition" => {
            declared(node, node, inside, sink);
            Step::Over
        }
        "declaration" | "field_declaration" => declaration(node, inside, sink),
        "type_definition" => {
            for name in node.children_by_field_name("declarator", &mut node.walk()) {
                let of = node.child_by_field_name("type");
                let body = of.and_then(|of| of.child_by_field_name("body"));
                let Some(name) = innermost(name) else { continue };
                match body {
                    Some(body) => {
                        let head = sink.slice(node.start_byte()..body.start_byte()).trim();
                        let head = format!("{head} {}", sink.text_of(name));
                        let doc = crate::outline::doc_above(sink.text, node.start_byte());
                        sink.define_with(Type, name, None, &head, doc);
                    }
                    None => sink.define_of(Type, name, None, node.byte_range()),
                }
            }
            Step::Into
        }
        "alias_declaration" => {
            if let Some(name) = node.child_by_field_name("name") {
                sink.define(Type, name, node.byte_range());
            }
            Step::Over
        }
        "enumerator" => {
            if let Some(name) = node.child_by_field_name("name") {
                sink.define(Field, name, node.byte_range());
            }
            Step::Over
        }
        "preproc_def" | "preproc_function_def" => {
            let value = node.child_by_field_name("value");
            // Without a value it guards an include.
            if let (Some(name), Some(value)) = (node.child_by_field_name("name"), value) {
                let long = Some(value).filter(|value| value.byte_range().len() > 60);
                let kind = if node.kind() == "preproc_def" { Variable } else { Function };
                sink.define_of(kind, name, None, head_before(node, long));
            }
            Step::Over
        }
        "preproc_include" => {
            if let Some(path) = node.child_by_field_name("path") {
                let module = sink.text_of(path).trim_matches(['"', '<', '>', ' ']).to_owned();
                sink.import(ImportPath { module, names: Vec::new(), all: true });
            }
            Step::Over
        }
        "translation_unit"
        | "linkage_specification"
        | "declaration_list"
        | "field_declaration_list"
        | "enumerator_list"
        | "namespace_definition"
        | "template_declaration"
        | "preproc_if"
        | "preproc_ifdef"
        | "preproc_else"
        | "preproc_elif"
        | "ERROR" => Step::Into,
        _ => Step::Over,
    }
}

/// A type with a body; one that is only named defines nothing.
fn specifier(node: Node, sink: &mut Sink) -> Step {
    if node.child_by_field_name("body").is_none() {
        return Step::Over;
    }
    let parent = node.parent().filter(|parent| parent.kind() == "type_definition");
    let alias = parent.and_then(|p| p.child_by_field_name("declarator")).and_then(innermost);
    match (node.child_by_field_name("name"), alias) {
        // The alias is what is used; it has been told.
        (_, Some(alias)) => Step::Type(alias.byte_range()),
        (Some(name), None) => {
            sink.define_of(Type, name, None, head_of(node));
            Step::Type(name.byte_range())
        }
        (None, None) => Step::Into,
    }
}

fn declaration(node: Node, inside: Inside, sink: &mut Sink) -> Step {
    let declarators: Vec<Node> =
        node.children_by_field_name("declarator", &mut node.walk()).collect();
    for declarator in declarators {
        declared(node, declarator, inside, sink);
    }
    // A type may be defined in passing.
    Step::Into
}

/// What a declarator declares: a function where one of its parts is one, else a variable or field.
fn declared(node: Node, declarator: Node, inside: Inside, sink: &mut Sink) {
    let is_function = {
        let mut at = Some(declarator);
        let mut found = false;
        for _ in 0..8 {
            found |= at.is_some_and(|n| n.kind() == "function_declarator");
            at = at.and_then(|n| n.child_by_field_name("declarator"));
        }
        found
    };
    let Some(name) = innermost(declarator) else { return };
    // `void A::b()` is a method of A.
    let (mut name, mut owner) = (name, sink.owner.clone());
    while name.kind() == "qualified_identifier" {
        let scope = name.child_by_field_name("scope").map(|scope| sink.text_of(scope));
        owner = scope.and_then(|scope| scope.split('<').next()).map(str::to_owned);
        match name.child_by_field_name("name") {
            Some(inner) => name = inner,
            None => return,
        }
    }
    let kind = match (is_function, inside == Inside::Type || owner.is_some()) {
        (true, true) => Method,
        (true, false) => Function,
        (false, true) => Field,
        (false, false) => Variable,
    };
    let value = declarator
        .child_by_field_name("value")
        .or_else(|| node.child_by_field_name("default_value"));
    let head = if value.is_some() { head_before(node, value) } else { head_of(node) };
    sink.define_of(kind, name, owner, head);
}

/// The name in a declarator.
fn innermost(mut declarator: Node) -> Option<Node> {
    for _ in 0..12 {
        if declarator.kind().ends_with("identifier") || declarator.kind().ends_with("_name") {
            return Some(declarator);
        }
        declarator = declarator
            .child_by_field_name("declarator")
            .or_else(|| declarator.named_child(0).filter(|n| n.kind().ends_with("declarator")))?;
    }
    None
}
