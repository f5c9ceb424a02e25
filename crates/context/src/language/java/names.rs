//! Java's names: variables and fields. A class that extends another inherits fields that cannot be
//! seen.

use crate::names::{At, Role, Rules};

pub(crate) const RULES: Rules = Rules { role, opens_scope, brings_unknown, is_known };

fn role(at: &At<'_>) -> Role {
    match (at.parent, at.field, at.kind) {
        (
            "variable_declarator"
            | "formal_parameter"
            | "catch_formal_parameter"
            | "enhanced_for_statement"
            | "resource"
            | "enum_constant"
            | "class_declaration"
            | "interface_declaration"
            | "enum_declaration"
            | "record_declaration"
            | "instanceof_expression",
            Some("name"),
            _,
        ) => Role::Bind,
        ("lambda_expression", Some("parameters"), _)
        | (_, _, "inferred_parameters" | "type_pattern" | "record_pattern") => Role::Bind,
        ("spread_parameter", _, "variable_declarator") => Role::Bind,
        ("object_creation_expression", _, "class_body") => Role::Neither,
        ("field_access", Some("field"), _)
        | (
            "method_invocation" | "method_declaration" | "constructor_declaration",
            Some("name"),
            _,
        ) => Role::Neither,
        ("labeled_statement" | "break_statement" | "continue_statement", _, "identifier") => {
            Role::Neither
        }
        (
            _,
            _,
            "import_declaration"
            | "package_declaration"
            | "annotation"
            | "marker_annotation"
            | "switch_label"
            | "method_reference"
            | "annotation_type_declaration"
            | "module_declaration"
            | "scoped_identifier"
            | "scoped_type_identifier",
        ) => Role::Neither,
        _ if at.inherited == Role::Neither => Role::Neither,
        (_, Some("value" | "body"), _) => Role::Use,
        _ => at.inherited,
    }
}

fn opens_scope(kind: &str) -> bool {
    matches!(
        kind,
        "method_declaration"
            | "constructor_declaration"
            | "lambda_expression"
            | "compact_constructor_declaration"
    )
}

fn brings_unknown(kind: &str) -> bool {
    matches!(kind, "superclass" | "asterisk")
}

fn is_known(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_lowercase())
        || matches!(name, "java" | "javax" | "org" | "com" | "io" | "net" | "length")
}
