//! A training document and its file format: one JSON object a line, zstd-compressed.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use atomic_write_file::AtomicWriteFile;
use serde::{Deserialize, Serialize};

use super::MineError;

/// The languages that a corpus can hold, code first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Python,
    JavaScript,
    TypeScript,
    Rust,
    Java,
    Go,
    C,
    Cpp,
    CSharp,
    Markdown,
    Yaml,
    Toml,
    Json,
    Shell,
    Sql,
    Html,
    Css,
}

impl Language {
    /// Every language, in declaration order.
    pub const ALL: [Language; 17] = [
        Language::Python,
        Language::JavaScript,
        Language::TypeScript,
        Language::Rust,
        Language::Java,
        Language::Go,
        Language::C,
        Language::Cpp,
        Language::CSharp,
        Language::Markdown,
        Language::Yaml,
        Language::Toml,
        Language::Json,
        Language::Shell,
        Language::Sql,
        Language::Html,
        Language::Css,
    ];

    /// The language of a file name by its extension; type declaration files (`.d.ts`, `.pyi`) are
    /// no code and give `None`.
    pub fn of_path(path: &str) -> Option<Language> {
        let lower = path.to_ascii_lowercase();
        if lower.ends_with(".d.ts") || lower.ends_with(".d.mts") || lower.ends_with(".d.cts") {
            return None;
        }
        let (_, extension) = lower.rsplit_once('.')?;
        Some(match extension {
            "py" => Language::Python,
            "js" | "mjs" | "cjs" | "jsx" => Language::JavaScript,
            "ts" | "tsx" | "mts" | "cts" => Language::TypeScript,
            "rs" => Language::Rust,
            "java" => Language::Java,
            "go" => Language::Go,
            "c" | "h" => Language::C,
            "cc" | "cpp" | "cxx" | "hpp" | "hh" => Language::Cpp,
            "cs" => Language::CSharp,
            "md" | "markdown" => Language::Markdown,
            "yaml" | "yml" => Language::Yaml,
            "toml" => Language::Toml,
            "json" => Language::Json,
            "sh" | "bash" => Language::Shell,
            "sql" => Language::Sql,
            "html" | "htm" => Language::Html,
            "css" | "scss" => Language::Css,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::JavaScript => "javascript",
            Language::TypeScript => "typescript",
            Language::Rust => "rust",
            Language::Java => "java",
            Language::Go => "go",
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::CSharp => "csharp",
            Language::Markdown => "markdown",
            Language::Yaml => "yaml",
            Language::Toml => "toml",
            Language::Json => "json",
            Language::Shell => "shell",
            Language::Sql => "sql",
            Language::Html => "html",
            Language::Css => "css",
        }
    }

    /// What people edit beside code: nothing is parsed, and prose may stand in it.
    pub fn is_text(self) -> bool {
        self >= Language::Markdown
    }

    /// Blocks are made by indentation rather than braces.
    pub fn is_indented(self) -> bool {
        self == Language::Python
    }
}

/// Which side a package is on; a package is never on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    Validation,
    Train,
}

impl Split {
    pub fn name(self) -> &'static str {
        match self {
            Split::Validation => "validation",
            Split::Train => "train",
        }
    }
}

/// One source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Path within the package, with `/`; it becomes the header of the training prompt.
    pub path: String,
    /// `<ecosystem>/<package>`.
    pub package: String,
    pub language: Language,
    pub split: Split,
    /// How often the document is visited, relative to others of its language.
    #[serde(default = "once")]
    pub weight: u32,
    pub text: String,
}

fn once() -> u32 {
    1
}

/// Writes documents to `path`, as a whole.
pub fn write(path: &Path, documents: &[Document]) -> Result<(), MineError> {
    let io = |source| MineError::Io { path: path.to_owned(), source };
    let file = AtomicWriteFile::open(path).map_err(io)?;
    let mut encoder = zstd::Encoder::new(BufWriter::new(file), 6).map_err(io)?;
    for document in documents {
        serde_json::to_writer(&mut encoder, document).map_err(|e| io(e.into()))?;
        encoder.write_all(b"\n").map_err(io)?;
    }
    let file = encoder.finish().map_err(io)?;
    let file = file.into_inner().map_err(|e| io(e.into_error()))?;
    file.commit().map_err(io)
}

/// Reads what [`write`] wrote.
///
/// Errors: an unreadable file, or the first line that is not a document.
pub fn read(path: &Path) -> Result<Vec<Document>, MineError> {
    let file = File::open(path).map_err(MineError::io(path))?;
    let decoder = zstd::Decoder::new(file).map_err(MineError::io(path))?;
    let mut documents = Vec::new();
    for (i, line) in BufReader::new(decoder).lines().enumerate() {
        let line = line.map_err(MineError::io(path))?;
        let document = serde_json::from_str(&line).map_err(|source| MineError::BadDocument {
            path: path.to_owned(),
            line: i + 1,
            source,
        })?;
        documents.push(document);
    }
    Ok(documents)
}
