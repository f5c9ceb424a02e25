//! Which files are left alone, and which stay out of other files' prompts: by the names of secrets,
//! the user's patterns, and the files in which a project says so (`.lacunaignore`, `.ignore`,
//! `.gitignore`).
//!
//! Whoever asks — an editor or the command line — asks here. Start reading at [`LeftAlone::names`]
//! and [`LeftAlone::stays_home`].

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use globset::GlobSet;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use lacuna_config::{ContextConfig, globs};

/// Names under which keys and passwords are kept, as patterns without a slash (any folder) and with
/// one (the end of a path).
const SECRETS: &[&str] = &[
    ".env",
    ".env.*",
    ".env[-_]*",
    "*.env",
    ".envrc",
    ".envrc.*",
    // Keys and key stores.
    "*.{pem,key,p8,p12,pfx,pkcs12,ppk,jks,jceks,bks,keystore,truststore,kdb,kdbx,keychain,keychain-db,keytab}",
    "*.{asc,gpg,pgp,age,ovpn,mobileprovision,snk}",
    "id_{rsa,dsa,ecdsa,ecdsa_sk,ed25519,ed25519_sk,xmss}",
    "id_{rsa,dsa,ecdsa,ecdsa_sk,ed25519,ed25519_sk,xmss}[-_.]*",
    "ssh_host_*_key",
    "{key,keystore,signing}.properties",
    "master.key",
    // Passwords and tokens of programs.
    "{.,_}netrc",
    ".netrc.*",
    ".{npmrc,yarnrc,pypirc,pgpass,git-credentials,gitcredentials,htpasswd,dockercfg,dockerconfigjson,s3cfg,boto,passwd}",
    ".yarnrc.{yml,yaml}",
    "{.my,.mylogin}.cnf",
    "{pgpass.conf,htpasswd,passwd,shadow,credentials,.credentials}",
    ".{esmtprc,msmtprc,fetchmailrc,terraformrc,vault-token,chef-key,token}",
    "{.vault_pass,vault_pass,.vault-pass,vault-pass,.vault_password,vault_password}*",
    "{terraform.rc,rclone.conf,.rclone.conf,kubeconfig,wp-config.php,local.settings.json,sftp-config.json,.ftpconfig,cookies.txt}",
    "{*.kubeconfig,kubeconfig.*}",
    "*.{tfvars,tfstate,secret,secrets,token,credentials}",
    "*.{tfvars.json,tfstate.backup}",
    "*.auto.tfvars*",
    // Whatever is called a secret.
    "secrets",
    ".secrets",
    "{secrets,.secrets}.*",
    "{secret,.secret,*[-_.]secret,*[-_.]secrets}.{json,yaml,yml,toml,ini,cfg,conf,properties,env,txt,xml,enc}",
    "{credentials,.credentials,*[-_.]credentials,credential}.{json,yaml,yml,toml,ini,cfg,conf,properties,xml,csv,txt,db,enc}",
    "{client_secret,client-secret,service_account,service-account,serviceaccount}*.json",
    "{application_default_credentials,accesstokens,azureprofile,token,tokens}.json",
    "{api_key,api-key,apikey,api_keys,api-keys,apikeys,token,tokens,password,passwords,passphrase}.{txt,json,yaml,yml,toml,ini}",
    "{vault,*[-_.]vault}.{yml,yaml}",
    // What was typed.
    ".*_history",
    // Folders of programs that keep secrets.
    ".aws/**",
    ".azure/**",
    ".config/{gcloud,gh,hub,op,containers}/**",
    ".docker/config.json",
    ".gnupg/**",
    ".kube/**",
    ".ssh/**",
    ".password-store/**",
    ".cargo/credentials{,.toml}",
    ".gem/credentials",
    ".m2/settings{,-security}.xml",
];
/// Names that [`SECRETS`] covers and that are written to be read.
const TEMPLATES: &[&str] = &[
    "*.{example,sample,template,tmpl,dist,defaults,schema}",
    "*.{example,sample,template}.*",
    "*.pub",
];

