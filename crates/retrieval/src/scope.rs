//! [`Scope`]: which definitions of the workspace a name means in one file.

use std::collections::HashSet;

use lacuna_context::{DefinitionKind, ImportPath, Language};

use crate::index::{FileId, Index, Symbol};
use crate::modules::{self, From};
use crate::paths;

/// Imports that are followed from file to file, where one hands on what it imports.
const MAX_STEPS: usize = 4;
/// More definitions than these with one name say nothing where no import leads to one.
const MAX_ANYWHERE: usize = 3;
/// Shorter names are not looked for where no import leads to them.
const MIN_ANYWHERE: usize = 4;

/// How a name led to a definition: the less is guessed, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// No import, but few other definitions have the name.
    Anywhere,
    /// A file of the same package.
    Package,
    /// Everything of a file is imported.
    Everything,
    Import,
}

impl By {
    pub fn weight(self) -> f32 {
        match self {
            By::Anywhere => 0.4,
            By::Package | By::Everything => 0.9,
            By::Import => 1.0,
        }
    }
}

/// What the names of one file mean.
pub(crate) struct Scope<'a> {
    index: &'a Index,
    from: From<'a>,
    /// Of the file, with the files they mean.
    imports: Vec<(ImportPath, Vec<FileId>)>,
}

