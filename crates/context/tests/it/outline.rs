//! What files define and import, language by language.

use lacuna_context::Language::{self, *};
use lacuna_context::{DefinitionKind, SyntaxTree, outline};

fn told(language: Language, text: &str) -> (String, String) {
    let outline = outline(&SyntaxTree::parse_str(language, text), text);
    let definitions: Vec<String> = outline
        .definitions
        .iter()
        .map(|d| {
            let owner = d.owner.as_ref().map_or(String::new(), |owner| format!("{owner}."));
            let doc = if d.doc.is_empty() { String::new() } else { format!(" -- {}", d.doc) };
            format!("{:?} {owner}{}: {}{doc}", d.kind, d.name, d.head)
        })
        .collect();
    let imports: Vec<String> = outline
        .imports
        .iter()
        .map(|i| {
            let names: Vec<String> = i.names.iter().map(|(n, l)| format!("{n}={l}")).collect();
            format!("{}{} {}", i.module, if i.all { " *" } else { "" }, names.join(","))
        })
        .map(|line| line.trim_end().to_owned())
        .collect();
    (definitions.join("\n"), imports.join("\n"))
}

fn check(language: Language, text: &str, definitions: &str, imports: &str) {
    let trimmed = |text: &str| -> String {
        text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n")
    };
    let (found, imported) = told(language, text);
    assert_eq!(found, trimmed(definitions), "{text}");
    assert_eq!(imported, trimmed(imports), "{text}");
}

