//! Which known name somebody may have meant: keys, values, languages.

/// The known name that is nearest to what was written, if it is near enough to be a slip.
pub fn nearest<'a, S>(written: &str, known: impl IntoIterator<Item = &'a S>) -> Option<&'a str>
where
    S: AsRef<str> + ?Sized + 'a,
{
    let plain = plain(written);
    let distance = |name: &str| strsim::damerau_levenshtein(&plain, &self::plain(name));
    // A slip of one letter in four, at least one: `lines` is not a slip for `line_tokens`.
    let near =
        known.into_iter().map(|name| name.as_ref()).map(|name| (distance(name), name)).min()?;
    (near.0 <= (plain.chars().count().min(64) / 4).max(1)).then_some(near.1)
}

/// `lineTokens`, `line-tokens` and `LINE_TOKENS` are one name.
fn plain(name: &str) -> String {
    name.chars()
        .take(64)
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

/// What is wrong with a language's name in a list of languages; `None`: it is a language id that
/// editors send, or `*`.
pub fn doubtful_language(id: &str) -> Option<String> {
    if id == "*" || LANGUAGES.contains(&id) {
        return None;
    }
    let by_alias = ALIASES
        .iter()
        .find(|(alias, _)| alias.eq_ignore_ascii_case(id.trim_start_matches('.')))
        .map(|(_, id)| *id);
    let hint = by_alias
        .or_else(|| nearest(id, LANGUAGES.iter().copied()))
        .map(|near| format!(": did you mean {near:?}?"))
        .unwrap_or_default();
    Some(format!("no editor is known to call a language {id:?}{hint}"))
}

/// What editors call the language of files with this ending, in lower case, where ending and id are
/// the same or nearly so.
pub fn language_of_ending(ending: &str) -> Option<&'static str> {
    let by_alias = ALIASES.iter().find(|(alias, _)| *alias == ending).map(|(_, id)| *id);
    by_alias.or_else(|| LANGUAGES.iter().copied().find(|id| *id == ending))
}

/// Names and endings that people write for a language id.
const ALIASES: [(&str, &str); 30] = [
    ("py", "python"),
    ("python3", "python"),
    ("js", "javascript"),
    ("mjs", "javascript"),
    ("node", "javascript"),
    ("jsx", "javascriptreact"),
    ("ts", "typescript"),
    ("tsx", "typescriptreact"),
    ("rs", "rust"),
    ("golang", "go"),
    ("c++", "cpp"),
    ("cc", "cpp"),
    ("cxx", "cpp"),
    ("c#", "csharp"),
    ("f#", "fsharp"),
    ("md", "markdown"),
    ("text", "plaintext"),
    ("txt", "plaintext"),
    ("yml", "yaml"),
    ("rb", "ruby"),
    ("kt", "kotlin"),
    ("ps1", "powershell"),
    ("pwsh", "powershell"),
    ("docker", "dockerfile"),
    ("make", "makefile"),
    ("objc", "objective-c"),
    ("protobuf", "proto3"),
    ("hs", "haskell"),
    ("ex", "elixir"),
    ("pl", "perl"),
];

