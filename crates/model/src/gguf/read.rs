//! The bytes of a GGUF file around the weights, read: header, metadata, the list of tensors.
//!
//! The file is hostile: every count and length is compared with the bytes that are really there
//! before anything is made for it, and nothing is copied but what is asked for.

use std::collections::BTreeMap;

use super::Value;
use super::encoding::{self, Encoding};

/// Least alignment of tensors where the file does not say.
const ALIGNMENT: u64 = 32;
/// Dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;
/// Arrays in arrays.
const MAX_DEPTH: usize = 4;
/// Values of a tensor: products of two fit 64 bits with room.
const MAX_VALUES: u64 = 1 << 40;

/// Why a GGUF file is not usable. The file is named by whom it concerns.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GgufError {
    #[error("not a GGUF file: its first bytes are not \"GGUF\"")]
    Magic,
    #[error("GGUF version {0} is not supported (2 and 3 are): convert the model again")]
    Version(u32),
    #[error("a big-endian GGUF file: convert the model for little-endian machines")]
    BigEndian,
    #[error("ends in the middle of {0}: it was cut off, fetch it again")]
    Truncated(&'static str),
    #[error("{what} {got} is more than a file of this size can hold: fetch it again")]
    Lying { what: &'static str, got: u64 },
    #[error("{0} is damaged: fetch it again")]
    Damaged(String),
    #[error(
        "tensor {name:?} is of type {got}, which is not supported: use a quantisation of {known}",
        known = encoding::known()
    )]
    Encoding { name: String, got: String },
    #[error("{key} is missing from its metadata: convert the model again")]
    Missing { key: String },
    #[error("{key} in its metadata is not {expected}: convert the model again")]
    Kind { key: String, expected: &'static str },
    #[error("is an adapter or another part (general.type {0:?}), not a model: give the model")]
    NotAModel(String),
    #[error("holds a model of architecture {got:?}, which is not supported; supported are {known}")]
    Architecture { got: String, known: String },
    #[error("the frequencies in rope_freqs.weight are of no scaling that is known")]
    RopeFrequencies,
    #[error("is part {no} of {count} of a model, but {name:?} is not beside it: fetch all parts")]
    MissingPart { no: usize, count: usize, name: String },
    #[error("says that it is one of {got} parts, its name that it is one of {expected}")]
    Parts { got: u64, expected: usize },
}

/// A tensor of the list and its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Tensor<'a> {
    /// Outputs, then inputs; one number for a vector.
    pub(crate) shape: Vec<usize>,
    pub(crate) encoding: Encoding,
    pub(crate) data: &'a [u8],
}

/// A value of the metadata, as it lies in the file.
#[derive(Debug, Clone, Copy)]
enum Item<'a> {
    Whole(i128),
    Float(f64),
    Bool(bool),
    Text(&'a [u8]),
    Array { kind: u32, len: u64, bytes: &'a [u8] },
}

/// Everything of a file but the weights.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    metadata: BTreeMap<&'a str, Item<'a>>,
    pub(crate) tensors: BTreeMap<&'a str, Tensor<'a>>,
}

/// Whether the bytes begin like a GGUF file.
pub(crate) fn begins_gguf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GGUF")
}

impl<'a> Header<'a> {
    /// Reads the header of `bytes`; the data of every tensor lie inside of them, and no two
    /// overlap.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Header<'a>, GgufError> {
        let mut from = Cursor { bytes, at: 0 };
        if !begins_gguf(bytes) {
            return Err(GgufError::Magic);
        }
        from.take(4, "the header")?;
        match from.u32("the header")? {
            2 | 3 => {}
            other if other.swap_bytes() < 1 << 16 && other & 0xffff == 0 => {
                return Err(GgufError::BigEndian);
            }
            other => return Err(GgufError::Version(other)),
        }
        // Name, dimensions, type and offset of a tensor take 24 bytes at least; key, kind and value
        // of an entry 13.
        let n_tensors = from.count("the number of tensors", 24)?;
        let n_entries = from.count("the number of metadata", 13)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..n_entries {
            let key = from.key("the metadata")?;
            let kind = from.u32("the metadata")?;
            let item = from.item(kind, 0)?;
            if metadata.insert(key, item).is_some() {
                return Err(GgufError::Damaged(format!("the metadata ({key:.60} twice)")));
            }
        }
        let mut header = Header { metadata, tensors: BTreeMap::new() };
        let alignment = match header.size("general.alignment")? {
            None => ALIGNMENT,
            Some(n) if n.is_power_of_two() && (8..=1 << 20).contains(&n) => n,
            Some(n) => return Err(GgufError::Damaged(format!("general.alignment ({n})"))),
        };
        let mut listed = Vec::new();
        for _ in 0..n_tensors {
            listed.push(from.tensor()?);
        }
        // Without tensors nothing need follow the metadata.
        let start = (from.at as u64).next_multiple_of(alignment).min(bytes.len() as u64);
        header.tensors = placed(listed, &bytes[start as usize..], alignment)?;
        Ok(header)
    }

    fn wrong(key: &str, expected: &'static str) -> GgufError {
        GgufError::Kind { key: key.to_owned(), expected }
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, GgufError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Item::Text(text)) => {
                std::str::from_utf8(text).map(Some).map_err(|_| Header::wrong(key, "text"))
            }
            Some(_) => Err(Header::wrong(key, "text")),
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>, GgufError> {
        let wrong = || Header::wrong(key, "a whole number");
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Item::Whole(n)) => u64::try_from(*n).map(Some).map_err(|_| wrong()),
            Some(_) => Err(wrong()),
        }
    }

    /// A finite number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Item::Whole(n)) => Ok(Some(*n as f64)),
            Some(Item::Float(v)) if v.is_finite() => Ok(Some(*v)),
            Some(_) => Err(Header::wrong(key, "a number")),
        }
    }

    /// The entries whose keys begin so, without that beginning. Arrays of other kinds than text and
    /// numbers are left out.
    pub(crate) fn below(&self, beginning: &str) -> Result<Vec<(String, Value)>, GgufError> {
        let mut all = Vec::new();
        for (key, item) in &self.metadata {
            let Some(rest) = key.strip_prefix(beginning) else { continue };
            if let Some(value) = owned(key, *item)? {
                all.push((rest.to_owned(), value));
            }
        }
        Ok(all)
    }
}

