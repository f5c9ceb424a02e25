//! What Go's files define and import.

use tree_sitter::Node;

use crate::DefinitionKind::{Field, Function, Method, Type, Variable};
use crate::ImportPath;
use crate::outline::{Inside, Sink, Step, head_before, head_of};

pub(crate) fn visit(node: Node, _: Inside, sink: &mut Sink) -> Step {
    let name = node.child_by_field_name("name");
    match (node.kind(), name) {
        ("type_spec" | "type_alias", Some(name)) => {
            type_spec(node, name, sink);
            Step::Type(name.byte_range())
        }
        ("function_declaration", Some(name)) => {
            sink.define(Function, name, head_of(node));
            Step::Over
        }
        ("method_declaration", Some(name)) => {
            let owner = node.child_by_field_name("receiver").and_then(|list| receiver(list, sink));
            sink.define_of(Method, name, owner, head_of(node));
            Step::Over
        }
        ("method_elem", Some(name)) => {
            sink.define(Method, name, node.byte_range());
            Step::Over
        }
        ("field_declaration", _) => {
            let end = node.child_by_field_name("tag");
            let names: Vec<Node> = node.children_by_field_name("name", &mut node.walk()).collect();
            for name in names {
                sink.define(Field, name, head_before(node, end));
            }
            Step::Over
        }
        ("const_spec" | "var_spec", _) => {
            let names: Vec<Node> = node.children_by_field_name("name", &mut node.walk()).collect();
            let first_line = sink.text_of(node).lines().next().unwrap_or_default();
            let head = node.start_byte()..node.start_byte() + first_line.len();
            for name in names.into_iter().filter(|name| name.is_named()) {
                sink.define(Variable, name, head.clone());
            }
            Step::Over
        }
        ("import_spec", name) => {
            import(node, name, sink);
            Step::Over
        }
        (
            "source_file"
            | "type_declaration"
            | "struct_type"
            | "interface_type"
            | "field_declaration_list"
            | "const_declaration"
            | "var_declaration"
            | "var_spec_list"
            | "import_declaration"
            | "import_spec_list"
            | "ERROR",
            _,
        ) => Step::Into,
        _ => Step::Over,
    }
}

fn type_spec(node: Node, name: Node, sink: &mut Sink) {
    let of = node.child_by_field_name("type");
    let is_open = of.is_some_and(|of| matches!(of.kind(), "struct_type" | "interface_type"));
    let whole = sink.text_of(node);
    let head = if is_open { whole.split('{').next().unwrap_or(whole) } else { whole };
    let doc = crate::outline::doc_above(sink.text, node.start_byte());
    sink.define_with(Type, name, None, &format!("type {head}"), doc);
}

/// The type of `(c *Circle)`.
fn receiver(list: Node, sink: &Sink) -> Option<String> {
    let mut of = list.named_child(0)?.child_by_field_name("type")?;
    for _ in 0..4 {
        of = match of.kind() {
            "pointer_type" => of.named_child(0)?,
            "generic_type" => of.child_by_field_name("type")?,
            _ => break,
        };
    }
    Some(sink.text_of(of).to_owned())
}

fn import(node: Node, name: Option<Node>, sink: &mut Sink) {
    let Some(path) = node.child_by_field_name("path") else { return };
    let module = sink.text_of(path).trim_matches(['"', '`']).to_owned();
    let last = module.rsplit('/').next().unwrap_or_default().to_owned();
    let local = name.map_or(last, |name| sink.text_of(name).to_owned());
    let all = local == ".";
    let names = if all { Vec::new() } else { vec![(String::new(), local)] };
    sink.import(ImportPath { module, names, all });
}
