//! Paths as text: relative to a root, `/` between their parts.

/// The folder of a file; empty for one at the root.
pub(crate) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// What a module is imported by: the path without its ending, and without the name that stands for
/// the folder's own file (`__init__`, `index`, `mod`).
pub(crate) fn module(path: &str) -> &str {
    let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
    let stem_end = match path[name_at..].find('.') {
        Some(dot) if dot > 0 => name_at + dot,
        _ => path.len(),
    };
    let stem = &path[name_at..stem_end];
    if matches!(stem, "__init__" | "index" | "mod") && name_at > 0 {
        &path[..name_at - 1]
    } else {
        &path[..stem_end]
    }
}

/// Last part of a path.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `folder` with a relative path put behind it, `.` and `..` followed; `None`: it leads out of the
/// root.
pub(crate) fn join(folder: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether a path is another or ends with it, as whole parts.
pub(crate) fn ends_with(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

/// Parts that two paths have in common at their start.
pub(crate) fn shared(a: &str, b: &str) -> usize {
    a.split('/').zip(b.split('/')).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_folders_and_what_is_relative() {
        for (path, expected) in [
            ("a/b.py", "a/b"),
            ("a/__init__.py", "a"),
            ("__init__.py", "__init__"),
            ("a/b.test.ts", "a/b"),
            ("x/index.d.ts", "x"),
            ("src/a/mod.rs", "src/a"),
            (".hidden", ".hidden"),
            ("Makefile", "Makefile"),
        ] {
            assert_eq!(module(path), expected, "{path}");
        }
        assert_eq!((folder("a/b/c.py"), folder("c.py"), last("a/b")), ("a/b", "", "b"));
        assert_eq!(join("a/b", "../c/./d").as_deref(), Some("a/c/d"));
        assert_eq!(join("a", "../../b"), None);
        assert!(ends_with("a/b/c", "b/c") && ends_with("b/c", "b/c") && !ends_with("ab/c", "b/c"));
        assert_eq!((shared("a/b/c", "a/b/d"), shared("a", "b")), (2, 0));
    }
}
