//! [`spans`]: the nodes of a text that are worth taking out as the middle of a training or evaluation example.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::tree::Visit;
use crate::{Language, SyntaxTree};

/// More spans than this are not given out.
pub const MAX_SPANS: usize = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpanKind {
    Call,
    /// Arguments of a call, brackets included.
    ArgumentList,
    /// Parameters of a definition, brackets included.
    Parameters,
    /// Statements of a function, class or control structure, braces included where there are any.
    Block,
    /// What `if`, `while` … test.
    Condition,
    /// Block of a loop.
    LoopBody,
    Import,
    Type,
    Expression,
    Statement,
    Function,
    Class,
    /// Character literals and template strings too.
    String,
    Comment,
    /// List, dictionary, object, array and structure literals.
    Collection,
    /// A `match` arm, `case` or `default` section.
    Case,
    Identifier,
}

impl SpanKind {
    pub const ALL: [SpanKind; 17] = [
        SpanKind::Call,
        SpanKind::ArgumentList,
        SpanKind::Parameters,
        SpanKind::Block,
        SpanKind::Condition,
        SpanKind::LoopBody,
        SpanKind::Import,
        SpanKind::Type,
        SpanKind::Expression,
        SpanKind::Statement,
        SpanKind::Function,
        SpanKind::Class,
        SpanKind::String,
        SpanKind::Comment,
        SpanKind::Collection,
        SpanKind::Case,
        SpanKind::Identifier,
    ];

    /// Lower-case name with underscores, unique; the inverse is [`SpanKind::from_name`].
    pub fn name(self) -> &'static str {
        match self {
            SpanKind::Call => "call",
            SpanKind::ArgumentList => "argument_list",
            SpanKind::Parameters => "parameters",
            SpanKind::Block => "block",
            SpanKind::Condition => "condition",
            SpanKind::LoopBody => "loop_body",
            SpanKind::Import => "import",
            SpanKind::Type => "type",
            SpanKind::Expression => "expression",
            SpanKind::Statement => "statement",
            SpanKind::Function => "function",
            SpanKind::Class => "class",
            SpanKind::String => "string",
            SpanKind::Comment => "comment",
            SpanKind::Collection => "collection",
            SpanKind::Case => "case",
            SpanKind::Identifier => "identifier",
        }
    }

    pub fn from_name(name: &str) -> Option<SpanKind> {
        SpanKind::ALL.into_iter().find(|k| k.name() == name)
    }
}

/// One node: what it is and where. Never empty; ranges nest or are disjoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpan {
    pub kind: SpanKind,
    pub range: Range<usize>,
}

/// Spans of `text` in preorder, at most [`MAX_SPANS`]; none for a text that has no tree. Nodes with
/// errors inside are left out, the good ones inside them are not. A node that is two things at once
/// (the body of a loop is a block) is given out once, as the more special one.
pub fn spans(language: Language, text: &str) -> Vec<NodeSpan> {
    SyntaxTree::parse_str(language, text).spans()
}

impl SyntaxTree {
    /// As [`spans`], of a tree that is there already.
    pub fn spans(&self) -> Vec<NodeSpan> {
        let kinds = kinds(self.language());
        let mut found = Vec::new();
        // Loops that the walk is inside of: depth of the loop node.
        let mut loops: Vec<usize> = Vec::new();
        self.walk(|node, cursor, depth| {
            while loops.last().is_some_and(|d| *d >= depth) {
                loops.pop();
            }
            let facts = kinds.get(node.kind_id() as usize).copied().unwrap_or_default();
            let in_loop = loops.last().is_some_and(|d| *d + 1 == depth);
            if facts.is_loop {
                loops.push(depth);
            }
            let kind = match cursor.field_name() {
                Some("condition") => Some(SpanKind::Condition),
                Some("body") if in_loop => Some(SpanKind::LoopBody),
                Some("type" | "return_type") if node.is_named() => Some(SpanKind::Type),
                _ => facts.span,
            };
            if let Some(kind) = kind
                && node.is_named()
                && !node.has_error()
                && !node.byte_range().is_empty()
            {
                found.push(NodeSpan { kind, range: node.byte_range() });
            }
            if found.len() < MAX_SPANS { Visit::Into } else { Visit::Stop }
        });
        found
    }
}

#[derive(Clone, Copy, Default)]
struct KindFacts {
    span: Option<SpanKind>,
    is_loop: bool,
}

/// Facts of every node kind of a grammar, by kind id; made once for each language.
fn kinds(language: Language) -> &'static [KindFacts] {
    static TABLES: OnceLock<Mutex<HashMap<Language, &'static [KindFacts]>>> = OnceLock::new();
    let mut tables =
        TABLES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    tables.entry(language).or_insert_with(|| {
        let Some(grammar) = language.grammar() else { return &[] };
        let facts = (0..grammar.node_kind_count()).map(|id| {
            let id = u16::try_from(id).unwrap_or(u16::MAX);
            match grammar.node_kind_for_id(id) {
                Some(name) if grammar.node_kind_is_named(id) => {
                    KindFacts { span: span_kind(name), is_loop: is_loop(name) }
                }
                _ => KindFacts::default(),
            }
        });
        // One small table a language for the life of the process.
        Box::leak(facts.collect::<Vec<_>>().into_boxed_slice())
    })
}

