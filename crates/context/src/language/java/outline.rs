//! What Java's files define and import.

use std::ops::Range;

use tree_sitter::Node;

use crate::DefinitionKind::{Field, Method, Type};
use crate::ImportPath;
use crate::outline::{Inside, Sink, Step, head_before, head_of};

pub(crate) fn visit(node: Node, inside: Inside, sink: &mut Sink) -> Step {
    let name = node.child_by_field_name("name");
    match (node.kind(), name) {
        (
            "class_declaration"
            | "interface_declaration"
            | "enum_declaration"
            | "record_declaration"
            | "annotation_type_declaration",
            Some(name),
        ) => {
            sink.define(Type, name, without_annotations(node, head_of(node)));
            Step::Type(name.byte_range())
        }
        ("method_declaration" | "constructor_declaration", Some(name)) => {
            sink.define(Method, name, without_annotations(node, head_of(node)));
            Step::Over
        }
        ("annotation_type_element_declaration", Some(name)) => {
            sink.define(Method, name, without_annotations(node, node.byte_range()));
            Step::Over
        }
        ("field_declaration" | "constant_declaration", _) => {
            for declarator in node.children_by_field_name("declarator", &mut node.walk()) {
                let value = declarator.child_by_field_name("value");
                if let Some(name) = declarator.child_by_field_name("name") {
                    let head = head_before(node, value);
                    sink.define(Field, name, without_annotations(node, head));
                }
            }
            Step::Over
        }
        ("enum_constant", Some(name)) => {
            let arguments = node.child_by_field_name("body");
            sink.define(Field, name, head_before(node, arguments));
            Step::Over
        }
        // Of a record: methods are passed over.
        ("formal_parameter", Some(name)) if inside == Inside::Type => {
            sink.define(Field, name, node.byte_range());
            Step::Over
        }
        ("import_declaration", _) => {
            import(node, sink);
            Step::Over
        }
        (
            "program"
            | "class_body"
            | "interface_body"
            | "enum_body"
            | "enum_body_declarations"
            | "annotation_type_body"
            | "formal_parameters"
            | "ERROR",
            _,
        ) => Step::Into,
        _ => Step::Over,
    }
}

/// A head that begins behind what annotates it.
fn without_annotations(node: Node, head: Range<usize>) -> Range<usize> {
    let mut start = head.start;
    for part in node.children(&mut node.walk()) {
        if part.kind() != "modifiers" {
            start = part.start_byte();
            break;
        }
        let said = part
            .children(&mut part.walk())
            .find(|modifier| !modifier.kind().ends_with("annotation"))
            .map(|modifier| modifier.start_byte());
        if let Some(said) = said {
            start = said;
            break;
        }
    }
    start.min(head.end)..head.end
}

/// `import a.b.C;`, `import a.b.*;`, `import static a.b.C.d;`.
fn import(node: Node, sink: &mut Sink) {
    let children: Vec<Node> = node.named_children(&mut node.walk()).collect();
    let all = children.iter().any(|child| child.kind() == "asterisk");
    let Some(path) = children.iter().find(|child| child.kind().ends_with("identifier")) else {
        return;
    };
    let path: String = sink.text_of(*path).split_whitespace().collect();
    if all {
        sink.import(ImportPath { module: path, names: Vec::new(), all });
    } else if let Some((module, name)) = path.rsplit_once('.') {
        let names = vec![(name.to_owned(), name.to_owned())];
        sink.import(ImportPath { module: module.to_owned(), names, all });
    }
}
