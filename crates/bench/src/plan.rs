//! What one test of `bench decode` does.

/// One test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// One token after another, instead of all in one go.
    pub generate: bool,
    pub tokens: usize,
    /// Tokens that are in the cache before.
    pub depth: usize,
}

impl Plan {
    pub fn parse(text: &str) -> Result<Plan, String> {
        let parsed = || {
            let (name, depth) = text.split_once('@').unwrap_or((text, "0"));
            let (kind, tokens) = name.split_at_checked(2)?;
            let (tokens, depth) = (tokens.parse().ok()?, depth.parse().ok()?);
            let plan = Plan { generate: kind == "tg", tokens, depth };
            (matches!(kind, "pp" | "tg") && (1..=1 << 20).contains(&tokens) && depth <= 1 << 20)
                .then_some(plan)
        };
        parsed()
            .ok_or_else(|| "use ppN or tgN, N tokens from 1, with @D for D tokens before them; for example pp512 or tg32@4096".to_owned())
    }

    pub fn name(&self) -> String {
        let kind = if self.generate { "tg" } else { "pp" };
        let depth = if self.depth > 0 { format!("@{}", self.depth) } else { String::new() };
        format!("{kind}{}{depth}", self.tokens)
    }

    /// Repeats in a round: short tests more often.
    pub fn repeats(&self) -> usize {
        let work = if self.generate { 16 * self.tokens } else { self.tokens };
        match work {
            0..=16 => 8,
            17..=64 => 4,
            65..=512 => 2,
            _ => 1,
        }
    }

    /// Tokens that must fit into the cache.
    pub fn capacity(&self) -> usize {
        self.depth + self.tokens + 1
    }
}