/// The value of an entry, copied. `None`: an array of what is not read.
fn owned(key: &str, item: Item<'_>) -> Result<Option<Value>, GgufError> {
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| Header::wrong(key, "text (UTF-8)"))
    };
    Ok(Some(match item {
        Item::Whole(n) => match u32::try_from(n) {
            Ok(n) => Value::U32(n),
            Err(_) => return Ok(None),
        },
        Item::Float(v) => Value::F32(v as f32),
        Item::Bool(v) => Value::Bool(v),
        Item::Text(v) => Value::String(text(v)?),
        Item::Array { kind, len, bytes } => {
            let mut from = Cursor { bytes, at: 0 };
            let mut each = || from.item(kind, MAX_DEPTH);
            match kind {
                STRING => {
                    let mut all = Vec::new();
                    for _ in 0..len {
                        if let Item::Text(v) = each()? {
                            all.push(text(v)?);
                        }
                    }
                    Value::Strings(all)
                }
                F32 | F64 => {
                    let mut all = Vec::new();
                    for _ in 0..len {
                        if let Item::Float(v) = each()? {
                            all.push(v as f32);
                        }
                    }
                    Value::F32s(all)
                }
                BOOL | ARRAY => return Ok(None),
                _ => {
                    let mut all = Vec::new();
                    for _ in 0..len {
                        if let Item::Whole(v) = each()? {
                            let wrong = |_| Header::wrong(key, "a list of small numbers");
                            all.push(i32::try_from(v).map_err(wrong)?);
                        }
                    }
                    Value::I32s(all)
                }
            }
        }
    }))
}

/// A tensor of the list: name, shape, encoding, offset in the data.
type Listed<'a> = (&'a str, Vec<usize>, Encoding, u64);

/// The bytes of each tensor. Errors: outside of the data, not aligned, on top of another one, or
/// twice the same name.
fn placed<'a>(
    mut listed: Vec<Listed<'a>>,
    data: &'a [u8],
    alignment: u64,
) -> Result<BTreeMap<&'a str, Tensor<'a>>, GgufError> {
    listed.sort_by_key(|(.., offset)| *offset);
    let (mut all, mut end) = (BTreeMap::new(), 0);
    for (name, shape, encoding, offset) in listed {
        let damaged =
            |what: &str| GgufError::Damaged(format!("the list of tensors ({name:.60} {what})"));
        let bytes = encoding.bytes(shape.iter().product()) as u64;
        if !offset.is_multiple_of(alignment) || offset < end {
            return Err(damaged("lies on another one"));
        }
        end = offset
            .checked_add(bytes)
            .filter(|end| *end <= data.len() as u64)
            .ok_or(GgufError::Truncated("the weights"))?;
        let tensor = Tensor { shape, encoding, data: &data[offset as usize..end as usize] };
        if all.insert(name, tensor).is_some() {
            return Err(damaged("is there twice"));
        }
    }
    Ok(all)
}

