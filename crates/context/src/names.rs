//! Which names a text uses that nothing in it binds: what a hole in a file most likely has to bind.
//!
//! Owns: scopes. Which identifiers bind and which use is told by the languages' folders. A rough
//! resolution that would rather miss an unbound name than call a bound one so: classes share the
//! scope around them, names that other files may provide are left out (inherited fields in Java, a
//! package's other files in Go, glob imports), and languages without a module have none. Start at
//! [`Names::of`].

use std::collections::HashSet;

use crate::language::{go, java, javascript, python, rust};
use crate::tree::Visit;
use crate::{Language, SyntaxTree};

/// Larger trees are not looked at, so that a request's time is bounded.
const MAX_NODES: usize = 200_000;
/// A statement that is parsed alone is no longer.
const MAX_LINE_BYTES: usize = 2_000;

/// What an identifier does where it stands; also what the identifiers below a node do, unless one
/// in between says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Use,
    Bind,
    /// A member, a label, a type: no variable.
    Neither,
}

/// Where a node stands: what its parent is, as which field, and what the parent's identifiers do.
pub(crate) struct At<'a> {
    pub parent: &'a str,
    pub field: Option<&'a str>,
    pub kind: &'a str,
    pub inherited: Role,
}

/// What a language's module knows.
pub(crate) struct Rules {
    /// What the identifiers in a node do.
    pub role: fn(&At<'_>) -> Role,
    /// Whether names that are bound in such a node are seen only there.
    pub opens_scope: fn(&str) -> bool,
    /// Whether such a node brings names that are not told.
    pub brings_unknown: fn(&str) -> bool,
    /// Whether every file may use this name.
    pub is_known: fn(&str) -> bool,
}

fn rules(language: Language) -> Option<Rules> {
    Some(match language {
        Language::Python => python::names::RULES,
        Language::JavaScript | Language::TypeScript | Language::Tsx => javascript::names::RULES,
        Language::Rust => rust::names::RULES,
        Language::Java => java::names::RULES,
        Language::Go => go::names::RULES,
        Language::C | Language::Cpp | Language::Text => return None,
    })
}

/// The names around a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Used right of the place, bound nowhere that can be seen there; in the order of their first
    /// use.
    pub unbound: Vec<String>,
}

/// A function, or the file.
struct Scope<'a> {
    parent: usize,
    bound: HashSet<&'a str>,
}

impl Names {
    /// The names that `text`, whose tree is `tree`, uses from `byte` on. Inside of a function,
    /// those used up to its end; elsewhere all.
    ///
    /// `None`: the language has no module, the tree is missing or too large, or the file gets names
    /// from somewhere that cannot be seen.
    pub fn of(tree: &SyntaxTree, text: &str, byte: usize) -> Option<Names> {
        let rules = rules(tree.language())?;
        let end = outermost_function(tree, &rules, byte);
        let Walked { scopes, uses, .. } = walk(tree, &rules, text, byte, end)?;
        let mut unbound: Vec<String> = Vec::new();
        for (name, mut scope) in uses {
            let is_bound = loop {
                if scopes[scope].bound.contains(name) {
                    break true;
                }
                if scope == 0 {
                    break false;
                }
                scope = scopes[scope].parent;
            };
            if !is_bound && !(rules.is_known)(name) && !unbound.iter().any(|other| other == name) {
                unbound.push(name.to_owned());
            }
        }
        Some(Names { unbound })
    }
}

/// Names that a line binds and uses, taken for itself: what it opens is closed for the purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineNames {
    pub binds: Vec<String>,
    pub uses: Vec<String>,
}

/// The names of one statement, or of the head of one. Empty for languages without a module and for
/// lines too long to be one.
pub fn line_names(language: Language, line: &str) -> LineNames {
    let line = line.trim();
    let Some(rules) = rules(language).filter(|_| line.len() <= MAX_LINE_BYTES) else {
        return LineNames::default();
    };
    let text = closed(language, line);
    let tree = SyntaxTree::parse_str(language, &text);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    match walk(&tree, &rules, &text, 0, usize::MAX) {
        Some(Walked { binds, uses, .. }) => LineNames {
            binds: owned(binds),
            uses: owned(uses.into_iter().map(|(name, _)| name).collect()),
        },
        None => LineNames::default(),
    }
}

