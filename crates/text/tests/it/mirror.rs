//! The mirror against the editor's buffer: a `Vec<u16>` that is edited as the protocol says, with
//! nothing clever about it.

use lacuna_text::{Document, Encoding, Position, Range, Utf16Text};

use crate::model::{self, ENCODINGS, Random};

const CR: u16 = b'\r' as u16;
const LF: u16 = b'\n' as u16;

/// Where the content of each line begins and ends.
fn lines(units: &[u16]) -> Vec<(usize, usize)> {
    let (mut found, mut start, mut i) = (Vec::new(), 0, 0);
    while i < units.len() {
        let len = match units[i] {
            CR if units.get(i + 1) == Some(&LF) => 2,
            CR | LF => 1,
            _ => 0,
        };
        if len > 0 {
            found.push((start, i));
            start = i + len;
        }
        i += len.max(1);
    }
    found.push((start, units.len()));
    found
}

/// Index of a position: clamped to its line and to the text; in encodings other than the buffer's
/// own, down to a character.
fn index(units: &[u16], position: Position, encoding: Encoding) -> usize {
    let Some(&(start, end)) = lines(units).get(position.line as usize) else { return units.len() };
    let wanted = position.character as usize;
    if encoding == Encoding::Utf16 {
        return end.min(start.saturating_add(wanted));
    }
    let (mut at, mut passed) = (start, 0);
    for c in char::decode_utf16(units[start..end].iter().copied()) {
        let (n_units, n) = match (c, encoding) {
            (Ok(c), Encoding::Utf8) => (c.len_utf16(), c.len_utf8()),
            (Ok(c), _) => (c.len_utf16(), 1),
            (Err(_), Encoding::Utf8) => (1, 3),
            (Err(_), _) => (1, 1),
        };
        passed += n;
        if passed > wanted {
            return at;
        }
        at += n_units;
    }
    end
}

/// Text as editors send it: whole characters, line breaks of three kinds, halves of pairs.
fn draw(random: &mut Random, max_pieces: usize) -> Vec<u16> {
    let mut units: Vec<u16> = Vec::new();
    for _ in 0..random.below(max_pieces + 1) {
        match random.below(12) {
            0 => units.push(0xD83D),
            1 => units.push(0xDE00),
            2 => units.push([0xD800, 0xDBFF, 0xDC00, 0xDFFF][random.below(4)]),
            _ => units.extend(random.text(2).encode_utf16()),
        }
    }
    units
}

/// Mostly in the text, now and then far outside of it.
fn place(random: &mut Random, units: &[u16]) -> Position {
    let n_lines = lines(units).len();
    let line = match random.below(12) {
        0 => n_lines + random.below(3),
        1 => [i32::MAX as usize, u32::MAX as usize][random.below(2)],
        _ => random.below(n_lines),
    };
    let character = match random.below(12) {
        0 => [i32::MAX as usize, u32::MAX as usize][random.below(2)],
        _ => random.below(14),
    };
    Position::new(line as u32, character as u32)
}

#[test]
fn ten_thousand_scripts_leave_the_mirror_equal_to_the_buffer_after_every_step() {
    const SEED: u64 = 0x5eed_0017;
    let mut random = Random::new(SEED);
    let (mut n_edits, mut n_split) = (0, 0);
    for script in 0..10_000 {
        let encoding = ENCODINGS[script % 3];
        let mut buffer = draw(&mut random, 12);
        let mut document = Document::from_utf16(&buffer.iter().copied().collect(), 0);
        for step in 0..6 {
            let (start, end) = (place(&mut random, &buffer), place(&mut random, &buffer));
            let inserted = if random.below(3) == 0 { Vec::new() } else { draw(&mut random, 4) };
            let text: Utf16Text = inserted.iter().copied().collect();
            let what = format!(
                "seed {SEED:#x} script {script} step {step}: {start:?} to {end:?} of {buffer:x?} by {inserted:x?}"
            );
            let before = document.text();
            let (from, to) = (index(&buffer, start, encoding), index(&buffer, end, encoding));
            buffer.splice(from.min(to)..from.max(to), inserted);

            let info = document.apply_utf16(Range::new(start, end), encoding, &text);
            assert_eq!(document.utf16().units(), buffer, "{what}");
            let after = document.text();
            // The edit as parsers are told of it turns the old text into the new one.
            let new = &after[info.start_byte..info.new_end_byte];
            assert_eq!(
                format!("{}{new}{}", &before[..info.start_byte], &before[info.old_end_byte..]),
                after,
                "{what}"
            );
            assert_eq!(info.start_point, model::point(&before, info.start_byte), "{what}");
            assert_eq!(info.old_end_point, model::point(&before, info.old_end_byte), "{what}");
            assert_eq!(info.new_end_point, model::point(&after, info.new_end_byte), "{what}");
            // Lines and columns are those of the buffer.
            assert_eq!(document.n_lines(), lines(&buffer).len(), "{what}");
            let asked = place(&mut random, &buffer);
            let at = document.offset_clamped(asked, encoding);
            let expected = index(&buffer, asked, encoding);
            let n_before: usize = after[..at].encode_utf16().count();
            n_split += usize::from(n_before != expected);
            assert!(
                n_before == expected || (encoding == Encoding::Utf16 && n_before + 1 == expected),
                "{what}: {asked:?}"
            );

            let mut undone = document.clone();
            undone.splice(
                info.start_byte..info.new_end_byte,
                &before[info.start_byte..info.old_end_byte],
            );
            assert_eq!(undone.text(), before, "{what}");
            assert_eq!(
                document.utf16().units(),
                buffer,
                "a clone shares nothing that changes: {what}"
            );
            n_edits += 1;
        }
    }
    assert!(n_edits == 60_000 && n_split > 0);
}

#[test]
fn two_halves_become_the_character_wherever_they_meet() {
    let (high, low): (Utf16Text, Utf16Text) =
        ([0xD83D].into_iter().collect(), [0xDE00].into_iter().collect());
    let at = |character| Range::new(Position::new(0, character), Position::new(0, character));
    // One behind the other, and the later one first.
    for (first, then, second) in [(&high, 2, &low), (&low, 1, &high)] {
        let mut document = Document::new("xyz", 0);
        document.apply_utf16(at(1), Encoding::Utf16, first);
        assert_eq!((document.text().as_str(), document.utf16().units().len()), ("x\u{fffd}yz", 4));
        let edit = document.apply_utf16(at(then), Encoding::Utf16, second);
        assert_eq!(document.text(), "x😀yz");
        assert_eq!((edit.start_byte, edit.old_end_byte, edit.new_end_byte), (1, 4, 5));
    }
    // What lies between them goes.
    let mut document =
        Document::from_utf16(&[0xD83D, u16::from(b'a'), 0xDE00].into_iter().collect(), 0);
    document.apply(Range::new(Position::new(0, 1), Position::new(0, 2)), Encoding::Utf16, "");
    assert_eq!(document.text(), "😀");
    // A half is taken out of a character, and put back.
    let mut document = Document::new("a😀b", 0);
    document.apply(Range::new(Position::new(0, 2), Position::new(0, 3)), Encoding::Utf16, "");
    assert_eq!(document.utf16().units(), [0x61, 0xD83D, 0x62]);
    document.apply_utf16(at(2), Encoding::Utf16, &low);
    assert_eq!(document.text(), "a😀b");
}
