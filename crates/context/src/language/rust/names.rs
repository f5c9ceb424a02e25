//! Rust's names: variables. Functions and what macros are given are left out, they may come from
//! anywhere.

use crate::names::{At, Role, Rules};

pub(crate) const RULES: Rules = Rules { role, opens_scope, brings_unknown, is_known };

fn role(at: &At<'_>) -> Role {
    match (at.parent, at.field, at.kind) {
        (
            "let_declaration" | "parameter" | "for_expression" | "let_condition" | "match_arm",
            Some("pattern"),
            _,
        ) => Role::Bind,
        (_, _, "closure_parameters" | "use_declaration" | "extern_crate_declaration") => Role::Bind,
        ("use_declaration" | "use_list" | "scoped_use_list" | "use_as_clause", ..) => Role::Bind,
        ("scoped_identifier", Some("name"), _) => at.inherited,
        // May be a function, from anywhere.
        ("arguments", _, "identifier") => Role::Neither,
        ("match_pattern", Some("condition"), _) => Role::Use,
        ("tuple_struct_pattern" | "struct_pattern", Some("type"), _) => Role::Neither,
        (
            "const_item"
            | "static_item"
            | "function_item"
            | "function_signature_item"
            | "mod_item"
            | "const_parameter"
            | "enum_variant"
            | "macro_definition",
            Some("name"),
            _,
        ) => Role::Bind,
        ("call_expression" | "generic_function", Some("function"), "identifier") => Role::Neither,
        (
            _,
            _,
            "scoped_identifier"
            | "scoped_type_identifier"
            | "token_tree"
            | "attribute_item"
            | "inner_attribute_item",
        ) => Role::Neither,
        (_, _, "macro_rule" | "macro_invocation") => Role::Neither,
        _ if at.inherited == Role::Neither => Role::Neither,
        (
            _,
            _,
            "lifetime"
            | "label"
            | "visibility_modifier"
            | "type_arguments"
            | "bracketed_type"
            | "foreign_mod_item",
        ) => Role::Neither,
        ("macro_invocation", Some("macro"), _) => Role::Neither,
        (_, Some("value" | "body"), _) => Role::Use,
        (_, _, "block" | "call_expression" | "closure_expression")
            if at.inherited == Role::Bind =>
        {
            Role::Use
        }
        _ => at.inherited,
    }
}

fn opens_scope(kind: &str) -> bool {
    matches!(kind, "function_item" | "closure_expression")
}

fn brings_unknown(_: &str) -> bool {
    false
}

/// Constants and types are as good as known: a glob may bring them.
fn is_known(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_lowercase()) || KNOWN.contains(&name)
}

/// Words that are no variables, and the types whose names are written like them.
const KNOWN: &[&str] = &[
    "self", "super", "crate", "default", "union", "raw", "bool", "char", "str", "u8", "u16", "u32",
    "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f16", "f32", "f64",
    "f128",
];
