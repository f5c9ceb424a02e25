//! Lines that look as if they held a key or a password: they are neither completed nor shown in
//! prompts for other files.
//!
//! Two kinds: values in the well-known formats of keys (a prefix that their makers chose so that
//! they can be found), and values behind `=` or `:` that look drawn at random. Names in code are
//! long too, but their letters and digits do not take turns.

/// Beginnings of keys in known formats, and how many more characters of a key must follow.
const FORMATS: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("ASIA", 16),
    ("ABIA", 16),
    ("ACCA", 16),
    ("AIza", 30),
    ("ya29.", 20),
    ("GOCSPX-", 20),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghu_", 30),
    ("ghs_", 30),
    ("ghr_", 30),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("gldt-", 16),
    ("glrt-", 16),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxa-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("sk_live_", 10),
    ("sk_test_", 10),
    ("rk_live_", 10),
    ("rk_test_", 10),
    ("whsec_", 16),
    ("sk-ant-", 16),
    ("sk-proj-", 16),
    ("sk-", 32),
    ("hf_", 30),
    ("npm_", 30),
    ("pypi-", 40),
    ("SG.", 30),
    ("key-", 32),
    ("dop_v1_", 32),
    ("doo_v1_", 32),
    ("shpat_", 28),
    ("shpss_", 28),
    ("sq0atp-", 20),
    ("sq0csp-", 20),
    ("dapi", 32),
    ("hvs.", 20),
    ("hvb.", 20),
    ("lin_api_", 30),
    ("ntn_", 30),
    ("rubygems_", 40),
    ("dckr_pat_", 20),
    ("AGE-SECRET-KEY-1", 40),
    ("PMAK-", 20),
    ("tskey-", 16),
    ("nvapi-", 30),
    ("gsk_", 30),
    ("r8_", 30),
    ("pat-na1-", 20),
    ("eyJhbGciOi", 20),
];

/// Shortest value that can look drawn at random.
const MIN_RANDOM: usize = 20;
/// Longest line that is looked at: what is behind is data, and data is left alone.
const MAX_LINE: usize = 4096;
/// Parts of the names of values that are secret whatever they look like.
const NAMES: [&str; 12] = [
    "secret",
    "passw",
    "pwd",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "accesskey",
    "private_key",
    "privatekey",
    "credential",
];

/// Whether a line looks as if it held a secret.
pub fn looks_secret(line: &str) -> bool {
    let line = line.trim();
    if line.len() > MAX_LINE {
        return true;
    }
    line.contains("PRIVATE KEY-----")
        || known_format(line)
        || password_in_address(line)
        || assigned(line)
}

/// Whether a place lies inside of a private key that `before`, the text left of it, has begun: below
/// the line that begins one, with nothing but the key since.
pub fn inside_key(before: &str) -> bool {
    let Some(begin) = before.rfind("-----BEGIN") else { return false };
    let mut lines = before[begin..].lines();
    let marks = |line: &str| {
        let (_, rest) = line.split_once("PRIVATE KEY")?;
        Some(is_of_key(rest.split_once("-----")?.1))
    };
    lines.next().and_then(marks) == Some(true) && lines.all(is_of_key)
}

/// A line of a key, as a file or as a literal of a program has it.
fn is_of_key(line: &str) -> bool {
    let line = line.trim().trim_matches(['"', '\'', '`', '+', ',', '.', '\\', ' ']);
    let line = line.trim_end_matches("\\n").trim_end_matches("\\r");
    ["Proc-Type:", "DEK-Info:", "Version:", "Comment:"].iter().any(|head| line.starts_with(head))
        || line.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='))
}

/// `text` with the lines that look like secrets left out. Lines are kept apart: nothing joins that
/// did not stand together.
pub fn without_secrets(text: &str) -> String {
    let mut in_key = false;
    let mut keep = |line: &str| {
        // All between the lines that begin and end a key is the key.
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
            in_key = true;
        }
        let kept = !in_key && !looks_secret(line);
        if line.contains("-----END") {
            in_key = false;
        }
        kept
    };
    text.split_inclusive('\n').map(|line| if keep(line) { line } else { "\n" }).collect()
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

fn known_format(line: &str) -> bool {
    FORMATS.iter().any(|(start, more)| {
        line.match_indices(start).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let rest = &line[at + start.len()..];
            let length = rest.chars().take_while(|c| is_key_char(*c) || *c == '.').count();
            // Not in the middle of a word, and random behind it: `sk-` begins names too.
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
                && length >= *more
                && rest.chars().take(length).any(|c| c.is_ascii_digit())
        })
    })
}

