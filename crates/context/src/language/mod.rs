//! The languages Lacuna knows, the few facts about each that do not need a grammar, and a folder
//! for each with what does: which identifiers bind (`names`), what a file defines and imports
//! (`outline`).

pub(crate) mod c;
pub(crate) mod go;
pub(crate) mod java;
pub(crate) mod javascript;
pub(crate) mod python;
pub(crate) mod rust;

use std::path::Path;
use std::sync::OnceLock;

/// A language with a grammar, or [`Language::Text`] for everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    Python,
    Rust,
    JavaScript,
    TypeScript,
    Tsx,
    Go,
    Java,
    C,
    Cpp,
    /// No grammar: completed as text.
    Text,
}

impl Language {
    pub const ALL: [Language; 10] = [
        Language::Python,
        Language::Rust,
        Language::JavaScript,
        Language::TypeScript,
        Language::Tsx,
        Language::Go,
        Language::Java,
        Language::C,
        Language::Cpp,
        Language::Text,
    ];

    /// By the file's extension, case-insensitively; no extension or an unknown one is
    /// [`Language::Text`].
    pub fn from_path(path: &Path) -> Language {
        let Some(extension) = path.extension().and_then(|e| e.to_str()) else {
            return Language::Text;
        };
        if extension == "C" || extension == "H" {
            return Language::Cpp;
        }
        match extension.to_ascii_lowercase().as_str() {
            "py" | "pyi" | "pyw" => Language::Python,
            "rs" => Language::Rust,
            "js" | "mjs" | "cjs" | "jsx" => Language::JavaScript,
            "ts" | "mts" | "cts" => Language::TypeScript,
            "tsx" => Language::Tsx,
            "go" => Language::Go,
            "java" => Language::Java,
            "c" | "h" => Language::C,
            "cc" | "cpp" | "cxx" | "c++" | "hh" | "hpp" | "hxx" | "h++" | "ipp" | "inl" | "cu"
            | "cuh" => Language::Cpp,
            _ => Language::Text,
        }
    }

    /// By the `languageId` of LSP's `textDocument/didOpen`.
    pub fn from_lsp_id(id: &str) -> Language {
        match id {
            "python" => Language::Python,
            "rust" => Language::Rust,
            "javascript" | "javascriptreact" => Language::JavaScript,
            "typescript" => Language::TypeScript,
            "typescriptreact" => Language::Tsx,
            "go" => Language::Go,
            "java" => Language::Java,
            "c" => Language::C,
            "cpp" | "cuda-cpp" => Language::Cpp,
            _ => Language::Text,
        }
    }

    /// Lower-case name, unique; the inverse is [`Language::from_name`].
    pub fn name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::Rust => "rust",
            Language::JavaScript => "javascript",
            Language::TypeScript => "typescript",
            Language::Tsx => "tsx",
            Language::Go => "go",
            Language::Java => "java",
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::Text => "text",
        }
    }

    pub fn from_name(name: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|l| l.name() == name)
    }

    /// What starts a comment that ends with the line.
    pub fn line_comment(self) -> Option<&'static str> {
        match self {
            Language::Python => Some("#"),
            Language::Text => None,
            _ => Some("//"),
        }
    }

    /// Blocks are told by indentation alone.
    pub(crate) fn is_indented(self) -> bool {
        self == Language::Python
    }

    /// Blocks are told by `{` and `}`.
    pub fn has_braces(self) -> bool {
        !matches!(self, Language::Python | Language::Text)
    }

    pub(crate) fn is_javascript(self) -> bool {
        matches!(self, Language::JavaScript | Language::TypeScript | Language::Tsx)
    }

    pub(crate) fn is_c(self) -> bool {
        matches!(self, Language::C | Language::Cpp)
    }

    /// Whether `c` can be part of an identifier.
    pub fn is_word_char(self, c: char) -> bool {
        c == '_'
            || c.is_alphanumeric()
            || (c == '$' && (self.is_javascript() || self == Language::Java))
    }

    /// `None` for [`Language::Text`].
    pub(crate) fn grammar(self) -> Option<&'static tree_sitter::Language> {
        static GRAMMARS: OnceLock<Vec<(Language, tree_sitter::Language)>> = OnceLock::new();
        let grammars = GRAMMARS.get_or_init(|| {
            [
                (Language::Python, tree_sitter_python::LANGUAGE),
                (Language::Rust, tree_sitter_rust::LANGUAGE),
                (Language::JavaScript, tree_sitter_javascript::LANGUAGE),
                (Language::TypeScript, tree_sitter_typescript::LANGUAGE_TYPESCRIPT),
                (Language::Tsx, tree_sitter_typescript::LANGUAGE_TSX),
                (Language::Go, tree_sitter_go::LANGUAGE),
                (Language::Java, tree_sitter_java::LANGUAGE),
                (Language::C, tree_sitter_c::LANGUAGE),
                (Language::Cpp, tree_sitter_cpp::LANGUAGE),
            ]
            .into_iter()
            .map(|(language, function)| (language, function.into()))
            .collect()
        });
        grammars.iter().find(|(l, _)| *l == self).map(|(_, g)| g)
    }
}