const U8: u32 = 0;
const I8: u32 = 1;
const U16: u32 = 2;
const I16: u32 = 3;
pub(super) const U32: u32 = 4;
pub(super) const I32: u32 = 5;
pub(super) const F32: u32 = 6;
pub(super) const BOOL: u32 = 7;
pub(super) const STRING: u32 = 8;
pub(super) const ARRAY: u32 = 9;
const U64: u32 = 10;
const I64: u32 = 11;
const F64: u32 = 12;

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: u64, what: &'static str) -> Result<&'a [u8], GgufError> {
        let rest = &self.bytes[self.at..];
        let n = usize::try_from(n).ok().filter(|n| *n <= rest.len());
        let taken = &rest[..n.ok_or(GgufError::Truncated(what))?];
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of things of at least `each` bytes.
    fn count(&mut self, what: &'static str, each: u64) -> Result<u64, GgufError> {
        let got = self.u64(what)?;
        let rest = (self.bytes.len() - self.at) as u64;
        if got > rest / each { Err(GgufError::Lying { what, got }) } else { Ok(got) }
    }

    fn string(&mut self, what: &'static str) -> Result<&'a [u8], GgufError> {
        let len = self.count(what, 1)?;
        self.take(len, what)
    }

    fn key(&mut self, what: &'static str) -> Result<&'a str, GgufError> {
        std::str::from_utf8(self.string(what)?)
            .map_err(|_| GgufError::Damaged(format!("{what} (a name is no text)")))
    }

    fn item(&mut self, kind: u32, depth: usize) -> Result<Item<'a>, GgufError> {
        let what = "the metadata";
        Ok(match kind {
            U8 => Item::Whole(self.array::<1>(what)?[0].into()),
            I8 => Item::Whole((self.array::<1>(what)?[0] as i8).into()),
            U16 => Item::Whole(u16::from_le_bytes(self.array(what)?).into()),
            I16 => Item::Whole(i16::from_le_bytes(self.array(what)?).into()),
            U32 => Item::Whole(self.u32(what)?.into()),
            I32 => Item::Whole(i32::from_le_bytes(self.array(what)?).into()),
            F32 => Item::Float(f32::from_le_bytes(self.array(what)?).into()),
            BOOL => Item::Bool(self.array::<1>(what)?[0] != 0),
            STRING => Item::Text(self.string(what)?),
            U64 => Item::Whole(self.u64(what)?.into()),
            I64 => Item::Whole(i64::from_le_bytes(self.array(what)?).into()),
            F64 => Item::Float(f64::from_le_bytes(self.array(what)?)),
            ARRAY if depth < MAX_DEPTH => {
                let kind = self.u32(what)?;
                let len = self.count(what, least_bytes(kind))?;
                let start = self.at;
                for _ in 0..len {
                    self.item(kind, depth + 1)?;
                }
                Item::Array { kind, len, bytes: &self.bytes[start..self.at] }
            }
            other => return Err(GgufError::Damaged(format!("the metadata (kind {other})"))),
        })
    }

    fn tensor(&mut self) -> Result<Listed<'a>, GgufError> {
        let what = "the list of tensors";
        let name = self.key(what)?;
        let damaged = |why: String| GgufError::Damaged(format!("{what} ({name:.60} {why})"));
        let n_dimensions = self.u32(what)?;
        if !(1..=MAX_DIMENSIONS).contains(&n_dimensions) {
            return Err(damaged(format!("has {n_dimensions} dimensions")));
        }
        let (mut shape, mut values) = (Vec::new(), 1u64);
        for _ in 0..n_dimensions {
            let n = self.u64(what)?;
            values = values
                .checked_mul(n)
                .filter(|values| (1..=MAX_VALUES).contains(values))
                .ok_or_else(|| damaged(format!("has a dimension of {n}")))?;
            // No larger than `MAX_VALUES`.
            shape.push(n as usize);
        }
        let encoding = Encoding::of_ggml(self.u32(what)?)
            .map_err(|got| GgufError::Encoding { name: name.chars().take(60).collect(), got })?;
        if !encoding.fits(shape[0]) {
            return Err(damaged(format!("has rows of {} as {}", shape[0], encoding.name())));
        }
        let offset = self.u64(what)?;
        // ggml counts dimensions from the contiguous one.
        shape.reverse();
        Ok((name, shape, encoding, offset))
    }
}

