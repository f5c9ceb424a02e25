//! What files in JavaScript and TypeScript define and import.

use tree_sitter::Node;

use crate::DefinitionKind::{Field, Function, Method, Type, Variable};
use crate::ImportPath;
use crate::outline::{Inside, Sink, Step, head_before, head_of};

pub(crate) fn visit(node: Node, inside: Inside, sink: &mut Sink) -> Step {
    let name = node.child_by_field_name("name");
    match (node.kind(), name) {
        (
            "class_declaration"
            | "abstract_class_declaration"
            | "interface_declaration"
            | "enum_declaration",
            Some(name),
        ) if inside != Inside::Body => {
            sink.define_of(Type, name, None, head_of(node));
            Step::Type(name.byte_range())
        }
        ("type_alias_declaration", Some(name)) if inside != Inside::Body => {
            let value = node.child_by_field_name("value").filter(|v| v.kind() == "object_type");
            sink.define_of(Type, name, None, head_before(node, value));
            Step::Type(name.byte_range())
        }
        (
            "function_declaration" | "generator_function_declaration" | "function_signature",
            Some(name),
        ) => {
            if inside == Inside::File {
                sink.define(Function, name, head_of(node));
            }
            Step::Over
        }
        ("method_definition" | "method_signature" | "abstract_method_signature", Some(name)) => {
            if inside == Inside::Type {
                sink.define(Method, name, head_of(node));
            }
            // Objects get their fields there.
            let is_constructor = inside == Inside::Type && sink.text_of(name) == "constructor";
            if is_constructor { Step::Body } else { Step::Over }
        }
        ("public_field_definition" | "field_definition" | "property_signature", name) => {
            let name = name.or_else(|| node.child_by_field_name("property"));
            if let Some(name) = name.filter(|_| inside == Inside::Type) {
                let value = node.child_by_field_name("value");
                sink.define(Field, name, head_before(node, value));
            }
            Step::Over
        }
        ("enum_assignment", Some(name)) => {
            sink.define(Field, name, node.byte_range());
            Step::Over
        }
        ("property_identifier", _) => {
            if node.parent().is_some_and(|parent| parent.kind() == "enum_body") {
                sink.define(Field, node, node.byte_range());
            }
            Step::Over
        }
        ("required_parameter", _) => {
            parameter(node, sink);
            Step::Over
        }
        ("variable_declarator", Some(name)) if inside == Inside::File => variable(node, name, sink),
        ("expression_statement", _) => {
            let assignment = node.named_child(0);
            if assignment.is_some_and(|child| child.kind() == "internal_module") {
                return Step::Into;
            }
            if let Some(assignment) = assignment.filter(|n| n.kind() == "assignment_expression") {
                assigned(assignment, inside, sink);
            }
            Step::Over
        }
        ("import_statement", _) => {
            import(node, sink);
            Step::Over
        }
        ("export_statement", _) => match node.child_by_field_name("source") {
            Some(source) => {
                export(node, source, sink);
                Step::Over
            }
            None => Step::Into,
        },
        (
            "lexical_declaration"
            | "variable_declaration"
            | "ambient_declaration"
            | "internal_module"
            | "module",
            _,
        ) if inside == Inside::File => Step::Into,
        ("statement_block" | "formal_parameters", _) => Step::Into,
        (
            "program" | "class" | "class_body" | "interface_body" | "object_type" | "enum_body"
            | "intersection_type" | "ERROR",
            _,
        ) => Step::Into,
        _ => Step::Over,
    }
}

/// `constructor(private name: string)` makes a field of a parameter.
fn parameter(node: Node, sink: &mut Sink) {
    let is_field = node
        .named_children(&mut node.walk())
        .any(|child| matches!(child.kind(), "accessibility_modifier" | "readonly"));
    let pattern = node.child_by_field_name("pattern").filter(|p| p.kind() == "identifier");
    if let Some(pattern) = pattern.filter(|_| is_field) {
        sink.define(Field, pattern, head_before(node, node.child_by_field_name("value")));
    }
}

