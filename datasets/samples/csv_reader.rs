//! Reads comma-separated values with quoted fields, without dependencies.

use std::collections::HashMap;
use std::fmt;

#[derive(Debug, PartialEq, Eq)]
pub enum CsvError {
    UnclosedQuote { line: usize },
    WrongNumberOfFields { line: usize, expected: usize, found: usize },
    Empty,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CsvError::UnclosedQuote { line } => write!(f, "line {line}: a quote is not closed"),
            CsvError::WrongNumberOfFields { line, expected, found } => {
                write!(f, "line {line}: expected {expected} fields, found {found}")
            }
            CsvError::Empty => write!(f, "the file has no header"),
        }
    }
}

impl std::error::Error for CsvError {}

#[derive(Debug, Default)]
pub struct Table {
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn parse(text: &str) -> Result<Table, CsvError> {
        let mut lines = text.lines().enumerate();
        let Some((_, first)) = lines.next() else {
            return Err(CsvError::Empty);
        };
        let header = split_line(first, 1)?;
        let mut rows = Vec::new();
        for (index, line) in lines {
            if line.trim().is_empty() {
                continue;
            }
            let row = split_line(line, index + 1)?;
            if row.len() != header.len() {
                return Err(CsvError::WrongNumberOfFields {
                    line: index + 1,
                    expected: header.len(),
                    found: row.len(),
                });
            }
            rows.push(row);
        }
        Ok(Table { header, rows })
    }

    pub fn column(&self, name: &str) -> Option<Vec<&str>> {
        let index = self.header.iter().position(|column| column == name)?;
        Some(self.rows.iter().map(|row| row[index].as_str()).collect())
    }

    pub fn count_by(&self, name: &str) -> HashMap<&str, usize> {
        let mut counts = HashMap::new();
        for value in self.column(name).unwrap_or_default() {
            *counts.entry(value).or_insert(0) += 1;
        }
        counts
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

fn split_line(line: &str, number: usize) -> Result<Vec<String>, CsvError> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(c),
        }
    }
    if quoted {
        return Err(CsvError::UnclosedQuote { line: number });
    }
    fields.push(field);
    Ok(fields)
}