/// Language ids that editors send: those of LSP's specification and VS Code, and filetypes that
/// other editors send as they are.
const LANGUAGES: [&str; 211] = [
    "abap",
    "ada",
    "agda",
    "apex",
    "asciidoc",
    "asm",
    "astro",
    "awk",
    "bash",
    "bat",
    "bazel",
    "beancount",
    "bibtex",
    "bicep",
    "bzl",
    "c",
    "chatagent",
    "clojure",
    "cmake",
    "cobol",
    "coffeescript",
    "conf",
    "cpp",
    "crystal",
    "cs",
    "csharp",
    "css",
    "csv",
    "cucumber",
    "cuda",
    "cuda-cpp",
    "cypher",
    "d",
    "dart",
    "dhall",
    "diff",
    "django-html",
    "django-txt",
    "djangohtml",
    "dockercompose",
    "dockerfile",
    "dotenv",
    "edge",
    "editorconfig",
    "elisp",
    "elixir",
    "elm",
    "erb",
    "erlang",
    "feature",
    "fish",
    "fortran",
    "freemarker",
    "fsharp",
    "gdscript",
    "gherkin",
    "git-commit",
    "git-rebase",
    "gitcommit",
    "gitignore",
    "gitrebase",
    "gleam",
    "glsl",
    "go",
    "go.mod",
    "go.sum",
    "gomod",
    "gosum",
    "gotmpl",
    "gowork",
    "graphql",
    "groovy",
    "haml",
    "handlebars",
    "haskell",
    "haxe",
    "hcl",
    "helm",
    "hjson",
    "hlsl",
    "html",
    "htmldjango",
    "http",
    "ignore",
    "ini",
    "instructions",
    "ipynb",
    "jade",
    "java",
    "javascript",
    "javascriptreact",
    "jinja",
    "json",
    "json5",
    "jsonc",
    "jsonl",
    "jsp",
    "julia",
    "jupyter",
    "just",
    "kotlin",
    "latex",
    "less",
    "liquid",
    "lisp",
    "log",
    "lua",
    "luau",
    "make",
    "makefile",
    "markdown",
    "markdown_inline",
    "matlab",
    "mdx",
    "mermaid",
    "meson",
    "mojo",
    "mustache",
    "nim",
    "ninja",
    "nix",
    "notebook",
    "nu",
    "nunjucks",
    "objective-c",
    "objective-cpp",
    "ocaml",
    "odin",
    "org",
    "pascal",
    "perl",
    "perl6",
    "php",
    "pip-requirements",
    "plaintext",
    "po",
    "powershell",
    "prisma",
    "prolog",
    "prompt",
    "properties",
    "proto",
    "proto3",
    "pug",
    "puppet",
    "purescript",
    "python",
    "qml",
    "quarto",
    "r",
    "racket",
    "raku",
    "razor",
    "reason",
    "requirements",
    "rescript",
    "restructuredtext",
    "rmd",
    "robotframework",
    "rst",
    "ruby",
    "rust",
    "sass",
    "scala",
    "scheme",
    "scminput",
    "scss",
    "search-result",
    "sh",
    "shaderlab",
    "shellscript",
    "skill",
    "slim",
    "snippets",
    "solidity",
    "sparql",
    "sql",
    "sshconfig",
    "starlark",
    "stylus",
    "svelte",
    "swift",
    "systemverilog",
    "tcl",
    "templ",
    "terraform",
    "tex",
    "toml",
    "turtle",
    "twig",
    "typescript",
    "typescriptreact",
    "typst",
    "v",
    "vala",
    "vb",
    "verilog",
    "vhdl",
    "vim",
    "viml",
    "vue",
    "vue-html",
    "wasm",
    "wat",
    "wgsl",
    "xml",
    "xquery",
    "xsl",
    "yaml",
    "zig",
    "zsh",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near_and_other_words_are_not() {
        let known = ["line_tokens", "block_tokens", "min_confidence"];
        for (written, meant) in [
            ("line_token", Some("line_tokens")),
            ("lineTokens", Some("line_tokens")),
            ("line-tokens", Some("line_tokens")),
            ("blok_tokens", Some("block_tokens")),
            ("min_confidance", Some("min_confidence")),
            ("tokens", None),
            ("", None),
            (&"x".repeat(1 << 20), None),
        ] {
            assert_eq!(
                nearest(written, known.iter().copied()),
                meant,
                "{}",
                &written[..written.len().min(20)]
            );
        }
    }

    #[test]
    fn languages_are_known_or_the_nearest_is_named() {
        for id in ["python", "cpp", "typescriptreact", "markdown", "plaintext", "*", "vue", "zig"] {
            assert_eq!(doubtful_language(id), None, "{id}");
        }
        for (id, meant) in [
            ("pyhton", "python"),
            ("javscript", "javascript"),
            ("markdwon", "markdown"),
            ("Python", "python"),
            ("js", "javascript"),
            (".tsx", "typescriptreact"),
            ("c++", "cpp"),
        ] {
            let told = doubtful_language(id).unwrap();
            assert!(
                told.contains(&format!("{id:?}"))
                    && told.contains(&format!("did you mean {meant:?}?")),
                "{told}"
            );
        }
        assert_eq!(
            doubtful_language("klingon").unwrap(),
            "no editor is known to call a language \"klingon\""
        );
    }
}
