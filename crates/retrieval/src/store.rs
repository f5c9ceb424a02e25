//! The index as a file, so that a workspace is opened again without reading it.
//!
//! A file that is damaged, of another version or of another workspace is no index; it is made anew.
//! Nothing of it is trusted before its hash is right, and nothing of it is taken that could not
//! have been written.

use std::io::Write;
use std::path::Path;

use atomic_write_file::AtomicWriteFile;
use sha2::{Digest, Sha256};

use crate::bytes::{Reader, Writer};
use crate::index::{File, Index, Stamp};
use crate::manifest::Says;
use crate::symbols::FileSymbols;

/// Raised whenever what is told of a file changes, or how it is written.
const MAGIC: &[u8; 16] = b"lacuna index  1\n";
/// A larger file is not ours.
const MAX_BYTES: u64 = 512 << 20;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it is no index of this version and workspace")]
    Foreign,
    #[error("it is damaged")]
    Damaged,
}

/// Writes the index of `workspace` (a name for it: its folders), in place of what was there.
/// Readable for its owner alone.
pub fn write_store(path: &Path, workspace: &str, index: &Index) -> Result<(), StoreError> {
    let mut options = AtomicWriteFile::options();
    #[cfg(unix)]
    {
        use atomic_write_file::unix::OpenOptionsExt;
        options.preserve_mode(false).preserve_owner(false);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(&to_bytes(workspace, index))?;
    file.commit()?;
    Ok(())
}

/// Reads the index of `workspace`.
pub fn read_store(path: &Path, workspace: &str) -> Result<Index, StoreError> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(StoreError::Foreign);
    }
    from_bytes(&std::fs::read(path)?, workspace)
}

pub(crate) fn to_bytes(workspace: &str, index: &Index) -> Vec<u8> {
    let mut to = Writer::default();
    to.bytes.extend(MAGIC);
    to.text(workspace);
    to.number(index.n_files());
    for (_, file) in index.files() {
        to.number(file.root);
        to.text(&file.path);
        to.u64(file.stamp.modified);
        to.u64(file.stamp.size);
        to.bytes.extend(file.stamp.hash);
        to.number(file.says.len());
        for says in &file.says {
            let (kind, texts): (u8, Vec<&String>) = match says {
                Says::Package { name, folder } => (0, vec![name, folder]),
                Says::Alias { below, prefix, target } => (1, vec![below, prefix, target]),
            };
            to.u8(kind);
            texts.into_iter().for_each(|text| to.text(text));
        }
        file.symbols.write(&mut to);
    }
    let hash = Sha256::digest(&to.bytes);
    to.bytes.extend(hash);
    to.bytes
}

/// The index of bytes that [`write_store`] made.
pub fn from_bytes(bytes: &[u8], workspace: &str) -> Result<Index, StoreError> {
    if !bytes.starts_with(MAGIC) {
        return Err(StoreError::Foreign);
    }
    let (body, hash) = bytes.split_last_chunk::<32>().ok_or(StoreError::Damaged)?;
    if Sha256::digest(body)[..] != hash[..] {
        return Err(StoreError::Damaged);
    }
    let mut from = Reader::new(&body[MAGIC.len().min(body.len())..]);
    if from.text() != Some(workspace) {
        return Err(StoreError::Foreign);
    }
    read_files(&mut from).filter(|_| from.is_empty()).ok_or(StoreError::Damaged)
}

/// What stands behind the name of the workspace.
pub(crate) fn read_files(from: &mut Reader) -> Option<Index> {
    let mut index = Index::default();
    for _ in 0..from.count(40)? {
        let root = from.u32()? as usize;
        let path = from.text()?.into();
        let (modified, size) = (from.u64()?, from.u64()?);
        let hash = from.take(16)?.try_into().ok()?;
        let n = from.count(9)?;
        let mut says = Vec::with_capacity(n);
        for _ in 0..n {
            says.push(match from.u8()? {
                0 => Says::Package { name: from.text()?.into(), folder: from.text()?.into() },
                1 => Says::Alias {
                    below: from.text()?.into(),
                    prefix: from.text()?.into(),
                    target: from.text()?.into(),
                },
                _ => return None,
            });
        }
        let symbols = FileSymbols::read(from)?;
        let stamp = Stamp { modified, size, hash };
        index.insert(File { root, path, stamp, symbols, says: says.into() });
    }
    index.settle();
    Some(index)
}

/// For fuzzers: as [`read_store`], of bytes whose hash is not looked at.
pub fn read_unchecked(bytes: &[u8]) {
    drop(from_bytes(bytes, ""));
    if let Some(index) = read_files(&mut Reader::new(bytes)) {
        for (id, _) in index.files() {
            for symbol in index.of_file(id) {
                let texts = [index.name(symbol), index.head(symbol), index.doc(symbol)];
                let known = index.named(texts[0]).any(|other| other == symbol);
                assert!(known, "a symbol is found by its name");
            }
        }
    }
}