// Compiled once: many patterns, and every client has rules of its own.
static SECRET_NAMES: LazyLock<GlobSet> = LazyLock::new(|| built_in(SECRETS));
static TEMPLATE_NAMES: LazyLock<GlobSet> = LazyLock::new(|| built_in(TEMPLATES));

/// Patterns that are ours and hold in any folder.
fn built_in(patterns: &[&str]) -> GlobSet {
    let in_any_folder = |pattern: &&str| {
        if pattern.contains('/') { format!("**/{pattern}") } else { (*pattern).to_owned() }
    };
    globs(patterns.iter().map(in_any_folder)).unwrap_or_default()
}

/// Files in which a project says what shall be left alone.
const LEAVE_FILES: [&str; 2] = [".lacunaignore", ".ignore"];
const GITIGNORE: &str = ".gitignore";
/// Longer ones are not read.
const MAX_IGNORE_BYTES: u64 = 1 << 20;
/// Folders between a root and a file.
const MAX_DEPTH: usize = 64;

/// The rules of one client.
#[derive(Default)]
pub struct LeftAlone {
    patterns: GlobSet,
    include: GlobSet,
    /// The names of secrets are left alone, too, unless the user does not want that.
    secrets: bool,
    roots: Vec<PathBuf>,
}

impl LeftAlone {
    /// `roots`: the workspace's folders. The configuration's globs have been checked when it was
    /// read.
    pub fn new(config: &ContextConfig, roots: Vec<PathBuf>) -> LeftAlone {
        LeftAlone {
            patterns: globs(&config.ignore).unwrap_or_default(),
            include: globs(&config.include).unwrap_or_default(),
            secrets: config.ignore_defaults,
            roots,
        }
    }

    /// Whether a document is left alone for its name. `path` is the one that the model would see.
    pub fn names(&self, uri: &str, path: &str) -> bool {
        let places = Places::of(uri, path);
        let by_pattern = places.all.iter().any(|place| {
            self.patterns.is_match(self.relative(place)) || self.patterns.is_match(place)
        });
        by_pattern
            || places.all.iter().any(|place| self.is_secret(place))
            || self.is_left_by_file(&places)
    }

    /// Whether a document's text is not to leave it: `.gitignore` names it, and the user has not
    /// let it out.
    pub fn stays_home(&self, uri: &str, path: &str) -> bool {
        let places = Places::of(uri, path);
        if places.all.iter().any(|place| {
            self.include.is_match(self.relative(place)) || self.include.is_match(place)
        }) {
            return false;
        }
        let Some(file) = &places.file else { return false };
        let (root, repository) = self.root_of(file);
        let mut rules = Vec::new();
        if repository {
            let global = Gitignore::global().0;
            rules.push((root.clone(), global));
            rules.push((
                root.clone(),
                read_rules(&root, &root.join(".git").join("info").join("exclude")),
            ));
        }
        is_ignored(&root, file, rules, &[GITIGNORE])
    }

    fn is_secret(&self, place: &str) -> bool {
        let (folder, name) = place.rsplit_once('/').unwrap_or(("", place));
        self.secrets
            && names_behind(name).iter().any(|name| {
                let place = if folder.is_empty() {
                    name.clone()
                } else {
                    format!("{}/{name}", folder.trim_start_matches('/'))
                };
                SECRET_NAMES.is_match(&place) && !TEMPLATE_NAMES.is_match(&place)
            })
    }

    fn is_left_by_file(&self, places: &Places) -> bool {
        let Some(file) = &places.file else { return false };
        let (root, _) = self.root_of(file);
        is_ignored(&root, file, Vec::new(), &LEAVE_FILES)
    }

