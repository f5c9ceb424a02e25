//! Modules and names: registers, labels, parameters, variables. Statements become instructions in
//! `decode`.

use std::collections::{BTreeMap, HashMap};

use crate::decode;
use crate::fault::{ParseError, Place};
use crate::op::{Instr, Op, Pred, Reg};
use crate::spaces::MODULE_BASE;
use crate::text::{Item, What, arguments, items};
use crate::value::low;

/// The kernels of a PTX text.
pub struct Module {
    kernels: BTreeMap<String, Kernel>,
}

/// A kernel, decoded.
pub struct Kernel {
    pub(crate) name: String,
    pub(crate) params: Vec<Parameter>,
    pub(crate) param_bytes: usize,
    pub(crate) code: Vec<Instr>,
    pub(crate) regs: usize,
    pub(crate) preds: usize,
    /// Registers that hold special registers.
    pub(crate) specials: Vec<(Special, Reg)>,
    /// Values of the registers from [`FIRST_CONSTANT`] on.
    pub(crate) constants: Vec<u64>,
    /// Bytes of shared memory whose size the kernel states.
    pub(crate) shared: usize,
    /// Uses shared memory whose size the launch states.
    pub(crate) dynamic_shared: bool,
    pub(crate) local: usize,
    /// The module's variables, initialised.
    pub(crate) variables: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Thread(usize),
    Block(usize),
    BlockSize(usize),
    GridSize(usize),
    Lane,
    Warp,
    LaneMask(std::cmp::Ordering, bool),
}

impl Special {
    fn parse(name: &str) -> Option<Special> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let axis = |rest: &str| ["x", "y", "z"].iter().position(|axis| *axis == rest);
        if let Some((register, rest)) = name.split_once('.') {
            let axis = axis(rest)?;
            return Some(match register {
                "%tid" => Special::Thread(axis),
                "%ctaid" => Special::Block(axis),
                "%ntid" => Special::BlockSize(axis),
                "%nctaid" => Special::GridSize(axis),
                _ => return None,
            });
        }
        Some(match name {
            "%laneid" => Special::Lane,
            "%warpid" => Special::Warp,
            "%lanemask_eq" => Special::LaneMask(Equal, false),
            "%lanemask_lt" => Special::LaneMask(Less, false),
            "%lanemask_le" => Special::LaneMask(Less, true),
            "%lanemask_gt" => Special::LaneMask(Greater, false),
            "%lanemask_ge" => Special::LaneMask(Greater, true),
            _ => return None,
        })
    }
}

/// An operand, its name looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operand {
    /// Register and its bits.
    Reg(Reg, u32),
    Pred(Pred, bool),
    Imm(u64),
    Vector(Vec<Operand>),
    /// Base and offset.
    Address(Box<Operand>, i64),
    /// Offset among the parameters.
    Param(u64),
    /// Address of a variable in its space.
    Variable(u64),
    Special(Special),
    /// `_`
    Sink,
    /// A label, or a name nobody knows.
    Name(String),
}

impl Module {
    /// Reads a PTX text. All of it must be understood.
    pub fn parse(ptx: &str) -> Result<Module, ParseError> {
        let items = items(ptx)?;
        let files: HashMap<u32, String> = items
            .iter()
            .filter_map(|item| match &item.what {
                What::File(index, name) => Some((*index, name.clone())),
                _ => None,
            })
            .collect();
        let mut variables = Variables::default();
        let mut kernels = BTreeMap::new();
        let mut rest = items.as_slice();
        while let Some((item, after)) = rest.split_first() {
            rest = after;
            match &item.what {
                What::Header(header) => {
                    let end =
                        body_end(rest).ok_or_else(|| error(item, "an unclosed body", header))?;
                    let (body, after) = rest.split_at(end);
                    let kernel = Parser::new(&files, &variables).kernel(header, item, body)?;
                    kernels.insert(kernel.name.clone(), kernel);
                    rest = after;
                }
                What::Statement(text) => {
                    variables.declare(text).map_err(|problem| error(item, problem, text))?
                }
                What::File(..) | What::Line(..) => {}
                What::Open | What::Close | What::Label(_) => {
                    return Err(error(item, "only kernels are known (inline all functions)", ""));
                }
            }
        }
        Ok(Module { kernels })
    }