fn variable(node: Node, name: Node, sink: &mut Sink) -> Step {
    let value = node.child_by_field_name("value");
    if let Some(module) = value.and_then(|value| required(value, sink)) {
        let mut names = Vec::new();
        match name.kind() {
            "identifier" => names.push((String::new(), sink.text_of(name).to_owned())),
            _ => taken(name, sink, &mut names),
        }
        sink.import(ImportPath { module, names, all: false });
        return Step::Over;
    }
    if name.kind() != "identifier" {
        return Step::Over;
    }
    let declaration = node.parent().filter(|p| p.kind().ends_with("_declaration")).unwrap_or(node);
    let kind = value.map_or("", |value| value.kind());
    match (kind, value) {
        ("arrow_function" | "function_expression" | "generator_function", Some(value)) => {
            let end = head_of(value).end.max(declaration.start_byte());
            sink.define(Function, name, declaration.start_byte()..end);
            Step::Over
        }
        ("class", Some(value)) => {
            let end = head_of(value).end.max(declaration.start_byte());
            sink.define(Type, name, declaration.start_byte()..end);
            Step::Type(name.byte_range())
        }
        _ => {
            // Its type and its value where they are short.
            let whole = sink.text_of(declaration).lines().next().unwrap_or_default();
            let start = declaration.start_byte();
            sink.define(Variable, name, start..start + whole.len());
            Step::Over
        }
    }
}

/// The module of `require("…")`.
fn required(value: Node, sink: &Sink) -> Option<String> {
    let function = value.child_by_field_name("function")?;
    let argument = value.child_by_field_name("arguments")?.named_child(0)?;
    (sink.text_of(function) == "require" && argument.kind() == "string")
        .then(|| unquoted(argument, sink))
}

fn unquoted(string: Node, sink: &Sink) -> String {
    sink.text_of(string).trim_matches(['"', '\'', '`']).to_owned()
}

/// Names of `{ a, b as c, d: e }`.
fn taken(node: Node, sink: &Sink, names: &mut Vec<(String, String)>) {
    for child in node.named_children(&mut node.walk()) {
        let field = |name| child.child_by_field_name(name).map(|n| sink.text_of(n).to_owned());
        match child.kind() {
            "import_specifier" | "export_specifier" => {
                let name = field("name").unwrap_or_default();
                let local = field("alias").unwrap_or_else(|| name.clone());
                names.push((name, local));
            }
            "pair_pattern" => {
                names.push((field("key").unwrap_or_default(), field("value").unwrap_or_default()))
            }
            "shorthand_property_identifier_pattern" => {
                let name = sink.text_of(child).to_owned();
                names.push((name.clone(), name));
            }
            _ => {}
        }
    }
}

fn import(node: Node, sink: &mut Sink) {
    let Some(source) = node.child_by_field_name("source") else { return };
    let mut names = Vec::new();
    let clause = node.named_child(0).filter(|child| child.kind() == "import_clause");
    for part in clause
        .iter()
        .flat_map(|clause| clause.named_children(&mut clause.walk()).collect::<Vec<_>>())
    {
        match part.kind() {
            "identifier" => names.push(("default".to_owned(), sink.text_of(part).to_owned())),
            "namespace_import" => {
                let local = part.named_child(0).map_or("", |name| sink.text_of(name));
                names.push((String::new(), local.to_owned()));
            }
            _ => taken(part, sink, &mut names),
        }
    }
    let module = unquoted(source, sink);
    sink.import(ImportPath { module, names, all: false });
}

/// `export { a } from "…"`, `export * from "…"`.
fn export(node: Node, source: Node, sink: &mut Sink) {
    let mut names = Vec::new();
    let mut all = true;
    for child in node.named_children(&mut node.walk()) {
        match child.kind() {
            "export_clause" => {
                all = false;
                taken(child, sink, &mut names);
            }
            "namespace_export" => all = false,
            _ => {}
        }
    }
    let module = unquoted(source, sink);
    sink.import(ImportPath { module, names, all });
}

/// `this.a = …` in a constructor, `exports.a = …`, `A.prototype.b = …`.
fn assigned(node: Node, inside: Inside, sink: &mut Sink) {
    let Some(left) = node.child_by_field_name("left") else { return };
    let field = |name| left.child_by_field_name(name);
    let (Some(object), Some(name)) = (field("object"), field("property")) else { return };
    let right = node.child_by_field_name("right");
    let is_function =
        right.is_some_and(|r| matches!(r.kind(), "arrow_function" | "function_expression"));
    let first_line = sink.text_of(node).lines().next().unwrap_or_default();
    let mut head = node.start_byte()..node.start_byte() + first_line.len();
    if let Some(right) = right.filter(|_| is_function) {
        head.end = head_of(right).end.max(head.start);
    }
    match (inside, sink.text_of(object)) {
        (Inside::Body, "this") => sink.define(Field, name, head),
        (Inside::File, "exports" | "module.exports") => {
            sink.define(if is_function { Function } else { Variable }, name, head)
        }
        (Inside::File, object) => {
            if let Some(owner) = object.strip_suffix(".prototype") {
                sink.define_of(Method, name, Some(owner.to_owned()), head);
            }
        }
        _ => {}
    }
}
