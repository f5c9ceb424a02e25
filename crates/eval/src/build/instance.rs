//! Rows of SWE-bench and its relatives, whatever they call their fields.
//!
//! SWE-bench, Lite, Verified, Multimodal, Live: `instance_id`, `repo` (`owner/name`),
//! `base_commit`, `patch`. Multi-SWE-bench: `org`, `repo`, `number`, `base.sha`, `fix_patch`.

use serde_json::Value;

/// What is needed of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    /// `owner/name`.
    pub repo: String,
    pub base_commit: String,
    /// The gold patch, without the tests.
    pub patch: String,
}

impl Instance {
    /// Errors: the reason to skip the row, naming the field.
    pub fn from_row(row: &Value) -> Result<Instance, String> {
        let text = |field: &str| row.get(field).and_then(Value::as_str).filter(|t| !t.is_empty());
        let missing = |fields: &str| format!("no text in field {fields}");
        let repo = match (text("org"), text("repo")) {
            (Some(owner), Some(name)) => format!("{owner}/{name}"),
            (None, Some(repo)) => repo.to_owned(),
            (_, None) => return Err(missing("`repo`")),
        };
        if !is_repository_name(&repo) {
            return Err("`repo` is no owner/name".to_owned());
        }
        let base = row.get("base").and_then(|b| b.get("sha")).and_then(Value::as_str);
        let base_commit = text("base_commit")
            .or(base)
            .ok_or_else(|| missing("`base_commit` or `base.sha`"))?
            .to_owned();
        if !(7..=64).contains(&base_commit.len())
            || !base_commit.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Err("`base_commit` is no commit id".to_owned());
        }
        let number = row.get("number").and_then(Value::as_u64);
        let id = match (text("instance_id"), number) {
            (Some(id), _) => id.to_owned(),
            (None, Some(number)) => format!("{}-{number}", repo.replace('/', "__")),
            (None, None) => return Err(missing("`instance_id`")),
        };
        let patch = text("patch")
            .or_else(|| text("fix_patch"))
            .ok_or_else(|| missing("`patch` or `fix_patch`"))?
            .to_owned();
        Ok(Instance { id, repo, base_commit, patch })
    }
}

/// `owner/name` that is safe as a part of a path and of a URL.
fn is_repository_name(repo: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty()
            && !p.starts_with(['.', '-'])
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    repo.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn field_names_of_both_families() {
        let expected = Instance {
            id: "o__n-7".into(),
            repo: "o/n".into(),
            base_commit: "0123abc".into(),
            patch: "p".into(),
        };
        let swe = json!({"instance_id": "o__n-7", "repo": "o/n", "base_commit": "0123abc", "patch": "p", "test_patch": "t", "version": 3});
        assert_eq!(Instance::from_row(&swe), Ok(expected.clone()));
        let multi = json!({"org": "o", "repo": "n", "number": 7, "base": {"label": "l", "sha": "0123abc"}, "fix_patch": "p"});
        assert_eq!(Instance::from_row(&multi), Ok(expected));
    }

    #[test]
    fn hostile_rows() {
        let row = |repo: &str, commit: &str| json!({"instance_id": "i", "repo": repo, "base_commit": commit, "patch": "p"});
        for repo in ["../x", "o/..", "-u/x", "o", "o/n/m", "o/n;rm", "/x"] {
            assert_eq!(
                Instance::from_row(&row(repo, "0123abc")),
                Err("`repo` is no owner/name".to_owned()),
                "{repo}"
            );
        }
        for commit in ["HEAD", "--help", "0123", "0123abc^"] {
            assert_eq!(
                Instance::from_row(&row("o/n", commit)),
                Err("`base_commit` is no commit id".to_owned()),
                "{commit}"
            );
        }
        assert_eq!(
            Instance::from_row(&json!({"repo": 3})),
            Err("no text in field `repo`".to_owned())
        );
        assert_eq!(Instance::from_row(&json!([])), Err("no text in field `repo`".to_owned()));
    }
}
