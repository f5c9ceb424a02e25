//! The names of JavaScript and TypeScript, JSX included.

use crate::names::{At, Role, Rules};

pub(crate) const RULES: Rules = Rules { role, opens_scope, brings_unknown, is_known };

fn role(at: &At<'_>) -> Role {
    match (at.parent, at.field, at.kind) {
        ("variable_declarator", Some("name"), _) | ("catch_clause", Some("parameter"), _) => {
            Role::Bind
        }
        ("variable_declarator", Some("value"), _) => Role::Use,
        (_, Some("parameters" | "parameter"), "formal_parameters" | "identifier") => Role::Bind,
        (
            "function_declaration"
            | "generator_function_declaration"
            | "function_expression"
            | "generator_function"
            | "function_signature"
            | "class_declaration"
            | "abstract_class_declaration"
            | "class"
            | "enum_declaration"
            | "internal_module"
            | "module"
            | "import_alias",
            Some("name"),
            _,
        ) => Role::Bind,
        ("for_in_statement", Some("left"), _)
        | (_, _, "import_clause" | "namespace_import" | "import_specifier") => Role::Bind,
        ("for_in_statement", Some("right"), _) => Role::Use,
        ("required_parameter" | "optional_parameter", Some("pattern"), _) => Role::Bind,
        (_, Some("value"), _) if at.parent != "pair_pattern" => Role::Use,
        ("assignment_pattern" | "object_assignment_pattern", Some("right"), _) => Role::Use,
        // A name that is asked about may be missing on purpose.
        ("unary_expression", _, "identifier") => Role::Bind,
        (
            _,
            _,
            "member_expression"
            | "subscript_expression"
            | "call_expression"
            | "new_expression"
            | "computed_property_name",
        ) => Role::Use,
        (
            "jsx_opening_element" | "jsx_closing_element" | "jsx_self_closing_element",
            Some("name"),
            _,
        ) => Role::Neither,
        (
            _,
            _,
            "type_annotation"
            | "type_arguments"
            | "type_parameters"
            | "implements_clause"
            | "extends_type_clause"
            | "interface_declaration"
            | "type_alias_declaration"
            | "ambient_declaration"
            | "export_specifier"
            | "enum_body"
            | "nested_identifier"
            | "type_query"
            | "asserts"
            | "type_predicate_annotation"
            | "decorator"
            | "import_require_clause",
        ) => Role::Neither,
        _ if at.inherited == Role::Neither => Role::Neither,
        (
            "abstract_method_signature"
            | "method_signature"
            | "function_type"
            | "construct_signature"
            | "call_signature",
            ..,
        ) => Role::Neither,
        (
            _,
            _,
            "statement_block"
            | "class_body"
            | "arrow_function"
            | "function_expression"
            | "object"
            | "array",
        ) => Role::Use,
        (_, _, "shorthand_property_identifier") => Role::Use,
        (_, _, "shorthand_property_identifier_pattern") => Role::Bind,
        _ => at.inherited,
    }
}

fn opens_scope(kind: &str) -> bool {
    matches!(
        kind,
        "function_declaration"
            | "generator_function_declaration"
            | "function_expression"
            | "generator_function"
            | "arrow_function"
            | "method_definition"
    )
}

fn brings_unknown(kind: &str) -> bool {
    kind == "with_statement"
}

/// Types and constructors of the many environments are written with a capital; they are not told
/// apart from the file's.
fn is_known(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_lowercase()) || GLOBALS.contains(&name)
}

const GLOBALS: &[&str] = &[
    "after",
    "afterAll",
    "afterEach",
    "alert",
    "angular",
    "arguments",
    "assert",
    "atob",
    "async",
    "await",
    "before",
    "beforeAll",
    "beforeEach",
    "blur",
    "browser",
    "btoa",
    "cancelAnimationFrame",
    "caches",
    "chrome",
    "clearImmediate",
    "clearInterval",
    "clearTimeout",
    "close",
    "closed",
    "confirm",
    "console",
    "context",
    "crypto",
    "customElements",
    "decodeURI",
    "decodeURIComponent",
    "define",
    "describe",
    "document",
    "encodeURI",
    "encodeURIComponent",
    "escape",
    "eval",
    "event",
    "expect",
    "exports",
    "external",
    "fetch",
    "fit",
    "focus",
    "frames",
    "getComputedStyle",
    "getSelection",
    "global",
    "globalThis",
    "history",
    "importScripts",
    "indexedDB",
    "innerHeight",
    "innerWidth",
    "isFinite",
    "isNaN",
    "it",
    "jest",
    "jQuery",
    "jasmine",
    "length",
    "load",
    "localStorage",
    "location",
    "matchMedia",
    "mocha",
    "module",
    "name",
    "navigator",
    "of",
    "onerror",
    "onload",
    "onmessage",
    "open",
    "opener",
    "parent",
    "parseFloat",
    "parseInt",
    "performance",
    "postMessage",
    "print",
    "process",
    "prompt",
    "queueMicrotask",
    "removeEventListener",
    "addEventListener",
    "dispatchEvent",
    "reportError",
    "requestAnimationFrame",
    "requestIdleCallback",
    "require",
    "requirejs",
    "screen",
    "scroll",
    "scrollTo",
    "self",
    "sessionStorage",
    "setImmediate",
    "setInterval",
    "setTimeout",
    "spyOn",
    "status",
    "stop",
    "structuredClone",
    "suite",
    "test",
    "top",
    "undefined",
    "unescape",
    "vi",
    "wasm",
    "window",
    "xdescribe",
    "xit",
    "crossOriginIsolated",
    "origin",
    "java",
    "gc",
    "bootstrap",
    "skip",
    "specify",
    "setup",
    "teardown",
    "suiteSetup",
    "suiteTeardown",
    "sinon",
    "chai",
    "should",
    "cy",
    "ethereum",
    "goog",
    "google",
    "ko",
    "moment",
];