    /// The kernel of that name.
    pub fn kernel(&self, name: &str) -> Result<&Kernel, ParseError> {
        self.kernels.get(name).ok_or_else(|| ParseError {
            line: 0,
            problem: "no such kernel",
            text: name.to_owned(),
        })
    }

    /// Names of the kernels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kernels.keys().map(String::as_str)
    }
}

impl Kernel {
    /// Number of decoded instructions.
    pub fn instructions(&self) -> usize {
        self.code.len()
    }

    /// Bytes of shared memory that the kernel states itself.
    pub fn static_shared(&self) -> usize {
        self.shared
    }
}

fn error(item: &Item, problem: &'static str, text: &str) -> ParseError {
    ParseError { line: item.ptx_line, problem, text: text.to_owned() }
}

/// Items of the braces that open first, the closing one included.
fn body_end(items: &[Item]) -> Option<usize> {
    let mut depth = 0;
    for (at, item) in items.iter().enumerate() {
        match item.what {
            What::Open => depth += 1,
            What::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// Variables of a module.
#[derive(Default)]
struct Variables {
    at: HashMap<String, u64>,
    bytes: Vec<u8>,
    /// Names of `.extern .shared` arrays.
    dynamic: Vec<String>,
    /// Shared memory of functions that several kernels inlined: each that names it has its own.
    shared: Vec<Declared>,
}

impl Variables {
    fn declare(&mut self, text: &str) -> Result<(), &'static str> {
        let words: Vec<&str> =
            text.split(['=', '{']).next().unwrap_or("").split_whitespace().collect();
        let has = |word: &str| words.contains(&word);
        let declared = Declared::parse(text).ok_or("a declaration")?;
        if has(".extern") && has(".shared") {
            self.dynamic.push(declared.name);
        } else if has(".shared") {
            self.shared.push(declared);
        } else if has(".const") || has(".global") {
            let start = self.bytes.len().next_multiple_of(declared.align.max(16));
            self.bytes.resize(start, 0);
            match text.split_once('=') {
                Some((_, values)) => {
                    let width = declared.width as u32 * 8;
                    for value in
                        values.trim().trim_start_matches('{').trim_end_matches('}').split(',')
                    {
                        let value = low(number(value.trim()).ok_or("an initialiser")?, width);
                        self.bytes.extend_from_slice(&value.to_le_bytes()[..declared.width]);
                    }
                }
                None if has(".const") => {}
                None => return Err("a variable that kernels write is not known: pass a buffer"),
            }
            self.bytes.resize((start + declared.bytes).max(self.bytes.len()), 0);
            self.at.insert(declared.name, MODULE_BASE + start as u64);
        } else {
            return Err("unknown declaration");
        }
        Ok(())
    }
}

/// `.align 4 .b8 name[256]`
struct Declared {
    name: String,
    align: usize,
    /// Bytes of an element.
    width: usize,
    bytes: usize,
}

impl Declared {
    fn parse(text: &str) -> Option<Declared> {
        let text = text.split('=').next()?.trim();
        let words: Vec<&str> = text.split_whitespace().collect();
        let (ty, name) = (words.iter().rev().nth(1)?, words.last()?);
        let width = decode::Ty::parse(ty.strip_prefix('.')?)?.bytes() as usize;
        let align = words
            .iter()
            .position(|word| *word == ".align")
            .and_then(|at| words.get(at + 1)?.parse().ok())
            .unwrap_or(width);
        let (name, dimensions) =
            name.split_once('[').map_or((*name, None), |(name, rest)| (name, Some(rest)));
        let mut len = 1usize;
        for dimension in dimensions.iter().flat_map(|rest| rest.trim_end_matches(']').split("][")) {
            len =
                len.checked_mul(if dimension.is_empty() { 0 } else { dimension.parse().ok()? })?;
        }
        Some(Declared { name: name.to_owned(), align, width, bytes: len.checked_mul(width)? })
    }
}

/// A number as PTX writes it.
pub(crate) fn number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0f").or_else(|| text.strip_prefix("0F")) {
        return u32::from_str_radix(hex, 16).ok().map(u64::from);
    }
    if let Some(hex) = text.strip_prefix("0d").or_else(|| text.strip_prefix("0D")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    let text = text.trim_end_matches('U');
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Bytes of shared or local memory that a kernel may state.
const MOST_BYTES: usize = 1 << 24;
/// Registers that a kernel may declare.
const MOST_REGISTERS: u32 = 1 << 20;

/// Parses one kernel.
pub(crate) struct Parser<'a> {
    files: &'a HashMap<u32, String>,
    variables: &'a Variables,
    kernel: Kernel,
    /// Names by block, innermost last: registers with their bits (1: predicates), variables.
    scopes: Vec<Scope>,
    /// Labels by block and name; blocks are numbered as they open.
    labels: HashMap<(usize, String), u32>,
    /// Branches: instruction, blocks around it, label.
    branches: Vec<(usize, Vec<usize>, String)>,
    constants: HashMap<u64, u32>,
    scope_count: usize,
}

struct Scope {
    number: usize,
    names: HashMap<String, Operand>,
}

/// Registers from here on are a kernel's constants.
pub(crate) const FIRST_CONSTANT: Reg = 1 << 24;

impl<'a> Parser<'a> {
    fn new(files: &'a HashMap<u32, String>, variables: &'a Variables) -> Self {
        Parser {
            files,
            variables,
            kernel: Kernel {
                name: String::new(),
                params: Vec::new(),
                param_bytes: 0,
                code: Vec::new(),
                regs: 0,
                preds: 0,
                specials: Vec::new(),
                constants: Vec::new(),
                shared: 0,
                dynamic_shared: false,
                local: 0,
                variables: variables.bytes.clone(),
            },
            scopes: Vec::new(),
            labels: HashMap::new(),
            branches: Vec::new(),
            constants: HashMap::new(),
            scope_count: 0,
        }
    }

    fn kernel(mut self, header: &str, at: &Item, body: &[Item]) -> Result<Kernel, ParseError> {
        self.header(header).ok_or_else(|| error(at, "a kernel's head", header))?;
        let mut place = Place::default();
        for item in body {
            match &item.what {
                What::Open => {
                    self.scopes.push(Scope { number: self.scope_count, names: HashMap::new() });
                    self.scope_count += 1;
                    if self.scope_count == 1 {
                        let used = |name: &str| {
                            body.iter().any(|item| matches!(&item.what, What::Statement(text) if text.contains(name)))
                        };
                        for declared in
                            self.variables.shared.iter().filter(|declared| used(&declared.name))
                        {
                            self.memory(declared, true)
                                .map_err(|problem| error(item, problem, &declared.name))?;
                        }
                    }
                }
                What::Close => drop(self.scopes.pop()),
                What::Label(name) => {
                    let scope = self.scopes.last().map_or(0, |scope| scope.number);
                    self.labels.insert((scope, name.clone()), self.kernel.code.len() as u32);
                }
                What::Line(file, line, inlined_at) => {
                    let file = self.files.get(file).cloned().unwrap_or_default();
                    place = Place { file, line: *line, inlined_at: *inlined_at, ptx_line: 0 };
                }
                What::Statement(text) if text.starts_with('.') => {
                    self.declare(text).map_err(|problem| error(item, problem, text))?;
                }
                What::Statement(text) => {
                    let place = Place { ptx_line: item.ptx_line, ..place.clone() };
                    let instr = decode::instruction(&mut self, text, place)
                        .map_err(|problem| error(item, problem, text))?;
                    self.kernel.code.push(instr);
                }
                What::Header(_) | What::File(..) => {}
            }
        }
        // A kernel that runs off its end would fall out of the code.
        let place = Place { ptx_line: body.last().map_or(0, |item| item.ptx_line), ..place };
        self.kernel.code.push(Instr { guard: None, op: Op::Exit, place, opcode: "ret".to_owned() });
        self.finish()
    }

    fn header(&mut self, header: &str) -> Option<()> {
        let (head, params) = header.split_once('(').unwrap_or((header, ""));
        self.kernel.name = head.split_whitespace().last()?.to_owned();
        let mut offset = 0usize;
        for param in arguments(params.trim_end().trim_end_matches(')')) {
            // `.param .u64 .ptr .global .align 16 name`: what is said about the pointer does not
            // matter.
            let words: Vec<&str> = param.split_whitespace().collect();
            let ty = words.iter().find_map(|word| decode::Ty::parse(word.strip_prefix('.')?))?;
            let (name, len) = match words.last()?.split_once('[') {
                Some((name, len)) => (name, len.trim_end_matches(']').parse::<usize>().ok()?),
                None => (*words.last()?, 1),
            };
            let own = words
                .iter()
                .position(|word| *word == ".align")
                .and_then(|at| words.get(at + 1)?.parse::<usize>().ok());
            let pointer = words.contains(&".ptr");
            let align = own.filter(|_| !pointer).unwrap_or(ty.bytes() as usize).max(1);
            offset = offset.next_multiple_of(align);
            let bytes = len.checked_mul(ty.bytes() as usize).filter(|bytes| *bytes <= 4096)?;
            self.kernel.params.push(Parameter { name: name.to_owned(), offset, bytes });
            offset += bytes;
        }
        self.kernel.param_bytes = offset;
        Some(())
    }

    fn declare(&mut self, text: &str) -> Result<(), &'static str> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[0] {
            ".pragma" => Ok(()),
            ".reg" => {
                let ty = words
                    .get(1)
                    .and_then(|ty| decode::Ty::parse(ty.strip_prefix('.')?))
                    .ok_or("a type")?;
                let names = text.split_once(words[1]).map_or("", |(_, names)| names);
                for name in arguments(names) {
                    match name.split_once('<') {
                        Some((prefix, count)) => {
                            let count: u32 = count
                                .trim_end_matches('>')
                                .parse()
                                .map_err(|_| "a number of registers")?;
                            if count > MOST_REGISTERS {
                                return Err("too many registers");
                            }
                            (0..count)
                                .for_each(|index| self.register(format!("{prefix}{index}"), ty));
                        }
                        None => self.register(name.to_owned(), ty),
                    }
                }
                Ok(())
            }
            ".shared" | ".local" => {
                let declared = Declared::parse(text).ok_or("a declaration")?;
                self.memory(&declared, words[0] == ".shared")
            }
            _ => Err("unknown directive"),
        }
    }

    /// Shared or local memory of the kernel.
    fn memory(&mut self, declared: &Declared, shared: bool) -> Result<(), &'static str> {
        let used = if shared { &mut self.kernel.shared } else { &mut self.kernel.local };
        let start = used.next_multiple_of(declared.align.max(16));
        *used = start
            .checked_add(declared.bytes)
            .filter(|bytes| *bytes <= MOST_BYTES)
            .ok_or("too much memory")?;
        self.name(declared.name.clone(), Operand::Variable(start as u64));
        Ok(())
    }

    fn name(&mut self, name: String, operand: Operand) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.names.insert(name, operand);
        }
    }

    fn register(&mut self, name: String, ty: decode::Ty) {
        let operand = if ty == decode::Ty::Pred {
            self.kernel.preds += 1;
            Operand::Pred(self.kernel.preds as Pred - 1, false)
        } else {
            self.kernel.regs += 1;
            Operand::Reg(self.kernel.regs as Reg - 1, ty.bits())
        };
        self.name(name, operand);
    }

    /// Looks up what an operand says.
    pub(crate) fn operand(&mut self, text: &str) -> Result<Operand, &'static str> {
        let text = text.trim();
        if let Some(inner) = text.strip_prefix('{') {
            let inner = inner.strip_suffix('}').ok_or("a vector")?;
            return Ok(Operand::Vector(
                arguments(inner)
                    .into_iter()
                    .map(|part| self.operand(part))
                    .collect::<Result<_, _>>()?,
            ));
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or("an address")?.trim();
            let (base, offset) = match inner.rfind('+') {
                Some(at) => {
                    (&inner[..at], number(inner[at + 1..].trim()).ok_or("an offset")? as i64)
                }
                None => (inner, 0),
            };
            return Ok(Operand::Address(Box::new(self.operand(base)?), offset));
        }
        if let Some(negated) = text.strip_prefix('!') {
            return match self.operand(negated)? {
                Operand::Pred(pred, false) => Ok(Operand::Pred(pred, true)),
                _ => Err("only a predicate can be negated"),
            };
        }
        if text == "_" {
            return Ok(Operand::Sink);
        }
        if let Some(found) = self.scopes.iter().rev().find_map(|scope| scope.names.get(text)) {
            return Ok(found.clone());
        }
        if let Some(special) = Special::parse(text) {
            return Ok(Operand::Special(special));
        }
        if text == "WARP_SZ" {
            return Ok(Operand::Imm(32));
        }
        if let Some(value) = number(text) {
            return Ok(Operand::Imm(value));
        }
        if let Some(param) = self.kernel.params.iter().find(|param| param.name == text) {
            return Ok(Operand::Param(param.offset as u64));
        }
        if let Some(address) = self.variables.at.get(text) {
            return Ok(Operand::Variable(*address));
        }
        if self.variables.dynamic.iter().any(|name| name == text) {
            self.kernel.dynamic_shared = true;
            // All of them begin behind what the kernel declares, which precedes its instructions.
            return Ok(Operand::Variable(self.kernel.shared.next_multiple_of(16) as u64));
        }
        if text.starts_with('%') || text.is_empty() {
            return Err("an unknown register");
        }
        Ok(Operand::Name(text.to_owned()))
    }

    /// A register that holds `value` in all lanes.
    pub(crate) fn constant(&mut self, value: u64) -> Reg {
        let next = self.constants.len() as u32;
        let index = *self.constants.entry(value).or_insert(next);
        if index == next {
            self.kernel.constants.push(value);
        }
        FIRST_CONSTANT + index
    }

    /// The register that holds a special register.
    pub(crate) fn special(&mut self, special: Special) -> Reg {
        if let Some((_, reg)) = self.kernel.specials.iter().find(|(known, _)| *known == special) {
            return *reg;
        }
        self.kernel.regs += 1;
        let reg = self.kernel.regs as Reg - 1;
        self.kernel.specials.push((special, reg));
        reg
    }

    /// Notes that the next instruction branches to `label`.
    pub(crate) fn branch(&mut self, label: String) {
        let around = self.scopes.iter().rev().map(|scope| scope.number).collect();
        self.branches.push((self.kernel.code.len(), around, label));
    }

    fn finish(mut self) -> Result<Kernel, ParseError> {
        for (at, around, label) in std::mem::take(&mut self.branches) {
            let target = around.iter().find_map(|scope| self.labels.get(&(*scope, label.clone())));
            let instr = &mut self.kernel.code[at];
            let Some(target) = target else {
                return Err(ParseError {
                    line: instr.place.ptx_line,
                    problem: "an unknown label",
                    text: label,
                });
            };
            instr.op = Op::Branch { target: *target };
        }
        Ok(self.kernel)
    }
}