impl<'a> Scope<'a> {
    pub fn new(index: &'a Index, from: From<'a>, imports: Vec<ImportPath>) -> Scope<'a> {
        let resolved = imports.into_iter().map(|import| {
            let files = modules::files(index, from, &import);
            (import, files)
        });
        Scope { index, from, imports: resolved.collect() }
    }

    /// What imports of the file call its names here, with what they mean; names that lead nowhere
    /// are left out.
    pub fn imported(&self) -> Vec<(&str, Vec<Symbol>)> {
        let mut all = Vec::new();
        for (import, files) in &self.imports {
            for (name, local) in import.names.iter().filter(|(name, _)| !name.is_empty()) {
                let symbols = self.of_files(files, name, 0, &mut HashSet::new());
                if !symbols.is_empty() {
                    all.push((local.as_str(), symbols));
                }
            }
        }
        all
    }

    /// Definitions of a name that is used here without an owner.
    pub fn resolve(&self, name: &str) -> (By, Vec<Symbol>) {
        for (import, files) in &self.imports {
            let taken =
                import.names.iter().find(|(taken, local)| local == name && !taken.is_empty());
            if let Some((taken, _)) = taken {
                let found = self.of_files(files, taken, 0, &mut HashSet::new());
                // What is imported from elsewhere is known to be nothing of the workspace.
                return (By::Import, found);
            }
        }
        for (_, files) in self.imports.iter().filter(|(import, _)| import.all) {
            let found = self.of_files(files, name, 0, &mut HashSet::new());
            if !found.is_empty() {
                return (By::Everything, found);
            }
        }
        let found = self.of_package(name);
        if !found.is_empty() {
            return (By::Package, found);
        }
        (By::Anywhere, self.anywhere(name))
    }

    /// Files that a name stands for: a module, a package.
    pub fn module(&self, name: &str) -> Vec<FileId> {
        for (import, files) in &self.imports {
            for (taken, local) in &import.names {
                // `import a.b` is used as `a.b`.
                let is_it = local == name || local.rsplit('.').next() == Some(name);
                if is_it && taken.is_empty() {
                    return files.clone();
                }
                if local == name {
                    return self.submodule(import, taken);
                }
            }
        }
        Vec::new()
    }

    /// `from package import module`, `use crate::module`.
    fn submodule(&self, import: &ImportPath, name: &str) -> Vec<FileId> {
        let module = &import.module;
        let module = match self.from.language {
            Language::Python if module.ends_with('.') => format!("{module}{name}"),
            Language::Python => format!("{module}.{name}"),
            Language::Rust => format!("{module}::{name}"),
            _ => return Vec::new(),
        };
        modules::files(self.index, self.from, &ImportPath { module, ..ImportPath::default() })
    }

    /// Definitions of `name` in files, or in files from which these hand it on.
    fn of_files(
        &self,
        files: &[FileId],
        name: &str,
        depth: usize,
        seen: &mut HashSet<FileId>,
    ) -> Vec<Symbol> {
        let index = self.index;
        if name == "default" {
            return self.default_of(files);
        }
        let is_there = |symbol: &Symbol| {
            files.contains(&symbol.file)
                && (index.owner(*symbol).is_none() || self.from.language == Language::Java)
        };
        let found: Vec<Symbol> = index.named(name).filter(is_there).collect();
        if !found.is_empty() || depth >= MAX_STEPS {
            return found;
        }
        for file in files {
            if !seen.insert(*file) || seen.len() > 64 {
                continue;
            }
            let Some(of) = index.file(*file) else { continue };
            let from = From { root: of.root, path: &of.path, language: of.symbols.language };
            if matches!(from.language, Language::C | Language::Cpp | Language::Go | Language::Java)
            {
                continue;
            }
            for import in index.imports(*file) {
                let taken = import.names.iter().find(|(_, local)| local == name);
                let name = match taken {
                    Some((taken, _)) if !taken.is_empty() => taken,
                    None if import.all => name,
                    _ => continue,
                };
                let behind = modules::files(index, from, &import);
                let found = self.of_files(&behind, name, depth + 1, seen);
                if !found.is_empty() {
                    return found;
                }
            }
        }
        Vec::new()
    }

    /// What a JavaScript file most likely exports: what is called like it, else its first
    /// definition.
    fn default_of(&self, files: &[FileId]) -> Vec<Symbol> {
        let index = self.index;
        let Some(file) = files.first() else { return Vec::new() };
        let plain = |name: &str| -> String {
            name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
        };
        let wanted = plain(paths::last(paths::module(index.path(*file))));
        let of_file: Vec<Symbol> =
            index.of_file(*file).filter(|symbol| index.owner(*symbol).is_none()).collect();
        let named = of_file.iter().find(|symbol| plain(index.name(**symbol)) == wanted);
        let exported =
            of_file.iter().find(|symbol| index.kind(**symbol) != DefinitionKind::Variable);
        named.or(exported).copied().into_iter().collect()
    }

    /// Definitions in files of the same folder, where a language sees them without an import.
    fn of_package(&self, name: &str) -> Vec<Symbol> {
        if !matches!(self.from.language, Language::Go | Language::Java) {
            return Vec::new();
        }
        let folder = paths::folder(self.from.path);
        // Tests of a Java package lie in a folder of the same path below another root.
        let package = folder.find("java/").map_or(folder, |at| &folder[at..]);
        self.index
            .named(name)
            .filter(|symbol| {
                let path = self.index.path(symbol.file);
                self.index.language(symbol.file) == self.from.language
                    && path != self.from.path
                    && paths::ends_with(paths::folder(path), package)
                    && self.index.kind(*symbol) != DefinitionKind::Field
                    && (self.index.kind(*symbol) != DefinitionKind::Method
                        || self.index.owner(*symbol).is_none())
            })
            .collect()
    }

    fn anywhere(&self, name: &str) -> Vec<Symbol> {
        if name.len() < MIN_ANYWHERE {
            return Vec::new();
        }
        let index = self.index;
        let is_free = |symbol: &Symbol| {
            index.owner(*symbol).is_none()
                && index.path(symbol.file) != self.from.path
                && is_akin(index.language(symbol.file), self.from.language)
        };
        let found: Vec<Symbol> = index.named(name).filter(is_free).take(MAX_ANYWHERE + 1).collect();
        if found.len() > MAX_ANYWHERE { Vec::new() } else { found }
    }
}

/// Languages whose files can use each other's definitions.
pub(crate) fn is_akin(a: Language, b: Language) -> bool {
    let family = |language| match language {
        Language::JavaScript | Language::TypeScript | Language::Tsx => 0,
        Language::C | Language::Cpp => 1,
        Language::Python => 2,
        Language::Rust => 3,
        Language::Go => 4,
        Language::Java => 5,
        Language::Text => 6,
    };
    family(a) == family(b)
}
