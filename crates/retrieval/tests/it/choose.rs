//! What is chosen for a cursor, language by language.

use crate::{chosen_of, shown};

const SHAPES: &str = "//- pkg/shapes.py
import math

class Shape:
    def scale(self, by: float): pass

class Circle(Shape):
    \"\"\"A circle.\"\"\"
    def __init__(self, radius: float):
        self.radius = radius
    def area(self) -> float:
        return math.pi
    def _hidden(self): pass

def make(n: int) -> Circle:
    return Circle(n)

def other(): pass
";

#[test]
fn members_of_what_stands_before_the_cursor_come_first() {
    for (line, is_known) in [
        ("c = Circle(1)\nc.$0", true),
        ("c = make(1)\nx = 1\nc.ar$0", true),
        ("def f(c: Circle, d):\n    c.$0", true),
        ("c: Circle\nprint(c.$0)", true),
        ("d = dict()\nd.$0", false),
    ] {
        let fixture = format!(
            "{SHAPES}//- pkg/here.py\nfrom .shapes import Circle, make\nmake(Circle)\n{line}\n"
        );
        let text = shown(&fixture, 1000);
        let best = chosen_of(&fixture, 90);
        assert!(
            text.contains("class Circle(Shape)\n    def __init__(self, radius: float)"),
            "{text}"
        );
        let is_first = best.iter().any(|c| c.reasons[0].contains("before the cursor"));
        assert_eq!(is_first, is_known, "{line}: {best:?}");
    }
}

#[test]
fn what_is_called_imported_or_extended_is_told_and_nothing_else() {
    let text = shown(
        &format!("{SHAPES}//- pkg/here.py\nfrom .shapes import make\n\ncircle = make($0)\n"),
        1000,
    );
    assert_eq!(text, "# pkg/shapes.py\ndef make(n: int) -> Circle");
    // Nothing near leads out of the file: nothing is asked for.
    for own in [
        "x = 1\n$0",
        "import math\nmath.pi\n$0",
        "def make(): pass\nmake()$0\n",
        "def f(other_name): $0",
    ] {
        assert_eq!(shown(&format!("{SHAPES}//- elsewhere/here.py\n{own}\n"), 1000), "", "{own}");
    }
    // A base's members, for the class around the cursor.
    let text = shown(
        &format!(
            "{SHAPES}//- pkg/here.py\nfrom pkg import shapes\nfrom pkg.shapes import Shape\n\nclass Square(Shape):\n    def area(self):\n        return $0\n"
        ),
        1000,
    );
    assert!(text.contains("class Shape\n    def scale(self, by: float)"), "{text}");
    // What is imported and not used yet.
    let far = "x = 1\n".repeat(100);
    let text =
        shown(&format!("{SHAPES}//- pkg/here.py\nfrom .shapes import other\n{far}$0\n"), 1000);
    assert_eq!(text, "# pkg/shapes.py\ndef other()");
    // A module's function.
    let text = shown(
        &format!("{SHAPES}//- pkg/here.py\nfrom pkg import shapes as s\ny = s.make(1)\n$0\n"),
        1000,
    );
    assert_eq!(text, "# pkg/shapes.py\ndef make(n: int) -> Circle");
}

#[test]
fn what_a_file_hands_on_is_followed() {
    let text = shown(
        "//- src/lib/index.ts\nexport * from './deep';\nexport { inner as outer } from './named.js';\n\
         //- src/lib/deep.ts\nexport function deep(n: number): string { return '' }\n\
         //- src/lib/named.ts\nexport const inner = (a: string) => a;\n\
         //- tsconfig.json\n{ \"compilerOptions\": { \"paths\": { \"@/*\": [\"src/*\"] } } }\n\
         //- app/main.ts\nimport { deep, outer } from '@/lib';\ndeep(1); outer($0)\n",
        1000,
    );
    assert!(text.contains("function deep(n: number): string"), "{text}");
    assert!(text.contains("const inner = (a: string) =>"), "{text}");
}

