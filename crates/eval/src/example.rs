//! Examples read from published files, one JSON object a line, plain or gzipped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use lacuna_context::Language;
use serde::Deserialize;

/// A row longer than this is refused: it is not source code.
const MAX_ROW_BYTES: u64 = 16 << 20;

/// A file with a hole: `prefix` + `middle` + `suffix`.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    pub id: String,
    pub language: Language,
    pub prefix: String,
    pub middle: String,
    pub suffix: String,
}

/// Why a file of examples could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} line {line}: {source}: not a row of this format")]
    Row { path: PathBuf, line: usize, source: serde_json::Error },
    #[error("{path} line {line} is longer than {MAX_ROW_BYTES} bytes: not a row of this format")]
    TooLong { path: PathBuf, line: usize },
    #[error("{path} line {line}: unknown language {language:?}: py, java and js are known")]
    Language { path: PathBuf, line: usize, language: String },
}

#[derive(Deserialize)]
struct SantaCoderRow {
    name: String,
    language: String,
    prompt: String,
    suffix: String,
    canonical_solution: String,
}

/// Reads `bigcode/santacoder-fim-task` rows (Python, Java, JavaScript). The hole is one line of its own between prompt and suffix
/// (the newlines around it are in neither field).
pub fn read_santacoder(path: &Path) -> Result<Vec<Example>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let gzipped = path.extension().is_some_and(|e| e == "gz");
    let reader: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut reader = BufReader::new(reader);
    let mut examples = Vec::new();
    for line in 1.. {
        let mut row = Vec::new();
        let n = reader.by_ref().take(MAX_ROW_BYTES).read_until(b'\n', &mut row).map_err(io)?;
        if n == 0 {
            break;
        }
        if n as u64 == MAX_ROW_BYTES {
            return Err(ReadError::TooLong { path: path.to_owned(), line });
        }
        let row: SantaCoderRow = serde_json::from_slice(&row).map_err(|source| ReadError::Row { path: path.to_owned(), line, source })?;
        let language = match row.language.as_str() {
            "py" => Language::Python,
            "java" => Language::Java,
            "js" => Language::JavaScript,
            _ => return Err(ReadError::Language { path: path.to_owned(), line, language: row.language }),
        };
        let prefix = with_newline_after(row.prompt);
        let suffix = if row.suffix.starts_with('\n') { row.suffix } else { format!("\n{}", row.suffix) };
        examples.push(Example { id: row.name, language, prefix, middle: row.canonical_solution, suffix });
    }
    Ok(examples)
}

fn with_newline_after(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