    /// A path below a root, as patterns see it.
    fn relative<'a>(&self, place: &'a str) -> &'a str {
        let below = |root: &PathBuf| place.strip_prefix(root.to_str()?)?.strip_prefix('/');
        self.roots.iter().find_map(below).unwrap_or_else(|| place.trim_start_matches('/'))
    }

    /// Where rules for a file begin: its repository (true), else its workspace, else its folder.
    fn root_of(&self, file: &Path) -> (PathBuf, bool) {
        let repository =
            file.ancestors().skip(1).take(MAX_DEPTH).find(|folder| folder.join(".git").exists());
        if let Some(repository) = repository {
            return (repository.to_owned(), true);
        }
        let root = self.roots.iter().find(|root| file.starts_with(root)).cloned();
        (root.unwrap_or_else(|| file.parent().unwrap_or(file).to_owned()), false)
    }
}

/// What a URI may mean.
struct Places {
    /// Paths whose names count: also those in the queries of documents that editors make up
    /// (`git:/a/.env?{"path": …}`).
    all: Vec<String>,
    /// The file, where there may be one.
    file: Option<PathBuf>,
}

impl Places {
    fn of(uri: &str, path: &str) -> Places {
        let (scheme, rest) =
            uri.split_once(':').filter(|(scheme, _)| scheme.len() > 1).unwrap_or(("file", uri));
        let address = rest
            .strip_prefix("//")
            .map_or(rest, |rest| rest.find('/').map_or("", |slash| &rest[slash..]));
        let end = address.find(['?', '#']).unwrap_or(address.len());
        let whole = percent_decoded(address);
        let plain = percent_decoded(&address[..end]);
        let file = (!plain.is_empty() && plain.starts_with('/')).then(|| PathBuf::from(&plain));
        let mut all = vec![plain.replace('\\', "/"), path.to_owned()];
        // An editor that forgot to encode a `?` means the whole; in what others append, every word
        // may be a name.
        all.push(whole.replace('\\', "/"));
        if scheme != "file" {
            let query = percent_decoded(&percent_decoded(&address[end..]));
            let words = query.split(|c: char| {
                c.is_whitespace()
                    || matches!(c, '?' | '#' | '&' | '=' | '"' | '\'' | '{' | '}' | ',' | ';')
            });
            all.extend(
                words.filter(|word| word.contains('.') || word.contains('/')).map(str::to_owned),
            );
        }
        Places { all, file }
    }
}

/// The name itself and the names of the files that it is a copy of: what editors put beside a file
/// while it is edited, and backups.
fn names_behind(name: &str) -> Vec<String> {
    const ENDS: [&str; 14] = [
        "~", "#", ".swp", ".swo", ".swn", ".swx", ".bak", ".backup", ".orig", ".old", ".save",
        ".saved", ".tmp", ".copy",
    ];
    let mut names = vec![name.to_owned()];
    let mut bare = name.to_ascii_lowercase();
    loop {
        let stripped = ENDS
            .iter()
            .find_map(|end| bare.strip_suffix(end))
            .or_else(|| bare.strip_prefix(".#"))
            .or_else(|| bare.strip_prefix('#'));
        match stripped {
            Some(stripped) if !stripped.is_empty() => bare = stripped.to_owned(),
            _ => break,
        }
        names.push(bare.clone());
        // Vim puts a point before the names of its swap files.
        names.extend(bare.strip_prefix('.').filter(|name| !name.is_empty()).map(str::to_owned));
    }
    names
}

