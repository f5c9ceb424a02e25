//! Go's names. A package's other files bind names too, mostly long ones: only short names are taken
//! for local variables.

use crate::names::{At, Role, Rules};

pub(crate) const RULES: Rules = Rules { role, opens_scope, brings_unknown, is_known };

/// Longer names may be of the package.
const LONGEST_LOCAL: usize = 4;

fn role(at: &At<'_>) -> Role {
    match (at.parent, at.field, at.kind) {
        ("short_var_declaration" | "range_clause" | "receive_statement", Some("left"), _) => {
            Role::Bind
        }
        ("short_var_declaration" | "range_clause" | "receive_statement", Some("right"), _) => {
            Role::Use
        }
        (
            "var_spec"
            | "const_spec"
            | "parameter_declaration"
            | "variadic_parameter_declaration"
            | "function_declaration"
            | "type_parameter_declaration",
            Some("name"),
            _,
        ) => Role::Bind,
        ("type_switch_statement", Some("alias"), _) => Role::Bind,
        ("selector_expression", Some("operand"), "identifier")
        | ("call_expression", Some("function"), "identifier") => Role::Neither,
        ("keyed_element", Some("key"), _) | (_, _, "import_declaration" | "package_clause") => {
            Role::Neither
        }
        (_, Some("value" | "body" | "type"), _) => Role::Use,
        _ => at.inherited,
    }
}

fn opens_scope(kind: &str) -> bool {
    matches!(kind, "function_declaration" | "method_declaration" | "func_literal")
}

fn brings_unknown(kind: &str) -> bool {
    kind == "dot"
}

fn is_known(name: &str) -> bool {
    name.len() > LONGEST_LOCAL
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
        || matches!(
            name,
            "nil" | "true" | "iota" | "any" | "new" | "int" | "byte" | "rune" | "bool" | "uint"
        )
}
