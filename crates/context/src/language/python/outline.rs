//! What Python's files define and import.

use tree_sitter::Node;

use crate::DefinitionKind::{Field, Function, Method, Type, Variable};
use crate::ImportPath;
use crate::outline::{Inside, Sink, Step, doc_line, head_of};

pub(crate) fn visit(node: Node, inside: Inside, sink: &mut Sink) -> Step {
    match node.kind() {
        "class_definition" | "function_definition" => definition(node, inside, sink),
        "expression_statement" => {
            if let Some(statement) = node.named_child(0).filter(|n| n.kind() == "assignment") {
                assignment(statement, inside, sink);
            }
            Step::Over
        }
        "import_statement" | "import_from_statement" if inside == Inside::File => {
            import(node, sink);
            Step::Over
        }
        "module"
        | "block"
        | "if_statement"
        | "else_clause"
        | "elif_clause"
        | "try_statement"
        | "except_clause"
        | "finally_clause"
        | "with_statement"
        | "for_statement"
        | "while_statement"
        | "decorated_definition"
        | "ERROR" => Step::Into,
        _ => Step::Over,
    }
}

fn definition(node: Node, inside: Inside, sink: &mut Sink) -> Step {
    let Some(name) = node.child_by_field_name("name").filter(|_| inside != Inside::Body) else {
        return Step::Over;
    };
    let is_class = node.kind() == "class_definition";
    let mut head = head_of(node);
    // Whether it is called or read is told by a decorator.
    if let Some(parent) = node.parent().filter(|p| p.kind() == "decorated_definition") {
        let told = ["property", "cached_property", "classmethod", "staticmethod"];
        let decorator = parent.named_children(&mut parent.walk()).find(|child| {
            child.kind() == "decorator" && told.contains(&sink.text_of(*child).trim_matches('@'))
        });
        head.start = decorator.map_or(head.start, |decorator| decorator.start_byte());
    }
    let doc = node
        .child_by_field_name("body")
        .and_then(|body| body.named_child(0))
        .filter(|first| first.kind() == "expression_statement")
        .and_then(|first| first.named_child(0))
        .filter(|first| first.kind() == "string")
        .map_or_else(String::new, |string| doc_line(sink.text_of(string)));
    let kind = match (is_class, inside) {
        (true, _) => Type,
        (false, Inside::Type) => Method,
        (false, _) => Function,
    };
    let owner = sink.owner.clone();
    let head = sink.slice(head);
    sink.define_with(kind, name, owner, head, doc);
    match kind {
        Type => Step::Type(name.byte_range()),
        Method => Step::Body,
        _ => Step::Over,
    }
}

fn assignment(node: Node, inside: Inside, sink: &mut Sink) {
    let Some(left) = node.child_by_field_name("left") else { return };
    let first_line = sink.text_of(node).lines().next().unwrap_or_default();
    let head = node.start_byte()..node.start_byte() + first_line.len();
    match (left.kind(), inside) {
        ("identifier", Inside::File) => sink.define(Variable, left, head),
        ("identifier", Inside::Type) => sink.define(Field, left, head),
        ("attribute", Inside::Body) => {
            let field = |name| left.child_by_field_name(name);
            if let (Some(object), Some(name)) = (field("object"), field("attribute"))
                && sink.text_of(object) == "self"
            {
                sink.define(Field, name, head);
            }
        }
        _ => {}
    }
}

fn import(node: Node, sink: &mut Sink) {
    let module = node.child_by_field_name("module_name");
    let mut names = Vec::new();
    for name in node.children_by_field_name("name", &mut node.walk()) {
        let field = |field| name.child_by_field_name(field).map(|n| sink.text_of(n).to_owned());
        let taken = field("name").unwrap_or_else(|| sink.text_of(name).to_owned());
        names.push((taken, field("alias")));
    }
    match module {
        Some(module) => {
            let all = node
                .named_children(&mut node.walk())
                .any(|child| child.kind() == "wildcard_import");
            let names = names.into_iter().map(|(name, alias)| {
                let local = alias.unwrap_or_else(|| name.clone());
                (name, local)
            });
            let module = sink.text_of(module).split_whitespace().collect();
            sink.import(ImportPath { module, names: names.collect(), all });
        }
        // `import a.b` binds a, by which b can be reached.
        None => {
            for (module, alias) in names {
                let local = alias.unwrap_or_else(|| module.clone());
                let names = vec![(String::new(), local)];
                sink.import(ImportPath { module, names, all: false });
            }
        }
    }
}