/// `scheme://user:password@host`.
fn password_in_address(line: &str) -> bool {
    line.match_indices("://").any(|(at, _)| {
        let rest = &line[at + 3..];
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<' | '>' | '`'))
            .unwrap_or(rest.len());
        let Some((user, _)) = rest[..end].rsplit_once('@') else { return false };
        user.split_once(':').is_some_and(|(_, password)| {
            !password.is_empty()
                && !password.contains(['$', '{', '%', '*'])
                && !matches!(password, "password" | "pass" | "pwd" | "secret")
        })
    })
}

/// A value behind `=` or `:` that looks random, or that the name before it calls secret.
fn assigned(line: &str) -> bool {
    line.match_indices(['=', ':']).any(|(at, _)| {
        let name =
            line[..at].trim_end_matches([':', '=', ' ', '"', '\'', '\t']).to_ascii_lowercase();
        // The delimiter may be a character of several bytes.
        let name = name.rsplit(|c: char| !is_key_char(c) && c != '.').next().unwrap_or("");
        let value = line[at + 1..].trim_start_matches(['=', ':', '>', ' ', '\t']);
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
        let value = match quote {
            Some(quote) => value[1..].split(quote).next().unwrap_or(""),
            None => value
                .split(|c: char| {
                    c.is_whitespace() || matches!(c, ',' | ';' | '(' | '[' | '{' | '<')
                })
                .next()
                .unwrap_or(""),
        };
        looks_random(value)
            || NAMES.iter().any(|part| name.contains(part)) && is_literal(value, quote.is_some())
    })
}

/// Whether a value is written out: not a name, a placeholder or a part of the program.
fn is_literal(value: &str, quoted: bool) -> bool {
    let has = |f: fn(&char) -> bool| value.chars().any(|c| f(&c));
    let written = value.len() >= 8
        && value.chars().all(|c| c.is_ascii_graphic())
        && !value.contains(['{', '}', '<', '>', '$', '(', ')'])
        && has(char::is_ascii_alphabetic)
        && (has(char::is_ascii_digit)
            || has(char::is_ascii_punctuation) && quoted && !value.contains(['_', '.', '/', '-']));
    // Without quotes it is a name in most languages, unless digits stand between letters.
    written && (quoted || turns(value) >= 2 && !value.contains('.'))
}

/// How often letters and digits take turns.
fn turns(value: &str) -> usize {
    let kinds: Vec<bool> =
        value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.is_ascii_digit()).collect();
    kinds.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

fn looks_random(value: &str) -> bool {
    let value = value.trim_end_matches('=');
    let is_value = value.chars().all(|c| {
        is_key_char(c)
            || matches!(c, '+' | '/' | '.' | '~' | '=' | '!' | '@' | '#' | '%' | '^' | '&' | '*')
    });
    if value.len() < MIN_RANDOM || !is_value {
        return false;
    }
    let count = |f: fn(&char) -> bool| value.chars().filter(f).count();
    let (digits, upper, lower) = (
        count(char::is_ascii_digit),
        count(char::is_ascii_uppercase),
        count(char::is_ascii_lowercase),
    );
    let hex = value.len() >= 32
        && value.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
        && digits >= 4
        && upper + lower >= 3;
    let mixed = digits > 0 && upper > 0 && lower > 0 && turns(value) >= 3 && entropy(value) >= 3.5;
    let long = value.len() >= 24 && digits >= 4 && turns(value) >= 6 && entropy(value) >= 3.5;
    let bases =
        value.len() >= 32 && upper >= 4 && lower >= 4 && digits >= 2 && entropy(value) >= 4.2;
    hex || mixed || long || bases
}

/// Bits a character, by how often each occurs.
fn entropy(value: &str) -> f64 {
    let mut counts = [0usize; 256];
    value.bytes().for_each(|b| counts[usize::from(b)] += 1);
    let n = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| *count as f64 / n)
        .map(|p| -p * p.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_are_no_end_of_the_world() {
        for line in [
            "def g()🦀 🦀: x",
            "1\tret)🦀xféo = tal",
            "é\u{301}=\u{301}:é",
            "ключ=значение",
            "🦀:'🦀'",
        ] {
            assert!(!looks_secret(line), "{line}");
        }
    }

    #[test]
    fn keys_and_passwords_are_seen() {
        // Put together here, so that no scanner takes this file for a leak.
        let a = |parts: &[&str]| parts.concat();
        for line in [
            a(&["AWS_ACCESS_KEY_ID=AK", "IAQ3EGRTVBZ7YXNMPL"]),
            a(&["aws_secret_access_key = wJalrXUtnFEMI", "/K7MDENG/bPxRfiCYzEXAMPLEKEY"]),
            a(&["token: gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"]),
            a(&["const k = \"sk", "_live_51H8abcdEFGH12345678\";"]),
            a(&["OPENAI_API_KEY=sk-", "proj-abcdEFGH1234567890abcdEFGH"]),
            a(&["key = 'AI", "zaSyD4f8Kq0aBcDeFgHiJkLmNoPqRsTuVw9xY'"]),
            a(&["Authorization: Bearer eyJhbGciOi", "JIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIi"]),
            "DATABASE_URL=postgres://admin:hunter2@db.example.com/prod".to_owned(),
            "-----BEGIN RSA PRIVATE KEY-----".to_owned(),
            "password = \"hunter2x9\"".to_owned(),
            "DB_PASSWORD=tr0ub4dor3".to_owned(),
            "\"client_secret\": \"q8D~fK2.Lm9xQ0-zT7\",".to_owned(),
            "session = 9f86d081884c7d659a2feaa0c55ad015".to_owned(),
            "value: Zx8Qk2Lp9Rt4Wm7Ns3Bv".to_owned(),
        ] {
            assert!(looks_secret(&line), "{line}");
        }
        assert!(looks_secret(&"x".repeat(MAX_LINE + 1)));
    }

    #[test]
    fn code_is_not_taken_for_secrets() {
        for line in [
            "    let attention_scores_v2_fast = compute_attention_scores_v2_fast(q, k);",
            "token = tokenizer.next_token()",
            "password = input(\"password: \")",
            "password = os.environ[\"DB_PASSWORD\"]",
            "self.api_key = api_key",
            "let token: Option<String> = None;",
            "TOKEN = \"<your token here>\"",
            "const MAX_TOKENS: usize = 1024;",
            "n_tokens = 123456789",
            "url = \"https://example.com/a/very/long/path/with/segments\"",
            "url = \"https://user:${PASSWORD}@example.com\"",
            "import { SomethingVeryLongAndDescriptive } from \"./something/very-long-and-descriptive\";",
            "assert_eq!(utf8_to_utf16_length(text), utf16_from_utf8_length(text));",
            "background: linear-gradient(90deg, #ff0000 0%, #00ff00 100%);",
            "created_at: \"2024-01-01T00:00:00.000Z\"",
            "version = \"1.2.3-beta.4+build.5678\"",
            "sk-learn-like-names = yes",
            "#[error(\"the token {token} is not known: give one of {known}\")]",
            "x = \"\"",
            "",
            "===================================",
        ] {
            assert!(!looks_secret(line), "{line}");
        }
    }

    #[test]
    fn a_key_is_one_from_its_first_line_to_its_last() {
        let begin = ["-----BEGIN RSA PRIVATE ", "KEY-----"].concat();
        for body in [
            "\n",
            "\nMIIEpAIBAAKCAQEA",
            "\r\nProc-Type: 4,ENCRYPTED\r\n\r\nMIIEpAIBAAKCAQEA\r\nabc+/d",
            "\\n\" +\n    \"MIIEpAIBAAKCAQEA\\n\" +\n    \"abc",
        ] {
            assert!(inside_key(&format!("key = \"\"\"{begin}{body}")), "{body}");
        }
        for code in [
            format!("if text.startswith(\"{begin}\"):\n    return "),
            format!("KEY = \"\"\"{begin}\nMIIE\n-----END RSA PRIVATE KEY-----\"\"\"\nx = "),
            ["-----BEGIN PUBLIC ", "KEY-----\nMIIE"].concat(),
            "x = 1".to_owned(),
        ] {
            assert!(!inside_key(&code), "{code}");
        }
    }

    #[test]
    fn secrets_are_left_out_and_their_neighbours_stay() {
        let key =
            ["-----BEGIN PRIVATE ", "KEY-----\nMIIEvQIBADANBg\nabc\n-----END PRIVATE KEY-----\n"]
                .concat();
        let text = format!("a = 1\n{key}password = \"hunter2x9\"\nb = 2");
        let kept = without_secrets(&text);
        assert_eq!(
            kept.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>(),
            ["a = 1", "b = 2"]
        );
        assert_eq!(kept.lines().count(), text.lines().count());
    }
}
