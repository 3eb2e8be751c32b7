//! The notify sockets of FullMetalUpdate's apps: while such an app proves itself, whoever starts it says here `success`, or
//! `<SERVICE_RESULT> <EXIT_CODE> <EXIT_STATUS>` as systemd.exec(5) has them. The first word counts.
//!
//! Only root reaches a socket. What was said is kept until the device's next start, since an agent that is started again
//! meanwhile would wait for it in vain.

use super::Event;
use crate::config::Paths;
use fullmetal_proto::deploy::{AppEvent, Deployment, Input, NewPart};
use fullmetal_proto::{AppName, Digest};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How often it is looked whether somebody called.
const LOOK: Duration = Duration::from_millis(50);
/// The longest message.
const WORDS_LEN_MAX: usize = 1024;
/// How long a caller may take to say it.
const WORDS_TIME: Duration = Duration::from_secs(2);

/// The sockets of a deployment's apps; they are gone when this is dropped.
pub struct Sockets {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Sockets {
    /// Opens those of the parts that must say that they are well, before the apps start.
    pub fn open(paths: &Paths, deployment: &Deployment, events: &Sender<Event>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = |part: &&NewPart| part.notify && part.installed.start.autostart;
        let listener = |part: &NewPart| Listener {
            path: paths.notify_socket(&part.name),
            kept: paths.notified(&part.name),
            action: deployment.wish.action,
            name: part.name.clone(),
            commit: part.installed.commit,
            events: events.clone(),
        };
        let threads = deployment.parts.iter().filter(asked).filter_map(|part| listener(part).start(&stop)).collect();
        Sockets { stop, threads }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One app's.
struct Listener {
    path: PathBuf,
    kept: PathBuf,
    action: u64,
    name: AppName,
    commit: Digest,
    events: Sender<Event>,
}

impl Listener {
    fn start(self, stop: &Arc<AtomicBool>) -> Option<JoinHandle<()>> {
        if let Some(words) = self.said_before() {
            self.tell(&words);
            return None;
        }
        match bind(&self.path) {
            Ok(socket) => {
                let stop = stop.clone();
                Some(std::thread::spawn(move || self.listen(&socket, &stop)))
            }
            Err(error) => {
                warn!(app = %self.name, path = %self.path.display(), %error, "no notify socket");
                self.tell(&format!("its notify socket {} cannot be made: {error}", self.path.display()));
                None
            }
        }
    }

    fn listen(&self, socket: &UnixListener, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match socket.accept() {
                Ok((stream, _)) => {
                    if let Some(words) = read(stream) {
                        info!(app = %self.name, words, "said on its notify socket");
                        self.keep(&words);
                        self.tell(&words);
                        break;
                    }
                }
                Err(_) => std::thread::sleep(LOOK),
            }
        }
        let _ = fs::remove_file(&self.path);
    }

    fn mark(&self) -> String {
        format!("{} {} ", self.action, self.commit)
    }

    /// What was said of this version in this action.
    fn said_before(&self) -> Option<String> {
        let text = fs::read_to_string(&self.kept).ok()?;
        text.strip_prefix(&self.mark()).map(str::to_owned)
    }

    fn keep(&self, words: &str) {
        let dir = self.kept.parent().unwrap_or(Path::new("/"));
        let kept = fs::create_dir_all(dir).and_then(|()| fs::write(&self.kept, self.mark() + words));
        if let Err(error) = kept {
            warn!(app = %self.name, %error, "a restart of the agent will not know what was said");
        }
    }

    /// As FullMetalUpdate's client reads it: the first word decides.
    fn tell(&self, words: &str) {
        let well = words.split_whitespace().next() == Some("success");
        let event = if well { AppEvent::SaysWell } else { AppEvent::SaysFailed { reason: words.to_owned() } };
        let input = Input::App { name: self.name.clone(), commit: self.commit, event };
        let _ = self.events.send(Event::Input(input));
    }
}

/// Everybody may write to /tmp, so its directory must be ours alone.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if let Some(above) = dir.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(io::Error::other("its directory is not root's alone; remove it"));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// What one caller says, in one line; none when that is nothing.
fn read(mut stream: UnixStream) -> Option<String> {
    let end = Instant::now() + WORDS_TIME;
    stream.set_nonblocking(false).ok()?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; WORDS_LEN_MAX]);
    while bytes.len() < WORDS_LEN_MAX && !bytes.contains(&b'\n') {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 && Instant::now() < end => bytes.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    bytes.truncate(WORDS_LEN_MAX);
    let text = String::from_utf8_lossy(&bytes).replace(char::is_control, " ");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use fullmetal_proto::Timestamp;
    use fullmetal_proto::deploy::{Installed, Wish};
    use fullmetal_proto::wire::{Mode, StartOptions};
    use std::io::Write;
    use std::sync::mpsc::{Receiver, channel};

    /// One of the app `hello`.
    pub fn deployment(action: u64, notify: bool) -> Deployment {
        let [bundle, commit, manifest] = [b"b", b"c", b"m"].map(|b| Digest::of(b));
        let (seen, expires) = (Timestamp::ZERO, Timestamp::MAX);
        let wish = Wish { action, bundle, mode: Mode::Now, valid_until: None, expires, seen };
        let start = StartOptions { autostart: true, job: false };
        let installed = Installed { commit, version: "1".into(), manifest, start, unsigned: true };
        let name = "hello".parse().unwrap();
        let part = NewPart { name, installed, floor: 0, health: false, notify, may_stay: false };
        Deployment { parts: vec![part], ..Deployment::of(wish) }
    }

    fn told(events: &Receiver<Event>) -> AppEvent {
        match events.recv_timeout(Duration::from_secs(20)).unwrap() {
            Event::Input(Input::App { event, commit, .. }) if commit == Digest::of(b"c") => event,
            _ => panic!("something else"),
        }
    }

    fn says(paths: &Paths, words: &str) {
        let mut stream = UnixStream::connect(paths.notify_socket(&"hello".parse().unwrap())).unwrap();
        // It may have heard enough before all of it is written.
        let _ = stream.write_all(words.as_bytes());
    }

    #[test]
    fn the_first_word_is_told_and_then_nobody_listens() {
        for (words, expected) in [
            ("success\n", Ok(())),
            ("success exited 0\n", Ok(())),
            ("exit-code exited 3\n", Err("exit-code exited 3".to_owned())),
            ("timeout\u{1b}[31m killed 9", Err("timeout [31m killed 9".to_owned())),
            (&"x".repeat(5000), Err("x".repeat(1024))),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (paths, (sender, events)) = (Paths::new(dir.path()), channel());
            let sockets = Sockets::open(&paths, &deployment(1, true), &sender);
            // Who says nothing is passed over.
            says(&paths, "");
            says(&paths, words);
            let event = match expected {
                Ok(()) => AppEvent::SaysWell,
                Err(reason) => AppEvent::SaysFailed { reason },
            };
            assert_eq!(told(&events), event);
            drop(sockets);
            assert!(!paths.notify_socket(&"hello".parse().unwrap()).exists());
            // An agent that is started again knows it; another action asks anew.
            drop(Sockets::open(&paths, &deployment(1, true), &sender));
            assert_eq!(told(&events), event);
            drop(Sockets::open(&paths, &deployment(2, true), &sender));
            assert!(events.try_recv().is_err());
        }
    }

    #[test]
    fn an_app_that_need_not_say_anything_has_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        let (paths, (sender, _events)) = (Paths::new(dir.path()), channel());
        let _sockets = Sockets::open(&paths, &deployment(1, false), &sender);
        assert!(!dir.path().join("tmp").exists());
    }

    #[test]
    fn a_socket_that_others_could_replace_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let (paths, (sender, events)) = (Paths::new(dir.path()), channel());
        let place = dir.path().join("tmp/fullmetalupdate");
        fs::create_dir_all(&place).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o777)).unwrap();
        let refused = || {
            let _sockets = Sockets::open(&paths, &deployment(1, true), &sender);
            match told(&events) {
                AppEvent::SaysFailed { reason } => assert!(reason.contains("is not root's alone"), "{reason}"),
                other => panic!("{other:?}"),
            }
        };
        refused();
        fs::remove_dir(&place).unwrap();
        std::os::unix::fs::symlink(dir.path(), &place).unwrap();
        refused();
    }
}
