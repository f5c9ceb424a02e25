//! Files that are nobody's business but their owner's: what was typed, what was recorded, what a
//! machine can do.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use atomic_write_file::AtomicWriteFile;

/// Makes a folder with what is above it, for its owner only; one that is there stays as it is.
pub fn create_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// To make a file that only its owner reads and writes.
pub fn options() -> OpenOptions {
    let mut options = File::options();
    options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Replaces a file by one that only its owner reads and writes, or leaves it as it was.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = AtomicWriteFile::options();
    #[cfg(unix)]
    {
        use atomic_write_file::unix::OpenOptionsExt;
        options.preserve_mode(false).preserve_owner(false);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Looks at the rights of a file with a secret in it. Errors: others could put their own secret
/// there. That they can read it is said.
pub fn check_secret(path: &Path) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let meta = std::fs::metadata(path).with_context(|| format!("{}", path.display()))?;
        let mode = meta.permissions().mode() & 0o777;
        // A pipe (`<(pass show lacuna)`) has rights that mean nothing.
        if meta.is_file() && mode & 0o022 != 0 {
            bail!(
                "{} can be written by others (mode {mode:o}): chmod 600 it, and put a new secret into it",
                path.display()
            );
        }
        if meta.is_file() && mode & 0o044 != 0 {
            tracing::warn!(
                "{} can be read by others (mode {mode:o}): chmod 600 it",
                path.display()
            );
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_made_is_the_owners_and_what_others_can_write_is_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a").join("b");
        create_folder(&folder).unwrap();
        let file = folder.join("token");
        options().write(true).open(&file).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&folder), mode(&dir.path().join("a")), mode(&file)),
            (0o700, 0o700, 0o600)
        );
        for (mode, fine) in [
            (0o600, true),
            (0o400, true),
            (0o644, true),
            (0o666, false),
            (0o620, false),
            (0o602, false),
        ] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_secret(&file).is_ok(), fine, "{mode:o}");
        }
    }
}
