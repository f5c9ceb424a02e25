//! The crate through its public boundary, on values. Fixtures: `$0` is the cursor, `¦` is where a
//! completion ends.

mod balance;
mod cursor;
mod excerpts;
mod hostile;
mod identifiers;
mod imports;
mod language;
mod lex;
mod names;
mod outline;
mod random;
mod scope;
mod spans;
mod stop;
mod tree;

use lacuna_context::Rope;

/// The text of a fixture without its `$0`, and the cursor's byte offset.
fn cursor(fixture: &str) -> (Rope, usize) {
    let at = fixture.find("$0").expect("a fixture has a cursor");
    (Rope::from_str(&fixture.replacen("$0", "", 1)), at)
}