#[test]
fn python() {
    check(
        Python,
        r#"import os.path as p, sys
from ..a.b import c, d as e
from .f import *
LIMIT: int = 3

class Circle(Shape, metaclass=M):
    """A circle.

    More."""
    SIDES = 0

    def __init__(self, radius: float,
                 name="x"):
        self.radius = radius
        self.radius = 2
        local = 1

    @property
    def area(self) -> float:
        'Of it.'
        def inner(): pass
        return 1

    @classmethod
    @other
    def unit(cls): return cls(1)

if True:
    async def make(n, *, deep: bool = False) -> Circle:
        return Circle(n)
"#,
        "Variable LIMIT: LIMIT: int = 3
         Type Circle: class Circle(Shape, metaclass=M) -- A circle.
         Field Circle.SIDES: SIDES = 0
         Method Circle.__init__: def __init__(self, radius: float, name=\"x\")
         Field Circle.radius: self.radius = radius
         Method Circle.area: @property def area(self) -> float -- Of it.
         Method Circle.unit: @classmethod @other def unit(cls)
         Function make: async def make(n, *, deep: bool = False) -> Circle",
        "os.path =p
         sys =sys
         ..a.b c=c,d=e
         .f *",
    );
}

#[test]
fn typescript_and_javascript() {
    check(
        TypeScript,
        r#"import def, { a, b as c } from './x';
import * as ns from "pkg/y";
import type { T } from '@/t';
export { q as r } from './q';
export * from './all';
/** A shape. */
export abstract class Shape<T> extends Base implements I {
  private readonly size: number = 3;
  constructor(private name: string, other: number) { super(); this.extra = 1; let z = 2; }
  /** Of it. */
  area(scale = 1): number { return 1 }
  abstract grow(): void;
  get half(): number { return 1 }
}
interface Options { depth?: number; run(x: string): Promise<void> }
type Alias = { left: Node } & Other;
type Id = string | number;
enum Color { Red, Green = 'g' }
export const make = async (n: number): Promise<Shape> => { return null };
const LIMIT: number = 3;
export default function main(a: string) {}
namespace N { export function inner() {} }
declare function ambient(x: number): string;
"#,
        "Type Shape: abstract class Shape<T> extends Base implements I -- A shape.
         Field Shape.size: private readonly size: number
         Method Shape.constructor: constructor(private name: string, other: number)
         Field Shape.name: private name: string
         Field Shape.extra: this.extra = 1
         Method Shape.area: area(scale = 1): number -- Of it.
         Method Shape.grow: abstract grow(): void
         Method Shape.half: get half(): number
         Type Options: interface Options
         Field Options.depth: depth?: number
         Method Options.run: run(x: string): Promise<void>
         Type Alias: type Alias = { left: Node } & Other
         Field Alias.left: left: Node
         Type Id: type Id = string | number
         Type Color: enum Color
         Field Color.Red: Red
         Field Color.Green: Green = 'g'
         Function make: const make = async (n: number): Promise<Shape> =>
         Variable LIMIT: const LIMIT: number = 3
         Function main: function main(a: string)
         Function inner: function inner()
         Function ambient: function ambient(x: number): string",
        "./x default=def,a=a,b=c
         pkg/y =ns
         @/t T=T
         ./q q=r
         ./all *",
    );
    check(
        JavaScript,
        r#"const { a, b: c } = require('./x');
const whole = require("y");
class A { #p = 1; q; constructor() { this.z = whole; } static m(x) {} }
A.prototype.n = function (y) { return 1 };
exports.f = (x) => x;
module.exports.k = 3;
function* gen(n) {}
const B = class extends A { o() {} };
"#,
        "Type A: class A
         Field A.#p: #p
         Field A.q: q
         Method A.constructor: constructor()
         Field A.z: this.z = whole
         Method A.m: static m(x)
         Method A.n: A.prototype.n = function (y)
         Function f: exports.f = (x) =>
         Variable k: module.exports.k = 3
         Function gen: function* gen(n)
         Type B: const B = class extends A
         Method B.o: o()",
        "./x a=a,b=c
         y =whole",
    );
}

#[test]
fn java() {
    check(
        Java,
        r#"package p.q;
import a.b.C;
import static a.b.D.e;
import f.*;
/** A shape.
 *  More. */
@Deprecated
public abstract class Shape<T> extends Base implements I {
    @Inject private final Map<String, T> sizes = new HashMap<>();
    int x, y = 2;
    public Shape(int x) { this.x = x; }
    /** Of it. */
    @Override
    public double area(int a,
                       int b) throws E { return 1; }
    enum Color { RED, GREEN(2) { void x() {} }; int code() { return 1; } }
    interface Run { void run(); }
}
record Point(int left, int top) {}
"#,
        "Type Shape: public abstract class Shape<T> extends Base implements I -- A shape.
         Field Shape.sizes: private final Map<String, T> sizes
         Field Shape.x: int x, y = 2
         Field Shape.y: int x, y
         Method Shape.Shape: public Shape(int x)
         Method Shape.area: public double area(int a, int b) throws E -- Of it.
         Type Shape.Color: enum Color
         Field Color.RED: RED
         Field Color.GREEN: GREEN(2)
         Method Color.code: int code()
         Type Shape.Run: interface Run
         Method Run.run: void run()
         Type Point: record Point(int left, int top)
         Field Point.left: int left
         Field Point.top: int top",
        "a.b C=C
         a.b.D e=e
         f *",
    );
}

#[test]
fn rust() {
    check(
        Rust,
        r#"use std::{fmt, io::{self as sio, Read}};
use crate::a::*;
use super::b::C as D;
/// A circle.
#[derive(Debug)]
pub struct Circle<T> { pub radius: T, name: String }
struct Pair(u8, u16);
enum Kind { Small, Large(u8) }
impl<T> fmt::Display for Circle<T> {
    const N: usize = 1;
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fn no() {} Ok(()) }
}
pub trait Area {
    /// Of it.
    fn area(&self) -> f64;
}
pub const LIMIT: usize = 3;
pub async fn make<T>(
    n: T,
) -> Circle<T>
where T: Copy { todo!() }
macro_rules! m { () => {} }
mod inner { pub fn deep() {} }
mod tests { fn hidden() {} }
type Short = Circle<u8>;
"#,
        "Type Circle: pub struct Circle<T> -- A circle.
         Field Circle.radius: pub radius: T
         Field Circle.name: name: String
         Type Pair: struct Pair(u8, u16)
         Type Kind: enum Kind
         Field Kind.Small: Small
         Field Kind.Large: Large(u8)
         Field Circle.N: const N: usize = 1
         Method Circle.fmt: fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result
         Type Area: pub trait Area
         Method Area.area: fn area(&self) -> f64 -- Of it.
         Variable LIMIT: pub const LIMIT: usize = 3
         Function make: pub async fn make<T>(n: T) -> Circle<T> where T: Copy
         Function m: macro_rules! m
         Function deep: pub fn deep()
         Type Short: type Short = Circle<u8>",
        "std fmt=fmt
         std io=sio
         std::io Read=Read
         crate::a *
         super::b C=D",
    );
}

#[test]
fn go() {
    check(
        Go,
        r#"package p
import "net/http"
import (
	m "a/math"
	. "b/dot"
)
// Circle is round.
type Circle[T any] struct {
	Radius, Size float64 `json:"r"`
	Base
}
type Shape interface { Area(scale int) float64 }
type ID string
const (
	A = iota
	B
)
var Default, other = 1, 2
// Area of it.
func (c *Circle[T]) Area(scale int) float64 { return 1 }
func New(r float64) (*Circle, error) { return nil, nil }
"#,
        "Type Circle: type Circle[T any] struct -- Circle is round.
         Field Circle.Radius: Radius, Size float64
         Field Circle.Size: Radius, Size float64
         Type Shape: type Shape interface
         Method Shape.Area: Area(scale int) float64
         Type ID: type ID string
         Variable A: A = iota
         Variable B: B
         Variable Default: Default, other = 1, 2
         Variable other: Default, other = 1, 2
         Method Circle.Area: func (c *Circle[T]) Area(scale int) float64 -- Area of it.
         Function New: func New(r float64) (*Circle, error)",
        "net/http =http
         a/math =m
         b/dot *",
    );
}

#[test]
fn c_and_cpp() {
    check(
        C,
        r#"#ifndef G_H
#define G_H
#include "a/b.h"
#include <stdio.h>
#define LIMIT 3
#define MAX(a, b) ((a) > (b) ? (a) : (b))
/* A circle. */
struct circle { double radius; int *names[3]; int (*run)(int x); };
typedef struct { int left; } point_t;
enum color { RED, GREEN = 2 };
/* Of it. */
static double area(const struct circle *c, int n) { return 1; }
extern int make(int n);
int table[3] = {1, 2, 3};
#endif
"#,
        "Variable LIMIT: #define LIMIT 3
         Function MAX: #define MAX(a, b) ((a) > (b) ? (a) : (b))
         Type circle: struct circle -- A circle.
         Field circle.radius: double radius
         Field circle.names: int *names[3]
         Method circle.run: int (*run)(int x)
         Type point_t: typedef struct point_t
         Field point_t.left: int left
         Type color: enum color
         Field color.RED: RED
         Field color.GREEN: GREEN = 2
         Function area: static double area(const struct circle *c, int n) -- Of it.
         Function make: extern int make(int n)
         Variable table: int table[3]",
        "a/b.h *
         stdio.h *",
    );
    check(
        Cpp,
        r#"namespace n {
template <typename T> class Circle : public Shape {
 public:
  explicit Circle(T r);
  virtual T area() const = 0;
 private:
  T radius_ = 1;
};
using Id = int;
}
template <typename T> T n::Circle<T>::area() const { return 1; }
int Other::count(int n) { return n; }
"#,
        "Type Circle: class Circle : public Shape
         Method Circle.Circle: explicit Circle(T r)
         Method Circle.area: virtual T area() const
         Field Circle.radius_: T radius_
         Type Id: using Id = int
         Method Circle.area: T n::Circle<T>::area() const
         Method Other.count: int Other::count(int n)",
        "",
    );
}

#[test]
fn what_is_broken_long_or_without_a_grammar_is_bounded() {
    assert_eq!(told(Text, "class A: pass"), (String::new(), String::new()));
    let long = format!("def f({}): pass\n", "argument, ".repeat(1000));
    let tree = SyntaxTree::parse_str(Python, &long);
    let outline = outline(&tree, &long);
    assert_eq!(outline.definitions.len(), 1);
    assert!(outline.definitions[0].head.len() <= 200);
    assert_eq!(outline.definitions[0].kind, DefinitionKind::Function);
    // What stands before and behind a broken line is found.
    let (found, _) =
        told(Python, "class A:\n    def f(self): pass\n    def g(self, x = (:\n\ndef h(): pass\n");
    assert!(found.contains("A.f") && found.contains("Type A"), "{found}");
    for language in Language::ALL {
        for text in ["", "\u{0}\u{fffd}(((((", "é🦀 = {", &"class A { ".repeat(2000)] {
            told(language, text);
        }
    }
}
