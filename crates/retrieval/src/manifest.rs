//! What a project's own files say about names of packages: `tsconfig.json`, `package.json`,
//! `go.mod`, `Cargo.toml`. Read for a few lines each; what cannot be read says nothing.

use serde_json::Value;

use crate::paths;

/// Larger ones are not read.
const MAX_BYTES: usize = 256 << 10;

/// What one of them says. Folders are relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// Imports that begin with this name lie in this folder: a package, a module, a crate.
    Package { name: String, folder: String },
    /// Below this folder, imports that begin with `prefix` begin with `target` instead.
    Alias { below: String, prefix: String, target: String },
}

pub(crate) fn is_manifest(path: &str) -> bool {
    matches!(
        paths::last(path),
        "tsconfig.json" | "jsconfig.json" | "package.json" | "go.mod" | "Cargo.toml"
    )
}

pub(crate) fn read(path: &str, text: &str) -> Vec<Says> {
    if text.len() > MAX_BYTES {
        return Vec::new();
    }
    let folder = paths::folder(path).to_owned();
    let package = |name: Option<String>| {
        name.map(|name| Says::Package { name, folder: folder.clone() }).into_iter().collect()
    };
    match paths::last(path) {
        "go.mod" => {
            package(text.lines().find_map(|line| line.trim().strip_prefix("module ")).map(unquoted))
        }
        "Cargo.toml" => package(crate_name(text)),
        "package.json" => {
            package(json(text).and_then(|json| json.get("name")?.as_str().map(str::to_owned)))
        }
        _ => json(text).map_or_else(Vec::new, |json| aliases(&folder, &json)),
    }
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

/// The name of `[package]`, as paths in code have it.
fn crate_name(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim);
    lines.by_ref().find(|line| *line == "[package]")?;
    let name = lines
        .take_while(|line| !line.starts_with('['))
        .find_map(|line| line.strip_prefix("name")?.trim_start().strip_prefix('='))?;
    Some(unquoted(name).replace('-', "_"))
}

/// JSON with comments and commas before closing brackets.
fn json(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let end = end.map_or(rest.len(), |end| end + 2);
            plain.push_str(&rest[..end]);
            end
        } else if c == ',' && rest[1..].trim_start().starts_with(['}', ']']) {
            1
        } else {
            plain.push(c);
            c.len_utf8()
        };
        rest = &rest[skipped..];
    }
    serde_json::from_str(&plain).ok()
}

/// `paths` and `baseUrl` of a `tsconfig.json`.
fn aliases(folder: &str, json: &Value) -> Vec<Says> {
    let Some(options) = json.get("compilerOptions") else { return Vec::new() };
    let base = options.get("baseUrl").and_then(Value::as_str);
    let Some(root) = paths::join(folder, base.unwrap_or(".")) else { return Vec::new() };
    let alias = |prefix: &str, target: &str| {
        Some(Says::Alias {
            below: folder.to_owned(),
            prefix: prefix.trim_end_matches('*').to_owned(),
            target: paths::join(&root, target.trim_end_matches('*'))?,
        })
    };
    let mut all = Vec::new();
    for (prefix, targets) in options.get("paths").and_then(Value::as_object).into_iter().flatten() {
        let targets = targets.as_array().into_iter().flatten().filter_map(Value::as_str);
        all.extend(targets.filter_map(|target| alias(prefix, target)));
    }
    all.extend(base.and_then(|_| alias("", "")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str) -> Vec<Says> {
        vec![Says::Package { name: name.to_owned(), folder: folder.to_owned() }]
    }

    #[test]
    fn every_kind_is_read_and_nonsense_says_nothing() {
        assert_eq!(
            read("a/go.mod", "// x\nmodule example.com/m\n\ngo 1.2\n"),
            package("example.com/m", "a")
        );
        let toml = "[workspace]\nname = \"no\"\n[package]\nversion = \"1\"\nname = \"a-b\"\n";
        assert_eq!(read("crates/x/Cargo.toml", toml), package("a_b", "crates/x"));
        assert_eq!(read("package.json", "{\"name\": \"@s/p\"}"), package("@s/p", ""));
        let alias = |prefix: &str, target: &str| Says::Alias {
            below: "web".to_owned(),
            prefix: prefix.to_owned(),
            target: target.to_owned(),
        };
        let tsconfig = r#"{ // comment
            "compilerOptions": { "baseUrl": "./src", /* x */ "paths": { "@/*": ["*", "../gen/*"], "u": ["lib/u"], }, }
        }"#;
        assert_eq!(
            read("web/tsconfig.json", tsconfig),
            [
                alias("@/", "web/src"),
                alias("@/", "web/gen"),
                alias("u", "web/src/lib/u"),
                alias("", "web/src")
            ]
        );
        for nonsense in ["", "{", "[package]", "\"", "{\"compilerOptions\": 3}", "/*", "//", "\"\\"]
        {
            for name in ["tsconfig.json", "package.json", "go.mod", "Cargo.toml"] {
                assert!(read(name, nonsense).is_empty(), "{name}: {nonsense}");
            }
        }
    }
}
