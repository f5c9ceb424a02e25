//! The form of excerpts is what models are trained on: byte for byte, it stays as it is here.

use lacuna_prompt::excerpts::{Comment, as_shown, excerpt, fitting};
use lacuna_prompt::{Input, Options, Order, Sentinels, build};

use super::{OPTIONS, tokenizer};

const FILE: Input<'_> = Input {
    path: Some("shop/cart.py"),
    excerpts: &[],
    prefix: "def total(cart):\n    return ",
    suffix: "\n\n\ndef empty(cart):\n    return not cart.items\n",
};

/// The whole prompt as text, markers by name.
fn spelled(input: &Input<'_>, options: &Options) -> String {
    let t = tokenizer();
    let s = Sentinels::resolve(&t).unwrap();
    let mut text = String::new();
    let mut run: Vec<u32> = Vec::new();
    for id in build(&t, &s, input, options).ids {
        match t.special_name(id) {
            Some(name) => {
                text.push_str(&String::from_utf8(t.decode(&std::mem::take(&mut run))).unwrap());
                text.push_str(name);
            }
            None => run.push(id),
        }
    }
    text + &String::from_utf8(t.decode(&run)).unwrap()
}

fn shown(excerpts: &[(&str, &str)]) -> Vec<String> {
    excerpts.iter().map(|(path, text)| as_shown(&excerpt("shop/cart.py", path, text))).collect()
}

fn with_excerpts(excerpts: &[(&str, &str)], options: &Options) -> String {
    let texts = shown(excerpts);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    spelled(&Input { excerpts: &texts, ..FILE }, options)
}

const PRICES: (&str, &str) = ("shop/prices.py", "def price(item):\n    return item.net * 1.19");
const ITEMS: (&str, &str) = ("shop/items.py", "class Item:\n    net: float");
const MAIN: (&str, &str) = ("main.py", "from shop.cart import total");

#[test]
fn prompts_with_no_one_and_three_excerpts_are_these() {
    let options = Options { budget: 1024, heal: false, ..OPTIONS };
    assert_eq!(
        with_excerpts(&[], &options),
        "<|file_sep|>shop/cart.py\n<|fim_suffix|>\n\n\ndef empty(cart):\n    return not cart.items\n<|fim_prefix|>def total(cart):\n    return <|fim_middle|>"
    );
    assert_eq!(
        with_excerpts(&[PRICES], &options),
        "<|file_sep|>shop/cart.py\n<|fim_suffix|>\n\n\ndef empty(cart):\n    return not cart.items\n<|fim_prefix|># shop/prices.py\ndef price(item):\n    return item.net * 1.19\ndef total(cart):\n    return <|fim_middle|>"
    );
    let three = "# shop/prices.py\ndef price(item):\n    return item.net * 1.19\n# shop/items.py\nclass Item:\n    net: float\n# main.py\nfrom shop.cart import total\n";
    assert_eq!(
        with_excerpts(&[PRICES, ITEMS, MAIN], &options),
        format!(
            "<|file_sep|>shop/cart.py\n<|fim_suffix|>\n\n\ndef empty(cart):\n    return not cart.items\n<|fim_prefix|>{three}def total(cart):\n    return <|fim_middle|>"
        )
    );
    assert_eq!(
        with_excerpts(&[PRICES, ITEMS, MAIN], &Options { order: Order::Psm, ..options }),
        format!(
            "<|file_sep|>shop/cart.py\n<|fim_prefix|>{three}def total(cart):\n    return <|fim_suffix|>\n\n\ndef empty(cart):\n    return not cart.items\n<|fim_middle|>"
        )
    );
}

#[test]
fn the_order_is_the_caller_s() {
    let texts = with_excerpts(&[MAIN, PRICES], &OPTIONS);
    assert!(texts.find("# main.py").unwrap() < texts.find("# shop/prices.py").unwrap(), "{texts}");
}

#[test]
fn excerpts_are_whole_and_take_a_quarter_of_what_the_suffix_leaves() {
    let t = tokenizer();
    let texts = shown(&[PRICES, ITEMS, MAIN]);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let lengths: Vec<usize> = texts.iter().map(|text| t.encode(text).len()).collect();
    let fit = |budget: usize, suffix: usize| {
        String::from_utf8(t.decode(&fitting(&t, &texts, budget, suffix))).unwrap()
    };
    let all: usize = lengths.iter().sum();
    assert_eq!(fit(4 * all, 0), texts.concat());
    assert_eq!(fit(4 * all + 100, 100), texts.concat());
    assert_eq!(fit(4 * all - 1, 0), texts[..2].concat());
    // What does not fit is left out; what is behind it may still come in.
    assert_eq!(fit(4 * (lengths[0] + lengths[2]), 0), [texts[0], texts[2]].concat());
    assert_eq!(fit(4 * lengths[0] - 1, 0), texts[1]);
    assert_eq!(fit(3, 0), "");
    assert_eq!(fit(10, 20), "");
    // In a prompt: the budget less its four markers and the header.
    let header = t.encode("shop/cart.py\n").len() + 1;
    let suffix = t.encode(FILE.suffix).len();
    let budget = 4 + header + suffix + 4 * (lengths[0] + lengths[1]);
    for (budget, expected) in [(budget, &texts[..2]), (budget - 1, &[texts[0], texts[2]])] {
        let prompt = spelled(
            &Input { excerpts: &texts, ..FILE },
            &Options { budget, heal: false, ..OPTIONS },
        );
        let prefix = prompt.split("<|fim_prefix|>").nth(1).unwrap();
        assert!(
            prefix.starts_with(&format!("{}def total", expected.concat())),
            "{budget}: {prompt}"
        );
    }
}

#[test]
fn the_path_is_a_comment_of_the_file_that_is_completed() {
    for (shown_in, line) in [
        ("a.py", "# lib/x.rs"),
        ("run.sh", "# lib/x.rs"),
        ("ci.yaml", "# lib/x.rs"),
        ("Cargo.toml", "# lib/x.rs"),
        ("Makefile", "# lib/x.rs"),
        ("notes", "# lib/x.rs"),
        ("", "# lib/x.rs"),
        ("src/lib.rs", "// lib/x.rs"),
        ("a.ts", "// lib/x.rs"),
        ("a.tsx", "// lib/x.rs"),
        ("a.js", "// lib/x.rs"),
        ("A.java", "// lib/x.rs"),
        ("a.go", "// lib/x.rs"),
        ("a.c", "// lib/x.rs"),
        ("a.H", "// lib/x.rs"),
        ("a.cpp", "// lib/x.rs"),
        ("A.cs", "// lib/x.rs"),
        ("a.json", "// lib/x.rs"),
        ("q.sql", "-- lib/x.rs"),
        ("README.md", "<!-- lib/x.rs -->"),
        ("index.html", "<!-- lib/x.rs -->"),
        ("a.css", "/* lib/x.rs */"),
        ("dir.css/a", "# lib/x.rs"),
    ] {
        assert_eq!(
            excerpt(shown_in, "lib/x.rs", "let x = 1;"),
            format!("{line}\nlet x = 1;"),
            "{shown_in}"
        );
    }
    assert_eq!(
        Comment::of_path("a.py").line("two\nlines\r.py"),
        "# two lines .py",
        "a path stays in its line"
    );
}
