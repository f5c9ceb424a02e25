//! One engine for all editors of a user: a process in the background that holds the weights, and
//! editors' processes that only pass messages on.
//!
//! Owns: where the socket lies, who may use it, how the engine is started and when it ends. The
//! messages are those of `lacuna lsp`. A socket belongs to one user, one build of the program and
//! one model: anything else is another engine.
//!
//! Start reading at [`attach`] (an editor's side) and [`serve_engine`] (the engine's).

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use etcetera::base_strategy::{BaseStrategy, choose_base_strategy};
use futures::FutureExt;
use lacuna_config::ModelConfig;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};

use super::server::Connection;
use super::transport;

/// Longest wait for an engine that was just started: the weights of a large model are read before
/// it listens.
const START: Duration = Duration::from_secs(120);
/// Between two tries to reach it.
const RETRY: Duration = Duration::from_millis(30);
/// So long a client that is one too many has to ask for something that can be refused.
const REFUSAL: Duration = Duration::from_secs(5);
/// Editors that one engine serves.
const MAX_EDITORS: usize = 64;

/// Where the engine for a model on its device listens. The folder is made, owner-only.
///
/// Errors: a folder that belongs to somebody else or that others may enter.
pub fn socket(model: &ModelConfig) -> anyhow::Result<PathBuf> {
    let folder = folder()?;
    let mut name = Sha256::new();
    name.update(env!("CARGO_PKG_VERSION"));
    // Another build of the same version is another engine too.
    let exe = std::env::current_exe()?;
    let meta = fs::metadata(&exe).with_context(|| format!("{}", exe.display()))?;
    name.update(format!("{} {} {}", meta.ino(), meta.len(), meta.mtime_nsec()));
    let path = if model.path.is_empty() {
        PathBuf::new()
    } else {
        fs::canonicalize(&model.path).unwrap_or_else(|_| PathBuf::from(&model.path))
    };
    name.update(path.as_os_str().as_encoded_bytes());
    name.update(format!(" {}", model.device.0));
    let hash = hex::encode(&name.finalize()[..8]);
    Ok(folder.join(format!("engine-{hash}.sock")))
}

fn folder() -> anyhow::Result<PathBuf> {
    let base = choose_base_strategy().context(
        "no place for the engine's socket: set XDG_RUNTIME_DIR or HOME, or start with --no-attach",
    )?;
    let base = base.runtime_dir().filter(|dir| dir.is_dir()).unwrap_or_else(|| base.cache_dir());
    let folder = base.join("lacuna");
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => {
            return Err(e).with_context(|| format!("{}", folder.display()));
        }
        _ => {}
    }
    let meta = fs::symlink_metadata(&folder).with_context(|| format!("{}", folder.display()))?;
    if !meta.is_dir() || meta.uid() != own_uid()? {
        bail!(
            "{} is not a folder of yours: remove it, or start with --no-attach",
            folder.display()
        );
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(&folder, Permissions::from_mode(0o700))
            .with_context(|| format!("{}", folder.display()))?;
    }
    Ok(folder)
}

/// Whose process this is.
fn own_uid() -> anyhow::Result<u32> {
    // The owner of an entry of our own in /proc where there is one; a file that we make elsewhere.
    match fs::metadata("/proc/self") {
        Ok(meta) => Ok(meta.uid()),
        Err(_) => Ok(tempfile::tempfile()?.metadata()?.uid()),
    }
}

/// Whether an engine listens there.
pub async fn is_running(socket: &Path) -> bool {
    UnixStream::connect(socket).await.is_ok()
}

/// For `lacuna doctor`: what a `lacuna lsp` with this model would find.
pub fn describe(model: &ModelConfig) -> String {
    match socket(model) {
        Err(error) => format!("not possible: {error:#}"),
        Ok(socket) if std::os::unix::net::UnixStream::connect(&socket).is_ok() => {
            format!("an engine for this model runs, {}", socket.display())
        }
        Ok(_) => "no engine for this model runs; lacuna lsp --attach starts one".to_owned(),
    }
}

/// Passes messages between an editor on standard input and output and the engine, which is started
/// when there is none. Returns when either side hangs up; whether the editor had said goodbye or
/// hung up itself.
pub async fn attach(socket: &Path, model: &ModelConfig, idle: Duration) -> anyhow::Result<bool> {
    let engine = connect(socket, model, idle).await?;
    let uid = engine.peer_cred()?.uid();
    if uid != own_uid()? {
        bail!(
            "the engine at {} runs as another user ({uid}): remove the socket, or start with --no-attach",
            socket.display()
        );
    }
    let (mut from_engine, mut to_engine) = engine.into_split();
    let (mut input, mut output) = (tokio::io::stdin(), tokio::io::stdout());
    let goodbye = Goodbye::default();
    let inward = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n @ 1..) = input.read(&mut bytes).await {
            goodbye.look(&bytes[..n]);
            if to_engine.write_all(&bytes[..n]).await.is_err() {
                break;
            }
        }
        let _ = to_engine.shutdown().await;
    };
    let outward = async {
        let _ = copy(&mut from_engine, &mut output).await;
        let _ = output.flush().await;
    };
    tokio::pin!(outward);
    tokio::select! {
        () = inward => {
            // The replies that are under way still reach the editor.
            let _ = tokio::time::timeout(Duration::from_secs(2), outward).await;
            Ok(true)
        }
        () = &mut outward => Ok(goodbye.is_said()),
    }
}