fn is_loop(kind: &str) -> bool {
    kind.starts_with("for_")
        || kind.starts_with("while_")
        || kind.starts_with("loop_")
        || kind.starts_with("do_")
        || kind == "enhanced_for_statement"
}

/// The grammars agree on names well enough for one table; names are exact unless a suffix says it
/// all.
fn span_kind(kind: &str) -> Option<SpanKind> {
    Some(match kind {
        "call"
        | "call_expression"
        | "method_invocation"
        | "new_expression"
        | "object_creation_expression"
        | "macro_invocation" => SpanKind::Call,
        "argument_list" | "arguments" | "token_tree" => SpanKind::ArgumentList,
        "parameters" | "formal_parameters" | "parameter_list" | "closure_parameters" => {
            SpanKind::Parameters
        }
        "block"
        | "statement_block"
        | "compound_statement"
        | "class_body"
        | "declaration_list"
        | "field_declaration_list"
        | "constructor_body"
        | "interface_body"
        | "enum_body"
        | "switch_body"
        | "match_block"
        | "switch_block" => SpanKind::Block,
        "import_statement"
        | "import_from_statement"
        | "future_import_statement"
        | "use_declaration"
        | "import_declaration"
        | "preproc_include"
        | "using_declaration"
        | "extern_crate_declaration" => SpanKind::Import,
        "function_definition"
        | "function_item"
        | "function_declaration"
        | "method_definition"
        | "method_declaration"
        | "constructor_declaration"
        | "arrow_function"
        | "function_expression"
        | "generator_function_declaration"
        | "func_literal"
        | "closure_expression"
        | "lambda"
        | "lambda_expression"
        | "decorated_definition" => SpanKind::Function,
        "class_definition"
        | "class_declaration"
        | "class"
        | "impl_item"
        | "struct_item"
        | "enum_item"
        | "trait_item"
        | "interface_declaration"
        | "enum_declaration"
        | "struct_specifier"
        | "class_specifier"
        | "enum_specifier"
        | "record_declaration"
        | "type_spec"
        | "namespace_definition"
        | "mod_item" => SpanKind::Class,
        "string"
        | "string_literal"
        | "raw_string_literal"
        | "interpreted_string_literal"
        | "template_string"
        | "char_literal"
        | "character_literal"
        | "rune_literal"
        | "concatenated_string"
        | "regex" => SpanKind::String,
        "comment" | "line_comment" | "block_comment" => SpanKind::Comment,
        "list" | "dictionary" | "set" | "tuple" | "array" | "object" | "array_expression"
        | "struct_expression" | "tuple_expression" | "composite_literal" | "array_initializer"
        | "initializer_list" => SpanKind::Collection,
        "match_arm"
        | "switch_case"
        | "switch_default"
        | "case_clause"
        | "expression_case"
        | "default_case"
        | "case_statement"
        | "switch_block_statement_group"
        | "switch_rule" => SpanKind::Case,
        "identifier"
        | "field_identifier"
        | "property_identifier"
        | "shorthand_property_identifier" => SpanKind::Identifier,
        "type_identifier"
        | "generic_type"
        | "primitive_type"
        | "reference_type"
        | "array_type"
        | "integral_type"
        | "type_annotation"
        | "scoped_type_identifier"
        | "pointer_type"
        | "slice_type"
        | "map_type"
        | "union_type"
        | "object_type"
        | "type" => SpanKind::Type,
        "attribute"
        | "binary_operator"
        | "boolean_operator"
        | "comparison_operator"
        | "unary_operator"
        | "not_operator"
        | "subscript"
        | "await"
        | "conditional_expression"
        | "list_comprehension"
        | "dictionary_comprehension"
        | "set_comprehension"
        | "generator_expression"
        | "assignment"
        | "augmented_assignment"
        | "slice"
        | "field_access"
        | "array_access" => SpanKind::Expression,
        "lexical_declaration"
        | "variable_declaration"
        | "let_declaration"
        | "local_variable_declaration"
        | "short_var_declaration"
        | "var_declaration"
        | "const_declaration"
        | "declaration"
        | "field_declaration"
        | "const_item"
        | "static_item"
        | "type_item"
        | "public_field_definition"
        | "field_definition"
        | "type_alias_declaration" => SpanKind::Statement,
        _ if kind.ends_with("_statement") || kind == "else_clause" || kind == "elif_clause" => {
            SpanKind::Statement
        }
        _ if kind.ends_with("_expression") => SpanKind::Expression,
        _ => return None,
    })
}
