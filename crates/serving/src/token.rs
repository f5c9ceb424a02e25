//! The secret that clients must send.

use std::path::Path;

use anyhow::{Context, bail};
use subtle::ConstantTimeEq;

use super::private;

/// A shorter secret can be guessed.
const MIN_TOKEN_BYTES: usize = 16;
const MAX_TOKEN_BYTES: usize = 4096;

/// The secret that clients must send.
pub struct Token(String);

impl Token {
    /// The first line of a file.
    pub fn read(path: &Path) -> anyhow::Result<Token> {
        let name = || format!("token file {}", path.display());
        private::check_secret(path).with_context(|| "token file".to_owned())?;
        let length = std::fs::metadata(path).with_context(name)?.len();
        if length > MAX_TOKEN_BYTES as u64 {
            bail!("{} has {length} bytes: its first line shall be the token", name());
        }
        let text = std::fs::read_to_string(path).with_context(name)?;
        Token::parse(text.lines().next().unwrap_or("")).with_context(|| {
            format!(
                "{}: the first line must be at least {MIN_TOKEN_BYTES} printable characters without blanks, e.g. from `openssl rand -hex 32`",
                name()
            )
        })
    }

    /// `None`: it is too short, or not of printable characters.
    pub fn parse(text: &str) -> Option<Token> {
        let token = text.trim();
        let is_fine = token.len() >= MIN_TOKEN_BYTES && token.bytes().all(|b| b.is_ascii_graphic());
        is_fine.then(|| Token(token.to_owned()))
    }

    /// Whether this is the token; compared in a time that does not tell how much of a guess is
    /// right (its length may be told).
    pub fn is(&self, sent: &[u8]) -> bool {
        sent.ct_eq(self.0.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_that_protects_nothing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (text, fine) in [
            ("0123456789abcdef\nmore", true),
            ("short", false),
            ("", false),
            ("0123456789 abcdef", false),
            ("0123456789abcdeé", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Token::read(&path).is_ok(), fine, "{text:?}");
        }
        assert!(Token::read(&dir.path().join("none")).is_err());
    }
}
