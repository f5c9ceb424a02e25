//! `#include "x.h"` and `#include <x.h>`: beside the file, in the usual folders, or anywhere if
//! only one file fits.

use super::{FileIndex, folder, follow, join};

pub(super) fn resolve(from: &str, import: &str, files: &FileIndex) -> Vec<String> {
    let Some(start) = import.find(['"', '<']) else { return Vec::new() };
    let close = if import[start..].starts_with('"') { '"' } else { '>' };
    let Some(end) = import[start + 1..].find(close) else { return Vec::new() };
    let header = &import[start + 1..start + 1 + end];
    let beside = if close == '"' { follow(folder(from), header) } else { None };
    let usual = ["include", "src", ""].map(|root| follow(root, header));
    let near =
        beside.into_iter().chain(usual.into_iter().flatten()).find(|path| files.contains(path));
    let only = || match files.ending_with(header)[..] {
        [path] => Some(path.to_owned()),
        _ => None,
    };
    near.or_else(only)
        .filter(|path| !path.is_empty() && *path != join("", from))
        .into_iter()
        .collect()
}