/// Looks for the message that ends a session in what passes, so that the exit code is that of a
/// server of one's own. Quotes inside a document's text are escaped: they do not look like it.
#[derive(Default)]
struct Goodbye {
    /// The end of what has passed, without blanks.
    tail: Mutex<Vec<u8>>,
    said: AtomicBool,
}

impl Goodbye {
    const EXIT: &[u8] = b"\"method\":\"exit\"";

    fn look(&self, bytes: &[u8]) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(bytes.iter().filter(|b| !b.is_ascii_whitespace()));
        if tail.windows(Self::EXIT.len()).any(|window| window == Self::EXIT) {
            self.said.store(true, Ordering::Release);
        }
        let keep = tail.len().saturating_sub(Self::EXIT.len());
        tail.drain(..keep);
    }

    fn is_said(&self) -> bool {
        self.said.load(Ordering::Acquire)
    }
}

async fn connect(socket: &Path, model: &ModelConfig, idle: Duration) -> anyhow::Result<UnixStream> {
    if let Ok(stream) = UnixStream::connect(socket).await {
        return Ok(stream);
    }
    let mut engine = start(socket, model, idle)?;
    let deadline = Instant::now() + START;
    loop {
        if let Ok(stream) = UnixStream::connect(socket).await {
            return Ok(stream);
        }
        // One that finds another engine already starting ends well, and the other one is waited
        // for.
        if let Some(status) = engine.try_wait()?
            && !status.success()
        {
            let log = log_file(socket);
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!(
                "the engine did not start ({status}): {}",
                said.lines().last().unwrap_or("its log is empty")
            );
        }
        if Instant::now() > deadline {
            bail!(
                "the engine did not answer within {} s: see {}, or start with --no-attach",
                START.as_secs(),
                log_file(socket).display()
            );
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn log_file(socket: &Path) -> PathBuf {
    socket.with_extension("log")
}

/// Starts an engine that outlives this process and its terminal.
fn start(
    socket: &Path,
    model: &ModelConfig,
    idle: Duration,
) -> anyhow::Result<std::process::Child> {
    let log = log_file(socket);
    let errors = File::create(&log).with_context(|| format!("{}", log.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["lsp", "--engine"])
        .arg(socket)
        .arg("--engine-idle")
        .arg(idle.as_secs().to_string());
    if !model.path.is_empty() {
        command.arg("--model").arg(std::path::absolute(&model.path)?);
    }
    command.arg("--device").arg(model.device.0.to_string());
    // A process group of its own: what an editor sends to its own group does not reach it.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .process_group(0)
        .current_dir("/");
    command.spawn().context("the engine could not be started")
}

/// Serves editors on the socket until nobody has been connected for `idle`. Returns at once if
/// another engine has the place.
pub async fn serve_engine(
    socket: &Path,
    connection: Connection,
    idle: Duration,
) -> anyhow::Result<()> {
    let lock = socket.with_extension("lock");
    let held = File::create(&lock).with_context(|| format!("{}", lock.display()))?;
    if held.try_lock().is_err() {
        return Ok(());
    }
    // Nobody else holds the lock: what lies there was left behind by an engine that was killed.
    match fs::remove_file(socket) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("{}", socket.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(socket).with_context(|| format!("{}", socket.display()))?;
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    let uid = own_uid()?;
    let (places, left) = (Arc::new(Semaphore::new(MAX_EDITORS)), Arc::new(Notify::new()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = left.notified() => continue,
            () = tokio::time::sleep(idle), if places.available_permits() == MAX_EDITORS => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        if stream.peer_cred().map_or(true, |peer| peer.uid() != uid) {
            tracing::warn!("a connection of another user was refused");
            continue;
        }
        let (input, output) = stream.into_split();
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let why = format!(
                "{MAX_EDITORS} editors share this engine already: close one, or start this one's server with --no-attach"
            );
            tracing::warn!("a connection was refused: {why}");
            // One that says nothing is not waited for.
            tokio::spawn(async move {
                tokio::time::timeout(REFUSAL, transport::refuse(input, output, &why)).await
            });
            continue;
        };
        let (connection, left) = (connection.clone(), Arc::clone(&left));
        tokio::spawn(async move {
            // Whatever becomes of it, its place is free again.
            let served =
                AssertUnwindSafe(transport::serve(input, output, connection)).catch_unwind().await;
            if served.is_err() {
                tracing::error!("a client's session panicked: the others go on");
            }
            drop(place);
            left.notify_one();
        });
    }
    // First the name, then the lock: a new engine that gets the lock finds the place free.
    let _ = fs::remove_file(socket);
    drop(held);
    // Whoever came between the last look and that is served still.
    while let Ok(Ok((stream, _))) = tokio::time::timeout(RETRY, listener.accept()).await {
        if stream.peer_cred().is_ok_and(|peer| peer.uid() == uid) {
            let (input, output) = stream.into_split();
            transport::serve(input, output, connection.clone()).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodbye_is_found_across_pieces_and_not_in_text() {
        let goodbye = Goodbye::default();
        goodbye.look(br#"{"params":{"text":"{\"method\":\"exit\"}"}}"#);
        assert!(!goodbye.is_said());
        goodbye.look(br#"{"jsonrpc": "2.0", "meth"#);
        goodbye.look(br#"od": "exit"}"#);
        assert!(goodbye.is_said());
    }
}
