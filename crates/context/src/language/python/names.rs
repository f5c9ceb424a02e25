//! Python's names.

use crate::names::{At, Role, Rules};

pub(crate) const RULES: Rules = Rules { role, opens_scope, brings_unknown, is_known };

fn role(at: &At<'_>) -> Role {
    match (at.parent, at.field, at.kind) {
        (
            "assignment" | "for_statement" | "for_in_clause" | "type_alias_statement",
            Some("left"),
            _,
        ) => Role::Bind,
        ("assignment" | "for_statement" | "for_in_clause", Some(_), _) => Role::Use,
        ("named_expression" | "function_definition" | "class_definition", Some("name"), _) => {
            Role::Bind
        }
        ("function_definition" | "lambda", Some("parameters"), _) => Role::Bind,
        ("function_definition" | "class_definition", Some("type_parameters"), _) => Role::Bind,
        ("default_parameter" | "typed_default_parameter", Some("name"), _) => Role::Bind,
        (
            "default_parameter" | "typed_default_parameter" | "typed_parameter",
            Some("value" | "type"),
            _,
        ) => Role::Use,
        ("as_pattern", Some("alias"), _) | (_, _, "as_pattern_target" | "case_pattern") => {
            Role::Bind
        }
        ("attribute", Some("object"), _) | ("subscript", ..) => Role::Use,
        ("attribute", Some("attribute"), _) | ("keyword_argument", Some("name"), _) => {
            Role::Neither
        }
        ("keyword_argument", Some("value"), _) => Role::Use,
        ("import_from_statement", Some("module_name"), _) | ("aliased_import", Some("name"), _) => {
            Role::Neither
        }
        ("import_statement" | "import_from_statement", Some("name"), _)
        | ("aliased_import", Some("alias"), _) => Role::Bind,
        (_, _, "future_import_statement") => Role::Neither,
        (_, _, "global_statement" | "nonlocal_statement" | "type_parameter") => Role::Bind,
        (
            _,
            _,
            "call"
            | "lambda"
            | "list_comprehension"
            | "set_comprehension"
            | "dictionary_comprehension"
            | "generator_expression",
        ) => Role::Use,
        (_, _, "function_definition" | "class_definition" | "block" | "module") => Role::Use,
        _ => at.inherited,
    }
}

fn opens_scope(kind: &str) -> bool {
    kind == "function_definition"
}

fn brings_unknown(kind: &str) -> bool {
    matches!(kind, "wildcard_import" | "exec_statement")
}

fn is_known(name: &str) -> bool {
    name.starts_with("__") || name == "_" || BUILTINS.contains(&name)
}

/// Of Python 3, and those of Python 2 that files still ask for.
const BUILTINS: &[&str] = &[
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BaseException",
    "BaseExceptionGroup",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "BytesWarning",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "DeprecationWarning",
    "EOFError",
    "Ellipsis",
    "EncodingWarning",
    "EnvironmentError",
    "Exception",
    "ExceptionGroup",
    "False",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "FutureWarning",
    "GeneratorExit",
    "IOError",
    "ImportError",
    "ImportWarning",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "KeyboardInterrupt",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "None",
    "NotADirectoryError",
    "NotImplemented",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PendingDeprecationWarning",
    "PermissionError",
    "ProcessLookupError",
    "PythonFinalizationError",
    "RecursionError",
    "ReferenceError",
    "ResourceWarning",
    "RuntimeError",
    "RuntimeWarning",
    "StopAsyncIteration",
    "StopIteration",
    "SyntaxError",
    "SyntaxWarning",
    "SystemError",
    "SystemExit",
    "TabError",
    "TimeoutError",
    "True",
    "TypeError",
    "UnboundLocalError",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
    "UnicodeError",
    "UnicodeTranslateError",
    "UnicodeWarning",
    "UserWarning",
    "ValueError",
    "Warning",
    "WindowsError",
    "ZeroDivisionError",
    "abs",
    "aiter",
    "all",
    "anext",
    "any",
    "apply",
    "ascii",
    "basestring",
    "bin",
    "bool",
    "breakpoint",
    "buffer",
    "bytearray",
    "bytes",
    "callable",
    "chr",
    "classmethod",
    "cmp",
    "coerce",
    "compile",
    "complex",
    "copyright",
    "credits",
    "delattr",
    "dict",
    "dir",
    "divmod",
    "enumerate",
    "eval",
    "exec",
    "execfile",
    "exit",
    "file",
    "filter",
    "float",
    "format",
    "frozenset",
    "getattr",
    "get_ipython",
    "globals",
    "hasattr",
    "hash",
    "help",
    "hex",
    "id",
    "input",
    "int",
    "intern",
    "isinstance",
    "issubclass",
    "iter",
    "len",
    "license",
    "list",
    "locals",
    "long",
    "map",
    "max",
    "memoryview",
    "min",
    "next",
    "object",
    "oct",
    "open",
    "ord",
    "pow",
    "print",
    "property",
    "quit",
    "range",
    "raw_input",
    "reduce",
    "reload",
    "repr",
    "reversed",
    "reveal_type",
    "round",
    "set",
    "setattr",
    "slice",
    "sorted",
    "staticmethod",
    "str",
    "sum",
    "super",
    "tuple",
    "type",
    "unichr",
    "unicode",
    "vars",
    "xrange",
    "zip",
];