fn read_rules(folder: &Path, file: &Path) -> Gitignore {
    let small =
        std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_IGNORE_BYTES);
    if !small {
        return Gitignore::empty();
    }
    let mut builder = GitignoreBuilder::new(folder);
    // A line that cannot be read is left out, the others hold.
    let _ = builder.add(file);
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// Whether rule files between `root` and the file name it, as git reads them: a nearer file's last
/// word counts, and below a folder that is named nothing comes back.
fn is_ignored(
    root: &Path,
    file: &Path,
    mut rules: Vec<(PathBuf, Gitignore)>,
    names: &[&str],
) -> bool {
    let Ok(below) = file.strip_prefix(root) else { return false };
    let mut place = root.to_owned();
    let n = below.components().count();
    for (i, part) in below.components().enumerate().take(MAX_DEPTH) {
        rules.extend(
            names.iter().map(|name| (place.clone(), read_rules(&place, &place.join(name)))),
        );
        place.push(part);
        let is_dir = i + 1 < n;
        let verdict = rules
            .iter()
            .rev()
            .map(|(_, rules)| rules.matched(&place, is_dir))
            .find(|verdict| !verdict.is_none());
        if matches!(verdict, Some(Match::Ignore(_))) {
            return true;
        }
    }
    false
}

/// `%20` and the like in a URI, as text; invalid sequences stay as they are.
pub fn percent_decoded(uri: &str) -> String {
    percent_encoding::percent_decode_str(uri).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(change: impl FnOnce(&mut ContextConfig)) -> LeftAlone {
        let mut config = ContextConfig::default();
        change(&mut config);
        LeftAlone::new(&config, vec![PathBuf::from("/w")])
    }

    #[test]
    fn secrets_are_known_by_their_names_wherever_and_however_they_are_opened() {
        let rules = rules(|_| {});
        for name in [
            ".env",
            ".ENV",
            ".env.prod",
            ".env.production.local",
            ".Env.Staging",
            "prod.env",
            ".envrc",
            ".git-credentials",
            ".pypirc",
            ".pgpass",
            ".npmrc",
            ".netrc",
            "_netrc",
            "id_rsa",
            "id_ed25519_work",
            "ID_ECDSA.old",
            "server.PEM",
            "a.key",
            "AuthKey.p8",
            "x.jks",
            "x.keystore",
            "terraform.tfvars",
            "prod.auto.tfvars",
            "terraform.tfstate",
            "secrets.yml",
            "secrets.yaml",
            "Secrets.toml",
            "db-secrets.json",
            "credentials",
            "credentials.json",
            "aws_credentials.csv",
            "client_secret_123.json",
            "service-account-prod.json",
            ".htpasswd",
            "kubeconfig",
            "kubeconfig.yaml",
            ".vault-token",
            ".vault_pass.txt",
            "wp-config.php",
            ".bash_history",
            ".env.swp",
            ".env~",
            "#.env#",
            ".#.env",
            ".id_rsa.swp",
            "server.pem.bak",
            ".secrets.yml.swp",
            ".env.local~",
            "vault.yml",
            "passwords.txt",
            "local.settings.json",
            ".my.cnf",
            "x.kdbx",
        ] {
            for uri in [
                format!("file:///w/deep/{name}"),
                format!("file:///elsewhere/{name}"),
                format!("git:/w/{name}?%7B%22ref%22%3A%22~%22%7D"),
            ] {
                let uri = uri.replace('#', "%23");
                assert!(rules.names(&uri, name), "{uri}");
            }
            assert!(rules.names(&format!("untitled:{}", name.replace('#', "%23")), ""), "{name}");
        }
        for uri in [
            "file:///home/me/.aws/credentials",
            "file:///home/me/.aws/config",
            "file:///home/me/.ssh/config",
            "file:///w/.docker/config.json",
            "file:///home/me/.config/gh/hosts.yml",
            "file:///w/%2Eenv",
            "git:/w/a.py?%7B%22path%22%3A%22%2Fw%2F.env%22%7D",
            "gitlens://x/w/.env?ref=1",
            "vscode-remote://ssh-remote%2Bhost/w/.env.prod",
            "fugitive:///w/.git//0/.env",
            "C:\\w\\.env",
            "file:///c%3A/w/.env",
        ] {
            assert!(rules.names(uri, "x"), "{uri}");
        }
    }

    #[test]
    fn code_and_templates_are_no_secrets() {
        let rules = rules(|_| {});
        for name in [
            "environment.py",
            "env.py",
            "key.rs",
            "pem.go",
            ".env.example",
            ".env.sample",
            ".env.template",
            "keys.ts",
            "id_generator.rs",
            "tokenizer.json",
            "token.rs",
            "tokens.py",
            "credentials_test.go",
            "secret.rs",
            "password.tsx",
            "vault.rs",
            "config.json",
            "settings.py",
            "a.py~",
            ".gitignore",
            "Cargo.toml",
            "history.rs",
            "package.json",
            "id_rsa.pub",
            "aws.ts",
            "main.tf",
            "credentials.rs",
            "keystore.rs",
        ] {
            assert!(
                !rules.names(&format!("file:///w/src/{name}"), &format!("src/{name}")),
                "{name}"
            );
        }
        assert!(!rules.names("untitled:Untitled-1", "Untitled-1"));
        assert!(!rules.names("vscode-notebook-cell:/w/a.ipynb#W0sZmlsZQ%3D%3D", "a.ipynb"));
    }

    #[test]
    fn patterns_add_and_only_the_user_drops_the_list() {
        let added =
            rules(|config| config.ignore = vec!["vendor/**".to_owned(), "*.GEN.py".to_owned()]);
        assert!(
            added.names("file:///w/.env", ".env")
                && added.names("file:///w/vendor/a.py", "vendor/a.py")
        );
        assert!(
            added.names("file:///w/a.gen.py", "a.gen.py")
                && !added.names("file:///w/src/vendor/a.py", "src/vendor/a.py")
        );
        let dropped = rules(|config| config.ignore_defaults = false);
        assert!(!dropped.names("file:///w/.env", ".env"));
    }

    #[test]
    fn what_git_does_not_keep_stays_home_unless_the_user_lets_it_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join(".git/info")).unwrap();
        std::fs::create_dir_all(root.join("src/build")).unwrap();
        std::fs::write(root.join(".gitignore"), "*.local\nbuild/\n/only_here.py\n").unwrap();
        std::fs::write(root.join("src/.gitignore"), "!kept.local\n").unwrap();
        std::fs::write(root.join(".git/info/exclude"), "private.py\n").unwrap();
        std::fs::write(root.join(".lacunaignore"), "alone/\n").unwrap();
        std::fs::write(root.join("src/.ignore"), "*.dump\n").unwrap();
        let uri = |path: &str| format!("file://{}", root.join(path).display());
        let rules = |include: &[&str]| {
            let include = include.iter().map(ToString::to_string).collect();
            LeftAlone::new(
                &ContextConfig { include, ..ContextConfig::default() },
                vec![root.clone()],
            )
        };
        let plain = rules(&[]);
        for (path, home) in [
            ("a.py", false),
            ("a.local", true),
            ("src/a.local", true),
            ("src/kept.local", false),
            ("kept.local", true),
            ("build/a.py", true),
            ("src/build/kept.local", true),
            ("only_here.py", true),
            ("src/only_here.py", false),
            ("src/private.py", true),
        ] {
            assert_eq!(plain.stays_home(&uri(path), path), home, "{path}");
            assert!(!plain.names(&uri(path), path), "it is completed: {path}");
        }
        assert!(!rules(&["*.local"]).stays_home(&uri("a.local"), "a.local"));
        assert!(!rules(&["build/**"]).stays_home(&uri("build/a.py"), "build/a.py"));
        for (path, left) in [
            ("alone/a.py", true),
            ("src/alone/a.py", true),
            ("src/a.dump", true),
            ("a.dump", false),
        ] {
            assert_eq!(plain.names(&uri(path), path), left, "{path}");
        }
        assert!(!plain.stays_home("untitled:a.local", "a.local"));
    }
}
