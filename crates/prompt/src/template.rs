//! Prompts that a client has already laid out for some model: the code on both sides of the cursor
//! is taken out of them again.

use crate::sentinels::FAMILIES;

/// Markers as people write them into templates, where a tokenizer spells them otherwise or has no
/// family here.
const SPELLINGS: [[&str; 3]; 3] = [
    ["<PRE>", "<SUF>", "<MID>"],
    ["[PREFIX]", "[SUFFIX]", "[MIDDLE]"],
    ["<|fim_begin|>", "<|fim_hole|>", "<|fim_end|>"],
];

/// What stands before and after the cursor in a prompt that is a fill-in-the-middle template of any
/// family, in either order. What comes before the first marker (file names, other files) is not
/// part of it. `None`: it is no template.
pub fn split_template(prompt: &str) -> Option<(&str, &str)> {
    let families = FAMILIES.iter().map(|family| [family.prefix, family.suffix, family.middle]);
    families.chain(SPELLINGS).find_map(|markers| split(prompt, markers))
}

fn split<'a>(prompt: &'a str, [prefix, suffix, middle]: [&str; 3]) -> Option<(&'a str, &'a str)> {
    // The last of each: earlier ones are text.
    let (at_prefix, at_suffix) = (prompt.rfind(prefix)?, prompt.rfind(suffix)?);
    let after = |at: usize, marker: &str| prompt.get(at + marker.len()..);
    // A template need not end in the marker of the middle: Codestral's has none.
    let end = prompt.rfind(middle).filter(|at| *at > at_prefix.min(at_suffix));
    let (before_cursor, after_cursor) = if at_prefix < at_suffix {
        let left = prompt.get(at_prefix + prefix.len()..at_suffix)?;
        let right = after(at_suffix, suffix)?;
        match end.filter(|at| *at >= at_suffix + suffix.len()) {
            // `PRE SUF suffix MID prefix` is the other order with all markers first.
            Some(at)
                if left.trim().is_empty()
                    && !prompt.get(at + middle.len()..)?.trim().is_empty() =>
            {
                (prompt.get(at + middle.len()..)?, prompt.get(at_suffix + suffix.len()..at)?)
            }
            Some(at) => (left, prompt.get(at_suffix + suffix.len()..at)?),
            None => (left, right),
        }
    } else {
        let right = prompt.get(at_suffix + suffix.len()..at_prefix)?;
        let left = after(at_prefix, prefix)?;
        (
            end.filter(|at| *at >= at_prefix + prefix.len())
                .map_or(Some(left), |at| prompt.get(at_prefix + prefix.len()..at))?,
            right,
        )
    };
    // Code Llama's template sets its markers off by one blank each.
    let has_blanks = prefix == "<PRE>";
    let unset = |text: &'a str| {
        if !has_blanks {
            return text;
        }
        let text = text.strip_prefix(' ').unwrap_or(text);
        text.strip_suffix(' ').unwrap_or(text)
    };
    Some((unset(before_cursor), unset(after_cursor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_all_families_give_back_the_code() {
        for (prompt, left, right) in [
            ("<PRE> def f(a):\n    <SUF>\n    return b <MID>", "def f(a):\n   ", "\n    return b"),
            ("<fim_prefix>a = <fim_suffix>\nb<fim_middle>", "a = ", "\nb"),
            ("<|fim_prefix|>a = <|fim_suffix|>\nb<|fim_middle|>", "a = ", "\nb"),
            ("<｜fim▁begin｜>a = <｜fim▁hole｜>\nb<｜fim▁end｜>", "a = ", "\nb"),
            ("[SUFFIX]\nb[PREFIX]a = ", "a = ", "\nb"),
            ("<fim_suffix>\nb<fim_prefix>a = <fim_middle>", "a = ", "\nb"),
            ("<fim_prefix><fim_suffix>\nb<fim_middle>a = ", "a = ", "\nb"),
            ("<|file_sep|>x.py\ny\n<|fim_prefix|>a<|fim_suffix|><|fim_middle|>", "a", ""),
            ("<|fim_prefix|><|fim_suffix|>b<|fim_middle|>", "", "b"),
        ] {
            assert_eq!(split_template(prompt), Some((left, right)), "{prompt:?}");
        }
        for prompt in
            ["", "a = b", "x <PRE> y", "if a < b > c:", "<fim_prefix>", "<fim_suffix> <fim_middle>"]
        {
            assert_eq!(split_template(prompt), None, "{prompt:?}");
        }
    }
}
