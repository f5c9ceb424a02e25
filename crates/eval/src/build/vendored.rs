//! Paths of code that nobody in the project wrote by hand: copies of other projects, build
//! products, generated files.

use lacuna_train::mine::filter::is_generated as says_generated;
use lacuna_train::mine::walk::is_product_name;

/// Names of folders, lower case. `build` and `target` are not among them: what lies there is not
/// committed, or it is source.
const FOLDERS: &[&str] = &[
    "vendor",
    "vendored",
    "_vendor",
    "third_party",
    "thirdparty",
    "third-party",
    "external",
    "extern",
    "node_modules",
    "bower_components",
    "site-packages",
    "dist",
    "bundles",
    "generated",
    "_generated",
    "__generated__",
    "testdata",
    "__snapshots__",
    "fixtures",
];

/// Whether a folder on the way says that this is somebody else's code, a build product, or data of
/// tests.
pub fn is_vendored(path: &str) -> bool {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').any(|f| FOLDERS.contains(&f.to_ascii_lowercase().as_str()))
}

/// Whether the file's name or its first lines say that a program wrote it.
pub fn is_generated(path: &str, text: &str) -> bool {
    is_product_name(path.rsplit('/').next().unwrap_or(path)) || says_generated(text)
}
