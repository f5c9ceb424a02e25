//! `import … from "./x"`, `import "./x"`, `require("./x")`; also `@/x`, which projects map to
//! `src/x`.

use super::{FileIndex, folder, follow, join, quoted};

/// As bundlers and TypeScript look: a TypeScript source stands behind a specifier that names its
/// output.
const EXTENSIONS: &[&str] = &["ts", "tsx", "mts", "cts", "d.ts", "js", "jsx", "mjs", "cjs"];

pub(super) fn resolve(from: &str, import: &str, files: &FileIndex) -> Vec<String> {
    let Some(specifier) = quoted(import).last().copied() else { return Vec::new() };
    let base = if specifier.starts_with("./")
        || specifier.starts_with("../")
        || specifier == "."
        || specifier == ".."
    {
        follow(folder(from), specifier)
    } else if let Some(rest) = specifier.strip_prefix("@/").or_else(|| specifier.strip_prefix("~/"))
    {
        follow("src", rest)
    } else {
        None
    };
    base.and_then(|base| module(&base, files)).into_iter().collect()
}

fn module(base: &str, files: &FileIndex) -> Option<String> {
    let known = |path: &str| EXTENSIONS.iter().any(|e| path.ends_with(&format!(".{e}")));
    if known(base) && files.contains(base) {
        return Some(base.to_owned());
    }
    let mut stems = vec![base];
    stems.extend(
        ["js", "jsx", "mjs", "cjs"].iter().filter_map(|e| base.strip_suffix(&format!(".{e}"))),
    );
    let of = |stem: &str| {
        EXTENSIONS.iter().map(|e| format!("{stem}.{e}")).find(|path| files.contains(path))
    };
    stems.into_iter().find_map(of).or_else(|| of(&join(base, "index")))
}
