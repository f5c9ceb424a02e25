//! Imports of a file, with the names they bring in.

use std::ops::Range;

use lacuna_text::Rope;
use tree_sitter::Node;

use crate::cursor::{floor_char, text};
use crate::tree::Visit;
use crate::{Language, SyntaxTree};

/// One import statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// As written, at most [`MAX_TEXT`] bytes of it.
    pub text: String,
    pub range: Range<usize>,
    /// Names the file can use because of it, in order; `*` for all of something. A C include has
    /// none.
    pub names: Vec<String>,
}

/// Longer imports are cut.
const MAX_TEXT: usize = 2_000;

/// Further imports are not read: nobody writes so many by hand.
const MAX_IMPORTS: usize = 1_000;

impl SyntaxTree {
    /// Imports at file level, also those under `if`, `try` and `#if`, in order. None without a
    /// tree.
    pub fn imports(&self, rope: &Rope) -> Vec<Import> {
        let language = self.language();
        let mut imports = Vec::new();
        self.walk(|node, _, depth| {
            if imports.len() >= MAX_IMPORTS {
                return Visit::Stop;
            }
            if is_import(rope, node) {
                let range = node.byte_range();
                let mut names = Vec::new();
                bound_names(language, rope, node, &mut names);
                imports.push(Import { text: slice(rope, range.clone(), MAX_TEXT), range, names });
                return Visit::Over;
            }
            let container = node.kind().starts_with("preproc_")
                || matches!(
                    node.kind(),
                    "if_statement" | "try_statement" | "block" | "else_clause" | "except_clause"
                )
                || matches!(node.kind(), "linkage_specification" | "declaration_list" | "ERROR");
            if depth == 0 || (container && depth < 8) { Visit::Into } else { Visit::Over }
        });
        imports
    }
}

fn is_import(rope: &Rope, node: Node) -> bool {
    match node.kind() {
        "import_statement"
        | "import_from_statement"
        | "future_import_statement"
        | "use_declaration"
        | "extern_crate_declaration"
        | "import_declaration"
        | "preproc_include"
        | "using_declaration" => true,
        // const x = require("…")
        "lexical_declaration" | "variable_declaration" => require(rope, node).is_some(),
        _ => false,
    }
}

/// The pattern that a `require` call is bound to.
fn require<'a>(rope: &Rope, declaration: Node<'a>) -> Option<Node<'a>> {
    let declarator = declaration.named_child(0)?;
    let value = declarator.child_by_field_name("value")?;
    let function = value.child_by_field_name("function")?;
    (slice(rope, function.byte_range(), 20) == "require")
        .then(|| declarator.child_by_field_name("name"))?
}

/// Collects the names that `import` binds: what each leaf identifier is is told by the nodes above
/// it.
fn bound_names(language: Language, rope: &Rope, import: Node, names: &mut Vec<String>) {
    const MAX_NAMES: usize = 500;
    let mut stack = vec![import];
    while let Some(node) = stack.pop() {
        if names.len() >= MAX_NAMES {
            return;
        }
        let field = |name: &str| node.child_by_field_name(name);
        let mut take = |node: Node| names.push(slice(rope, node.byte_range(), 200));
        // What of this node to look into; nothing: its names are taken.
        let inner: Vec<Node> = match node.kind() {
            "aliased_import"
            | "use_as_clause"
            | "import_specifier"
            | "extern_crate_declaration" => {
                if let Some(name) = field("alias").or_else(|| field("name")) {
                    take(name);
                }
                Vec::new()
            }
            "wildcard_import" | "use_wildcard" | "asterisk" => {
                names.push("*".to_string());
                Vec::new()
            }
            "import_statement" | "import_from_statement" | "future_import_statement"
                if language == Language::Python =>
            {
                let mut cursor = node.walk();
                let mut children: Vec<Node> =
                    node.children_by_field_name("name", &mut cursor).collect();
                children.extend(
                    node.named_children(&mut cursor).filter(|c| c.kind() == "wildcard_import"),
                );
                children
            }
            // import a.b binds a; from x import y binds y.
            "dotted_name" => {
                if let Some(first) = node.named_child(0) {
                    take(first);
                }
                Vec::new()
            }
            "scoped_identifier" => {
                if language == Language::Java
                    && import
                        .child(import.child_count().saturating_sub(2))
                        .is_some_and(|c| c.kind() == "asterisk")
                {
                    Vec::new()
                } else {
                    field("name").into_iter().collect()
                }
            }
            "use_declaration" => field("argument").into_iter().collect(),
            "scoped_use_list" => field("list").into_iter().collect(),
            "import_spec" => {
                let path =
                    field("path").map(|p| slice(rope, p.byte_range(), 200)).unwrap_or_default();
                let last =
                    path.trim_matches(['"', '`']).rsplit('/').next().unwrap_or("").to_string();
                names.push(field("name").map_or(last, |n| slice(rope, n.byte_range(), 200)));
                Vec::new()
            }
            "lexical_declaration" | "variable_declaration" => {
                require(rope, node).into_iter().collect()
            }
            "pair_pattern" => field("value").into_iter().collect(),
            "string" | "preproc_include" => Vec::new(),
            "identifier" | "shorthand_property_identifier_pattern" | "self" | "crate" => {
                take(node);
                Vec::new()
            }
            _ => node.named_children(&mut node.walk()).collect(),
        };
        stack.extend(inner.into_iter().rev());
    }
}

fn slice(rope: &Rope, range: Range<usize>, max: usize) -> String {
    let start = floor_char(rope, range.start);
    text(rope, start, floor_char(rope, range.end.min(start + max))).trim_end().to_string()
}