#[test]
fn every_language_resolves_its_imports() {
    for (fixture, expected) in [
        (
            "//- go.mod\nmodule example.com/m\n//- shape/circle.go\npackage shape\n// Circle is round.\ntype Circle struct { Radius float64 }\nfunc (c *Circle) Area() float64 { return 1 }\nfunc New(r float64) *Circle { return nil }\n\
             //- other/circle.go\npackage other\nfunc New() {}\n//- main.go\npackage main\nimport \"example.com/m/shape\"\nfunc main() {\n\tc := shape.New($0)\n}\n",
            "func New(r float64) *Circle",
        ),
        (
            "//- src/main/java/a/b/Circle.java\npackage a.b;\npublic class Circle { private double radius; public double area() { return 1; } }\n\
             //- src/main/java/c/Main.java\npackage c;\nimport a.b.Circle;\nclass Main { void f(Circle circle) { circle.$0 } }\n",
            "public class Circle\n    private double radius\n    public double area()",
        ),
        (
            "//- src/test/java/a/Helper.java\npackage a;\nclass Helper { static int help(int n) { return n; } }\n//- src/main/java/a/Main.java\npackage a;\nclass Main { int f() { return Helper.$0 } }\n",
            "static int help(int n)",
        ),
        (
            "//- Cargo.toml\n[package]\nname = \"my-crate\"\n//- src/shapes/mod.rs\npub struct Circle { pub radius: f64 }\nimpl Circle { pub fn new(radius: f64) -> Circle { todo!() }\n pub fn area(&self) -> f64 { 1.0 } }\n\
             //- src/main.rs\nuse crate::shapes::Circle;\nfn main() {\n    let c = Circle::new(1.0);\n    c.$0\n}\n",
            "pub struct Circle\n    pub radius: f64\n    pub fn new(radius: f64) -> Circle\n    pub fn area(&self) -> f64",
        ),
        (
            "//- include/shape.h\nstruct circle { double radius; };\ndouble area(const struct circle *c);\n\
             //- src/main.c\n#include \"shape.h\"\nint main(void) { struct circle c; area($0) }\n",
            "double area(const struct circle *c)",
        ),
        (
            "//- lib/shape.js\nclass Circle { constructor(r) { this.r = r; } area() { return 1 } }\nmodule.exports = Circle;\n\
             //- main.js\nconst { Circle } = require('./lib/shape');\nconst c = new Circle(1);\nc.$0\n",
            "class Circle\n    constructor(r)\n    this.r = r\n    area()",
        ),
    ] {
        let text = shown(fixture, 1000);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let has = expected.lines().all(|line| lines.iter().any(|l| l.trim() == line.trim()));
        assert!(has, "{fixture}\n--- shown\n{text}");
    }
}

#[test]
fn what_is_shown_fits_and_does_not_depend_on_the_order_of_files() {
    let mut fixture = String::new();
    for i in 0..40 {
        fixture.push_str(&format!("//- m{i}.py\ndef function_{i}(argument: int) -> int: pass\n"));
    }
    let imports: String =
        (0..40).map(|i| format!("from m{i} import function_{i}\nfunction_{i}()\n")).collect();
    fixture.push_str(&format!("//- here.py\n{imports}$0\n"));
    for max_bytes in [0, 10, 100, 400, 1000] {
        let chosen = chosen_of(&fixture, max_bytes);
        let taken: usize = chosen.iter().map(|c| c.excerpt.text.len() + 1).sum();
        assert!(taken <= max_bytes, "{taken} of {max_bytes}");
        assert_eq!(chosen, chosen_of(&fixture, max_bytes));
        assert!(chosen.iter().all(|c| !c.reasons.is_empty()));
    }
    // What is added moves nothing of what was there.
    let small = chosen_of(&fixture, 400);
    let large = chosen_of(&fixture, 1000);
    let kept: Vec<_> = large.iter().filter(|c| small.contains(c)).cloned().collect();
    assert_eq!(kept, small);
}

#[test]
fn a_tests_subject_is_told() {
    let text = shown(
        "//- pkg/parse.py\ndef parse(text): pass\n//- tests/test_parse.py\nimport pytest\n\n$0\n",
        1000,
    );
    assert_eq!(text, "# pkg/parse.py\ndef parse(text)");
}
