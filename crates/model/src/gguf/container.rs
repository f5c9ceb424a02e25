//! The bytes of a GGUF file around the weights: header, metadata, the list of tensors.

use super::Encoding;
use super::read::{ARRAY, BOOL, F32, I32, STRING, U32};

const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
/// Every tensor starts at a multiple of this, counted from the start of the data.
pub(crate) const ALIGNMENT: u64 = 32;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    String(String),
    Strings(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

/// A tensor of the list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Outputs, then inputs; one number for a vector.
    pub(crate) shape: Vec<usize>,
    pub(crate) encoding: Encoding,
}

impl Entry {
    /// Bytes of its data, padding excluded.
    pub(crate) fn bytes(&self) -> u64 {
        self.encoding.bytes(self.shape.iter().product()) as u64
    }
}

/// Everything before the data, padded: the data of `entries` follow in their order, each padded to
/// [`ALIGNMENT`].
pub(crate) fn header(metadata: &[(String, Value)], entries: &[Entry]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((entries.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        string(key, &mut out);
        self::value(value, &mut out);
    }
    let mut at = 0u64;
    for entry in entries {
        string(&entry.name, &mut out);
        out.extend((entry.shape.len() as u32).to_le_bytes());
        // ggml counts dimensions from the contiguous one.
        out.extend(entry.shape.iter().rev().flat_map(|n| (*n as u64).to_le_bytes()));
        out.extend(entry.encoding.ggml_type().to_le_bytes());
        out.extend(at.to_le_bytes());
        at += entry.bytes().next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
    out
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::U32(v) => {
            out.extend(U32.to_le_bytes());
            out.extend(v.to_le_bytes());
        }
        Value::F32(v) => {
            out.extend(F32.to_le_bytes());
            out.extend(v.to_le_bytes());
        }
        Value::Bool(v) => {
            out.extend(BOOL.to_le_bytes());
            out.push(u8::from(*v));
        }
        Value::String(v) => {
            out.extend(STRING.to_le_bytes());
            string(v, out);
        }
        Value::Strings(all) => {
            array(STRING, all.len(), out);
            all.iter().for_each(|v| string(v, out));
        }
        Value::I32s(all) => {
            array(I32, all.len(), out);
            out.extend(all.iter().flat_map(|v| v.to_le_bytes()));
        }
        Value::F32s(all) => {
            array(F32, all.len(), out);
            out.extend(all.iter().flat_map(|v| v.to_le_bytes()));
        }
    }
}

fn array(kind: u32, len: usize, out: &mut Vec<u8>) {
    out.extend(ARRAY.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((len as u64).to_le_bytes());
}