/// A line with what it opens closed, so that it parses.
fn closed(language: Language, line: &str) -> String {
    let clause = |words: &[&str]| {
        words.iter().any(|w| {
            line.strip_prefix(w).is_some_and(|rest| !rest.starts_with(|c| language.is_word_char(c)))
        })
    };
    let mut text = String::new();
    if language == Language::Python {
        match line {
            _ if clause(&["elif", "else"]) => text.push_str("if 0: pass\n"),
            _ if clause(&["except", "finally"]) => text.push_str("try: pass\n"),
            _ if clause(&["case"]) => text.push_str("match 0:\n "),
            _ => {}
        }
    }
    text.push_str(line);
    if language == Language::Python && line.ends_with(':') {
        text.push_str(" pass");
    }
    for opener in crate::balance(language, line).unmatched_openers.iter().rev() {
        text.push(match opener.byte {
            b'(' => ')',
            b'[' => ']',
            _ => '}',
        });
    }
    text.push('\n');
    text
}

/// Where the outermost function around a place ends; the end of the text where there is none.
fn outermost_function(tree: &SyntaxTree, rules: &Rules, byte: usize) -> usize {
    let mut end = usize::MAX;
    tree.descend(byte, |node| {
        if end == usize::MAX
            && (rules.opens_scope)(node.kind())
            && node.start_byte() < byte
            && byte <= node.end_byte()
        {
            end = node.end_byte();
        }
    });
    end
}

struct Walked<'a> {
    scopes: Vec<Scope<'a>>,
    binds: Vec<&'a str>,
    /// From the place on, with their scopes.
    uses: Vec<(&'a str, usize)>,
}

/// Walks the tree up to `end`; functions that end before `from` are passed over.
fn walk<'a>(
    tree: &SyntaxTree,
    rules: &Rules,
    text: &'a str,
    from: usize,
    end: usize,
) -> Option<Walked<'a>> {
    tree.root()?;
    let mut walked = Walked {
        scopes: vec![Scope { parent: 0, bound: HashSet::new() }],
        binds: Vec::new(),
        uses: Vec::new(),
    };
    // Kind, role and scope of the nodes from the root down.
    let mut path: Vec<(&str, Role, usize)> = Vec::new();
    let (mut n, mut is_known) = (0, true);
    tree.walk(|node, cursor, depth| {
        n += 1;
        let kind = node.kind();
        if n > MAX_NODES || (rules.brings_unknown)(kind) {
            is_known = false;
            return Visit::Stop;
        }
        path.truncate(depth);
        let (parent, inherited, scope) = path.last().copied().unwrap_or(("", Role::Use, 0));
        let role = (rules.role)(&At { parent, field: cursor.field_name(), kind, inherited });
        let range = node.byte_range();
        if node.child_count() == 0 {
            let name = text.get(range.clone()).unwrap_or("");
            match role {
                Role::Bind if is_name(kind) && !name.is_empty() => {
                    // The name of a function belongs to the scope around it.
                    let is_own = cursor.field_name() == Some("name") && (rules.opens_scope)(parent);
                    let scope = if is_own { walked.scopes[scope].parent } else { scope };
                    walked.scopes[scope].bound.insert(name);
                    if parent == "global_statement" {
                        walked.scopes[0].bound.insert(name);
                    }
                    walked.binds.push(name);
                }
                Role::Use if is_name(kind) && range.start >= from && !name.is_empty() => {
                    walked.uses.push((name, scope))
                }
                _ => {}
            }
            return Visit::Over;
        }
        // What lies behind the function that the place is in binds names for it (other functions),
        // but uses none that matter.
        let is_function = (rules.opens_scope)(kind);
        let mut own = scope;
        if is_function {
            own = walked.scopes.len();
            walked.scopes.push(Scope { parent: scope, bound: HashSet::new() });
        }
        path.push((kind, role, own));
        // Only the name of a function that is not looked into.
        let is_passed = path.iter().any(|(kind, ..)| is_body(kind))
            && is_function_body(&path, rules)
            && (range.end < from || range.start >= end);
        if is_passed && !mentions_global(text, &range) { Visit::Over } else { Visit::Into }
    });
    is_known.then_some(walked)
}

/// Leaves that can be variables.
fn is_name(kind: &str) -> bool {
    matches!(
        kind,
        "identifier"
            | "shorthand_property_identifier"
            | "shorthand_property_identifier_pattern"
            | "shorthand_field_identifier"
    )
}

fn is_body(kind: &str) -> bool {
    matches!(kind, "block" | "statement_block" | "constructor_body")
}

/// Whether the last node of the path is the body of a function.
fn is_function_body(path: &[(&str, Role, usize)], rules: &Rules) -> bool {
    match path {
        [.., (function, ..), (body, ..)] => (rules.opens_scope)(function) && is_body(body),
        _ => false,
    }
}

/// Python's functions may bind names of the file.
fn mentions_global(text: &str, range: &std::ops::Range<usize>) -> bool {
    text.get(range.clone()).is_some_and(|body| body.contains("global "))
}
