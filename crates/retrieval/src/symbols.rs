//! [`FileSymbols`]: the outline of one file, held small.
//!
//! One text holds all signatures, docs, owners and imports of the file; what is told of a symbol is
//! where in it. About 20 bytes a symbol beside that text.

use lacuna_context::{Definition, DefinitionKind, ImportPath, Language, Outline};

use crate::bytes::{Reader, Writer};

/// A stretch of the file's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    len: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// The doc's line stands right behind it.
    head: u32,
    name: u32,
    line: u32,
    head_len: u8,
    name_len: u8,
    doc_len: u8,
    kind: u8,
    /// Number of the owner, from 1; 0: none.
    owner: u16,
}

/// Names stand behind the module: `a=b`, a line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Import {
    module: Span,
    names: Span,
    all: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSymbols {
    pub language: Language,
    text: Box<str>,
    entries: Box<[Entry]>,
    owners: Box<[Span]>,
    imports: Box<[Import]>,
}

const KINDS: [DefinitionKind; 5] = [
    DefinitionKind::Type,
    DefinitionKind::Function,
    DefinitionKind::Method,
    DefinitionKind::Field,
    DefinitionKind::Variable,
];

impl FileSymbols {
    pub fn new(language: Language, outline: &Outline) -> FileSymbols {
        let mut text = String::new();
        let mut owners: Vec<(&str, Span)> = Vec::new();
        let entries = outline.definitions.iter().map(|definition| {
            let Definition { kind, name, owner, head, doc, line } = definition;
            let owner = owner.as_ref().and_then(|owner| {
                let known = owners.iter().rposition(|(known, _)| known == owner);
                let at = known.unwrap_or_else(|| {
                    owners.push((owner, push(&mut text, owner)));
                    owners.len() - 1
                });
                u16::try_from(at + 1).ok()
            });
            let head_at = push(&mut text, short(head));
            let doc = push(&mut text, short(doc));
            let name_at = match head.find(name.as_str()).filter(|at| at + name.len() <= 255) {
                Some(at) => head_at.start + at as u32,
                None => push(&mut text, short(name)).start,
            };
            let kind = KINDS.iter().position(|known| known == kind).unwrap_or(0) as u8;
            Entry {
                head: head_at.start,
                name: name_at,
                line: *line,
                head_len: head_at.len as u8,
                name_len: short(name).len() as u8,
                doc_len: doc.len as u8,
                kind,
                owner: owner.unwrap_or(0),
            }
        });
        let entries: Vec<Entry> = entries.collect();
        let imports = outline.imports.iter().map(|import| {
            let module = push(&mut text, &import.module);
            let names: Vec<String> =
                import.names.iter().map(|(name, local)| format!("{name}={local}")).collect();
            Import { module, names: push(&mut text, &names.join("\n")), all: import.all }
        });
        let imports = imports.collect();
        let owners = owners.into_iter().map(|(_, span)| span).collect();
        FileSymbols { language, text: text.into(), entries: entries.into(), owners, imports }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn name(&self, symbol: usize) -> &str {
        let entry = &self.entries[symbol];
        self.slice(entry.name, entry.name_len.into())
    }

    pub fn head(&self, symbol: usize) -> &str {
        let entry = &self.entries[symbol];
        self.slice(entry.head, entry.head_len.into())
    }

    pub fn doc(&self, symbol: usize) -> &str {
        let entry = &self.entries[symbol];
        self.slice(entry.head + u32::from(entry.head_len), entry.doc_len.into())
    }

    pub fn kind(&self, symbol: usize) -> DefinitionKind {
        KINDS[usize::from(self.entries[symbol].kind)]
    }

    pub fn line(&self, symbol: usize) -> u32 {
        self.entries[symbol].line
    }

    pub fn owner(&self, symbol: usize) -> Option<&str> {
        let number = usize::from(self.entries[symbol].owner).checked_sub(1)?;
        self.owners.get(number).map(|span| self.span(*span))
    }

    pub fn imports(&self) -> impl Iterator<Item = ImportPath> + '_ {
        self.imports.iter().map(|import| ImportPath {
            module: self.span(import.module).to_owned(),
            names: self
                .span(import.names)
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(name, local)| (name.to_owned(), local.to_owned()))
                .collect(),
            all: import.all,
        })
    }

    /// Bytes that it takes on the heap.
    pub fn n_bytes(&self) -> usize {
        self.text.len()
            + size_of_val(&*self.entries)
            + size_of_val(&*self.owners)
            + size_of_val(&*self.imports)
    }

    fn slice(&self, start: u32, len: usize) -> &str {
        let start = start as usize;
        self.text.get(start..start + len).unwrap_or_default()
    }

    fn span(&self, span: Span) -> &str {
        self.slice(span.start, span.len.into())
    }

    pub fn write(&self, to: &mut Writer) {
        to.text(self.language.name());
        to.text(&self.text);
        to.number(self.entries.len());
        for Entry { head, name, line, head_len, name_len, doc_len, kind, owner } in &self.entries {
            [*head, *name, *line].iter().for_each(|n| to.u32(*n));
            [*head_len, *name_len, *doc_len, *kind].iter().for_each(|n| to.u8(*n));
            to.u16(*owner);
        }
        to.number(self.owners.len());
        self.owners.iter().for_each(|span| span.write(to));
        to.number(self.imports.len());
        for import in &self.imports {
            import.module.write(to);
            import.names.write(to);
            to.u8(import.all.into());
        }
    }

    /// `None`: the bytes are not those of [`FileSymbols::write`]. What is read is sound: every span
    /// lies in the text.
    pub fn read(from: &mut Reader) -> Option<FileSymbols> {
        let language = Language::from_name(from.text()?)?;
        let text: Box<str> = from.text()?.into();
        let lies =
            |start: u32, len: usize| text.get(start as usize..start as usize + len).is_some();
        let n = from.count(18)?;
        let mut entries = Vec::with_capacity(n);
        for _ in 0..n {
            let (head, name, line) = (from.u32()?, from.u32()?, from.u32()?);
            let (head_len, name_len) = (from.u8()?, from.u8()?);
            let (doc_len, kind, owner) = (from.u8()?, from.u8()?, from.u16()?);
            let doc = head.checked_add(head_len.into())?;
            let is_sound = lies(head, head_len.into())
                && lies(name, name_len.into())
                && lies(doc, doc_len.into())
                && usize::from(kind) < KINDS.len();
            if !is_sound {
                return None;
            }
            entries.push(Entry { head, name, line, head_len, name_len, doc_len, kind, owner });
        }
        let n = from.count(6)?;
        let mut owners = Vec::with_capacity(n);
        for _ in 0..n {
            owners.push(Span::read(from).filter(|span| lies(span.start, span.len.into()))?);
        }
        let n = from.count(13)?;
        let mut imports = Vec::with_capacity(n);
        for _ in 0..n {
            let import = Import {
                module: Span::read(from)?,
                names: Span::read(from)?,
                all: from.u8()? != 0,
            };
            let is_sound =
                [import.module, import.names].iter().all(|span| lies(span.start, span.len.into()));
            imports.push(Some(import).filter(|_| is_sound)?);
        }
        Some(FileSymbols {
            language,
            entries: entries.into(),
            owners: owners.into(),
            imports: imports.into(),
            text,
        })
    }
}

impl Span {
    fn write(&self, to: &mut Writer) {
        to.u32(self.start);
        to.u16(self.len);
    }

    fn read(from: &mut Reader) -> Option<Span> {
        Some(Span { start: from.u32()?, len: from.u16()? })
    }
}

/// Appends a text, or as much of it as can be told.
fn push(text: &mut String, more: &str) -> Span {
    let more = &more[..more.floor_char_boundary(u16::MAX.into())];
    let start = text.len() as u32;
    text.push_str(more);
    Span { start, len: more.len() as u16 }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(u8::MAX.into())]
}