/// Bytes that a value of a kind takes at least.
fn least_bytes(kind: u32) -> u64 {
    match kind {
        U16 | I16 => 2,
        U32 | I32 | F32 => 4,
        STRING | U64 | I64 | F64 => 8,
        ARRAY => 12,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::container::{Entry, header};

    fn entry(name: &str, shape: &[usize], encoding: Encoding) -> Entry {
        Entry { name: name.to_owned(), shape: shape.to_vec(), encoding }
    }

    /// A small file: two tensors and an entry of every kind that is written.
    fn file() -> Vec<u8> {
        let metadata = [
            ("a.number", Value::U32(7)),
            ("a.fraction", Value::F32(0.5)),
            ("a.flag", Value::Bool(true)),
            ("a.text", Value::String("x".to_owned())),
            ("a.texts", Value::Strings(vec!["é".to_owned(), String::new()])),
            ("a.kinds", Value::I32s(vec![1, -2])),
            ("a.scores", Value::F32s(vec![0.25])),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
        let entries = [entry("m", &[2, 32], Encoding::Q8_0), entry("v", &[3], Encoding::F32)];
        let mut bytes = header(&metadata, &entries);
        bytes.extend([1; 96 + 12]);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = file();
        let read = Header::read(&bytes).expect("our own file");
        assert_eq!(read.size("a.number"), Ok(Some(7)));
        assert_eq!(read.number("a.fraction"), Ok(Some(0.5)));
        assert_eq!(read.text("a.text"), Ok(Some("x")));
        assert_eq!(read.text("a.none"), Ok(None));
        assert!(read.text("a.number").is_err() && read.size("a.text").is_err());
        let below = read.below("a.").expect("all are read");
        assert_eq!(below.len(), 7);
        assert!(below.contains(&("kinds".to_owned(), Value::I32s(vec![1, -2]))));
        assert!(below.contains(&("scores".to_owned(), Value::F32s(vec![0.25]))));
        let strings = Value::Strings(vec!["é".to_owned(), String::new()]);
        assert!(below.contains(&("texts".to_owned(), strings)));
        assert_eq!(
            (read.tensors["m"].data.len(), &read.tensors["m"].shape[..]),
            (68, &[2, 32][..])
        );
        assert_eq!(read.tensors["v"].data.len(), 12);
    }

    #[test]
    fn a_file_that_ends_early_is_refused_wherever_it_ends() {
        let bytes = file();
        for end in 0..bytes.len() {
            assert!(Header::read(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn lying_headers_cost_an_error_and_no_memory() {
        let plain = file();
        let with = |at: usize, new: &[u8]| {
            let mut bytes = plain.clone();
            bytes[at..at + new.len()].copy_from_slice(new);
            Header::read(&bytes).map(|_| ()).expect_err("refused")
        };
        assert_eq!(with(0, b"GGML"), GgufError::Magic);
        assert_eq!(with(4, &1u32.to_le_bytes()), GgufError::Version(1));
        assert_eq!(with(4, &3u32.to_be_bytes()), GgufError::BigEndian);
        for at in [8, 16] {
            assert!(matches!(with(at, &u64::MAX.to_le_bytes()), GgufError::Lying { .. }));
            assert!(matches!(with(at, &(1u64 << 30).to_le_bytes()), GgufError::Lying { .. }));
        }
        // The length of the first key, and its kind.
        assert!(matches!(with(24, &(1u64 << 40).to_le_bytes()), GgufError::Lying { .. }));
        assert!(matches!(with(32 + 8, &99u32.to_le_bytes()), GgufError::Damaged(_)));
    }

    #[test]
    fn tensors_of_odd_shapes_and_places_are_refused() {
        let read = |entries: &[Entry], change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = header(&[], entries);
            change(&mut bytes);
            bytes.extend([0; 4096]);
            Header::read(&bytes).map(|_| ())
        };
        let two = [entry("a", &[8], Encoding::F32), entry("b", &[8], Encoding::F32)];
        assert_eq!(read(&two, &|_| {}), Ok(()));
        // Name (9 bytes), dimensions (12), type (4), offset (8) of each.
        let field = |n: usize, at: usize| 24 + n * 33 + at;
        let set = |at: usize, new: u64| {
            read(&two, &|bytes| bytes[at..at + 8].copy_from_slice(&new.to_le_bytes()))
        };
        assert!(matches!(set(field(1, 25), 0), Err(GgufError::Damaged(_))), "on the other one");
        assert!(matches!(set(field(1, 25), 33), Err(GgufError::Damaged(_))), "not aligned");
        assert_eq!(set(field(1, 25), 1 << 20), Err(GgufError::Truncated("the weights")));
        assert_eq!(set(field(1, 25), u64::MAX - 31), Err(GgufError::Truncated("the weights")));
        for odd in [0, 1 << 41, u64::MAX] {
            assert!(matches!(set(field(0, 13), odd), Err(GgufError::Damaged(_))), "{odd} values");
        }
        let byte = |at: usize, new: u8| read(&two, &|bytes| bytes[at] = new);
        assert!(matches!(byte(field(0, 9), 5), Err(GgufError::Damaged(_))), "five dimensions");
        assert!(matches!(byte(field(1, 8), b'a'), Err(GgufError::Damaged(_))), "twice");
        let got = "IQ2_XXS".to_owned();
        let name = "a".to_owned();
        assert_eq!(byte(field(0, 21), 16), Err(GgufError::Encoding { name, got }));
        assert!(matches!(byte(field(0, 21), 2), Err(GgufError::Damaged(_))), "8 in blocks of 32");
    }
}
