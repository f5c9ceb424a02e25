//! The licence of a project, as an SPDX identifier, from the text of its licence file.

/// Names of licence files at the top of a repository, in order of preference.
const NAMES: &[&str] =
    &["license", "licence", "copying", "license-mit", "license-apache", "unlicense"];

/// What SPDX says when nothing is known.
pub const UNKNOWN: &str = "NOASSERTION";

/// The licence file among the paths of a repository: at the top, with or without `.txt`, `.md`,
/// `.rst`.
pub fn licence_file<'a>(paths: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rank = |path: &str| {
        if path.contains('/') {
            return None;
        }
        let lower = path.to_ascii_lowercase();
        let stem =
            [".txt", ".md", ".rst"].iter().find_map(|e| lower.strip_suffix(e)).unwrap_or(&lower);
        NAMES.iter().position(|name| *name == stem)
    };
    paths
        .into_iter()
        .filter_map(|path| rank(path).map(|rank| (rank, path)))
        .min()
        .map(|(_, path)| path)
}

/// The licence that a text is or names, else [`UNKNOWN`]. By phrases that only that licence has;
/// the strictest first.
pub fn identify(text: &str) -> &'static str {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let has = |phrases: &[&str]| phrases.iter().all(|p| text.contains(p));
    let bsd = "redistribution and use in source and binary forms";
    let version_3 = has(&["version 3"]);
    if has(&["gnu affero general public license"]) {
        "AGPL-3.0-only"
    } else if has(&["gnu lesser general public license"]) {
        if version_3 { "LGPL-3.0-only" } else { "LGPL-2.1-only" }
    } else if has(&["gnu general public license"]) {
        if version_3 { "GPL-3.0-only" } else { "GPL-2.0-only" }
    } else if has(&["mozilla public license version 2.0"])
        || has(&["mozilla public license, version 2.0"])
    {
        "MPL-2.0"
    } else if has(&["eclipse public license - v 2.0"]) {
        "EPL-2.0"
    } else if has(&["apache license", "version 2.0"]) {
        "Apache-2.0"
    } else if has(&["python software foundation license"]) || has(&["psf license agreement"]) {
        "PSF-2.0"
    } else if has(&[bsd, "neither the name"])
        || has(&[bsd, "may not be used to endorse"])
        || has(&[bsd, "names of its contributors"])
    {
        "BSD-3-Clause"
    } else if has(&[bsd]) {
        "BSD-2-Clause"
    } else if has(&["permission is hereby granted, free of charge", "the above copyright notice"]) {
        "MIT"
    } else if has(&["permission to use, copy, modify, and/or distribute this software"]) {
        "ISC"
    } else if has(&["this is free and unencumbered software"]) {
        "Unlicense"
    } else {
        UNKNOWN
    }
}

/// `SPDX-License-Identifier: …` in the first lines of a file: it overrules the project's licence
/// file.
pub fn stated(source: &str) -> Option<String> {
    let line = source.lines().take(20).find_map(|l| l.split_once("SPDX-License-Identifier:"))?.1;
    let expression = line.trim().trim_end_matches("*/").trim_end_matches("-->").trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || " .-+()".contains(c);
    (!expression.is_empty() && expression.len() < 100 && expression.chars().all(plain))
        .then(|| expression.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let mit = "MIT License\n\nPermission is hereby granted, free of\ncharge, to any person\n\nThe above copyright notice";
        assert_eq!(identify(mit), "MIT");
        assert_eq!(identify("Apache License\n  Version 2.0, January 2004"), "Apache-2.0");
        let bsd = "Redistribution and use in source and binary forms, with or without";
        assert_eq!(identify(bsd), "BSD-2-Clause");
        assert_eq!(
            identify(&format!("{bsd}\nNeither the name of the copyright holder")),
            "BSD-3-Clause"
        );
        assert_eq!(identify("GNU GENERAL PUBLIC LICENSE Version 2, June 1991"), "GPL-2.0-only");
        assert_eq!(identify("All rights reserved"), UNKNOWN);
    }

    #[test]
    fn files() {
        assert_eq!(
            licence_file(["a/LICENSE", "COPYING", "LICENSE.txt", "license.py"]),
            Some("LICENSE.txt")
        );
        assert_eq!(licence_file(["README", "LICENSE-APACHE", "LICENSE-MIT"]), Some("LICENSE-MIT"));
        assert_eq!(licence_file([]), None);
    }

    #[test]
    fn headers() {
        assert_eq!(
            stated("/* SPDX-License-Identifier: MIT OR Apache-2.0 */\nint x;").as_deref(),
            Some("MIT OR Apache-2.0")
        );
        assert_eq!(stated("# SPDX-License-Identifier: ${x}"), None);
        assert_eq!(stated("code"), None);
    }
}
