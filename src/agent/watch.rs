//! Watches apps while a new version proves itself, each on a thread of its own: a health check that hangs holds up
//! nobody else.

use super::{Event, foreign};
use crate::config::Paths;
use crate::host::{AppHost, AppStatus, Health, HostError, Phase};
use crate::installed_commit;
use fullmetal_proto::deploy::{AppEvent, Input, NewPart};
use fullmetal_proto::wire::ExitStatus;
use fullmetal_proto::{AppName, Digest, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tracing::warn;

/// How often a health check is run, and a watch that is over notices it.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a health check may take.
const HEALTH_LIMIT: Duration = Duration::from_secs(10);
/// What a shell says of a command that could not be run; so does a container that could not be made.
const NOT_RUN: i32 = 127;

/// One app to watch.
pub struct Watched {
    name: AppName,
    commit: Digest,
    /// The health check's argv; empty without one.
    health: Vec<String>,
    /// That it runs is what it would say on its notify socket.
    says_well: bool,
}

/// The parts of a deployment that run, with the health checks that their commits name.
pub fn watched<'a>(paths: &Paths, parts: impl Iterator<Item = &'a NewPart>) -> Vec<Watched> {
    parts
        .filter(|p| p.installed.start.autostart)
        .map(|p| Watched {
            name: p.name.clone(),
            commit: p.installed.commit,
            health: if p.health { health_of(paths, &p.installed.commit) } else { Vec::new() },
            says_well: p.notify && foreign::tells_its_start(paths, &p.name, &p.installed.commit),
        })
        .collect()
}

/// The check lies in the commit object, which the build key signed and the store has verified.
fn health_of(paths: &Paths, commit: &Digest) -> Vec<String> {
    match installed_commit::read(paths, commit) {
        Ok(commit) => commit.metadata.health,
        Err(error) => {
            warn!(%error, "its health check cannot be run");
            Vec::new()
        }
    }
}

/// Milliseconds since boot; no change of the system clock moves it.
fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// How long the probation of `action` has run, by the note of the agent that watches it.
pub fn elapsed(paths: &Paths, action: u64) -> Option<Duration> {
    let text = std::fs::read_to_string(paths.probation_file()).ok()?;
    let (of, began) = text.trim().split_once(' ')?;
    let began: u64 = began.parse().ok()?;
    let passed = boot_ms().checked_sub(began)?;
    (of.parse() == Ok(action)).then_some(Duration::from_millis(passed))
}

/// A file for `fullmetal status`: which action proves itself, and since when. It goes when this is dropped.
pub struct Note {
    path: PathBuf,
}

impl Note {
    /// Written now. That it cannot be written is no reason not to go on.
    pub fn leave(paths: &Paths, action: u64) -> Self {
        let path = paths.probation_file();
        let text = format!("{action} {}\n", boot_ms());
        if let Err(error) = std::fs::create_dir_all(paths.run_dir()).and_then(|()| std::fs::write(&path, text)) {
            warn!(path = %path.display(), %error, "status will not tell how far the probation is");
        }
        Note { path }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The watching threads; they end when this is dropped, one that waits for a health check after that.
pub struct Watch {
    stop: Arc<AtomicBool>,
    _note: Note,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    /// Watches `apps` and tells `events`; `started` is where the agent's steady clock begins.
    pub fn start(
        host: impl Fn() -> Box<dyn AppHost>,
        apps: Vec<Watched>,
        started: Instant,
        events: &Sender<Event>,
        note: Note,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for app in apps {
            let (mut host, stopped) = (host(), stop.clone());
            let mut seen = Seen::new(app, started, Teller { events: events.clone(), stopped: stop.clone() });
            std::thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    seen.look(&*host);
                    host.wait_for_change(&seen.app.name, HEALTH_INTERVAL);
                }
            });
        }
        Watch { stop, _note: note }
    }
}

/// Tells the deciding thread, until the watch is over.
struct Teller {
    events: Sender<Event>,
    stopped: Arc<AtomicBool>,
}

/// An app and what was told about it.
struct Seen {
    app: Watched,
    started: Instant,
    teller: Teller,
    running: bool,
    /// Generation and restarts at the exit that was told last.
    exit: Option<(u64, u32)>,
    next_check: Instant,
    /// What was told last to be in the way of asking.
    unasked: Option<String>,
}

impl Seen {
    fn new(app: Watched, started: Instant, teller: Teller) -> Self {
        Seen { app, started, teller, running: false, exit: None, next_check: Instant::now(), unasked: None }
    }

    /// Tells what is new. What cannot be asked is told as that: it says nothing about the app.
    fn look(&mut self, host: &dyn AppHost) {
        match self.ask(host) {
            Ok(true) if self.unasked.take().is_some() => self.tell(AppEvent::Asked),
            Ok(_) => {}
            Err(error) => {
                let reason = error.to_string();
                if self.unasked.as_ref() != Some(&reason) {
                    warn!(app = %self.app.name, error = reason, "the app cannot be asked how it is");
                    self.unasked = Some(reason.clone());
                    self.tell(AppEvent::Unasked { reason });
                }
            }
        }
    }

    /// Gives whether all that there is to ask was asked.
    fn ask(&mut self, host: &dyn AppHost) -> Result<bool, HostError> {
        let status = match host.status(&self.app.name)? {
            Some(status) if status.commit == self.app.commit => status,
            _ => return Ok(true),
        };
        if let Some(event) = self.exit_event(&status) {
            self.tell(event);
        }
        if status.phase == Phase::Running && !self.running {
            self.tell(AppEvent::Running);
            if self.app.says_well {
                self.tell(AppEvent::SaysWell);
            }
        }
        self.running = status.phase == Phase::Running;
        if !self.running || self.app.health.is_empty() {
            return Ok(true);
        }
        let is_due = self.next_check <= Instant::now();
        if is_due {
            self.check(host)?;
        }
        Ok(is_due)
    }

    fn exit_event(&mut self, status: &AppStatus) -> Option<AppEvent> {
        let ended = status.restarts > 0 || matches!(status.phase, Phase::Exited | Phase::Lost);
        let mark = (status.generation, status.restarts);
        if !ended || self.exit == Some(mark) {
            return None;
        }
        self.exit = Some(mark);
        let status_code = status.last_exit.unwrap_or(ExitStatus::Code(NOT_RUN));
        Some(AppEvent::Exited { status: status_code, log: status.log.clone() })
    }

    fn check(&mut self, host: &dyn AppHost) -> Result<(), HostError> {
        let began = Timestamp::ZERO.after(self.started.elapsed());
        let health = host.health(&self.app.name, &self.app.health, HEALTH_LIMIT);
        self.next_check = Instant::now() + HEALTH_INTERVAL;
        match health? {
            Health::Healthy => self.tell(AppEvent::Healthy { began }),
            Health::Unhealthy { exit, output } => self.tell(unhealthy(&format!("it ended with {exit:?}"), &output)),
            Health::TimedOut { output } => self.tell(unhealthy("it took too long", &output)),
            Health::NotRunning => {}
        }
        Ok(())
    }

    fn tell(&self, event: AppEvent) {
        if !self.teller.stopped.load(Ordering::Relaxed) {
            let (name, commit) = (self.app.name.clone(), self.app.commit);
            let _ = self.teller.events.send(Event::Input(Input::App { name, commit, event }));
        }
    }
}

fn unhealthy(what: &str, output: &[String]) -> AppEvent {
    let last = output.last().map(|l| format!(": {l}")).unwrap_or_default();
    AppEvent::Unhealthy { reason: format!("health check: {what}{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{App, MemoryHost, Started};
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    /// A device whose health checks of one app hang until the test lets them go.
    #[derive(Clone)]
    struct Hanging {
        host: MemoryHost,
        name: AppName,
        gate: Arc<Mutex<()>>,
    }

    impl AppHost for Hanging {
        fn start(&mut self, app: &App) -> Result<Started, HostError> {
            self.host.start(app)
        }
        fn stop(&mut self, name: &AppName) -> Result<(), HostError> {
            self.host.stop(name)
        }
        fn status(&self, name: &AppName) -> Result<Option<AppStatus>, HostError> {
            self.host.status(name)
        }
        fn health(&self, name: &AppName, argv: &[String], limit: Duration) -> Result<Health, HostError> {
            if *name == self.name {
                let _open = self.gate.lock().unwrap();
                return Ok(Health::TimedOut { output: vec!["asking".into()] });
            }
            self.host.health(name, argv, limit)
        }
        fn list(&self) -> Result<Vec<AppName>, HostError> {
            self.host.list()
        }
    }

    fn app_events(events: &Receiver<Event>, name: &AppName, wanted: impl Fn(&AppEvent) -> bool) -> AppEvent {
        let end = Instant::now() + Duration::from_secs(20);
        while let Ok(event) = events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            match event {
                Event::Input(Input::App { name: of, event, .. }) if of == *name && wanted(&event) => return event,
                _ => {}
            }
        }
        panic!("{name} is not told of");
    }

    #[test]
    fn a_check_that_hangs_holds_up_no_other_app_and_counts_when_it_is_over() {
        let [hung, well] = ["hung", "well"].map(|n| n.parse::<AppName>().unwrap());
        let gate = Arc::new(Mutex::new(()));
        let mut host = Hanging { host: MemoryHost::new(), name: hung.clone(), gate: gate.clone() };
        let commit = Digest::of(b"1");
        for name in [&hung, &well] {
            host.start(&App { name: name.clone(), commit, job: false }).unwrap();
        }
        let closed = gate.lock().unwrap();
        let watched = |name: &AppName| Watched {
            name: name.clone(),
            commit,
            health: vec!["check".into()],
            says_well: *name == well,
        };
        let (sender, events) = channel();
        let started = Instant::now();
        let dir = tempfile::tempdir().unwrap();
        let note = Note::leave(&Paths::new(dir.path()), 7);
        let watch =
            Watch::start(|| Box::new(host.clone()), vec![watched(&hung), watched(&well)], started, &sender, note);
        app_events(&events, &well, |event| *event == AppEvent::SaysWell);
        let is_healthy = |event: &AppEvent| matches!(event, AppEvent::Healthy { .. });
        let first = app_events(&events, &well, is_healthy);
        let second = app_events(&events, &well, is_healthy);
        match (first, second) {
            (AppEvent::Healthy { began: first }, AppEvent::Healthy { began: second }) => {
                assert!(second.since(first) >= HEALTH_INTERVAL && second <= Timestamp::ZERO.after(started.elapsed()));
            }
            other => panic!("{other:?}"),
        }
        host.host.exit(&well, ExitStatus::Code(5));
        app_events(&events, &well, |event| matches!(event, AppEvent::Exited { status: ExitStatus::Code(5), .. }));
        drop(closed);
        let unhealthy = app_events(&events, &hung, |event| matches!(event, AppEvent::Unhealthy { .. }));
        assert_eq!(unhealthy, AppEvent::Unhealthy { reason: "health check: it took too long: asking".into() });
        drop(watch);
    }

    /// A device whose systemd cannot be asked while `away` says what is in the way.
    struct Away {
        host: MemoryHost,
        away: Arc<Mutex<&'static str>>,
    }

    impl Away {
        fn answers(&self, part: &str) -> Result<(), HostError> {
            let why = *self.away.lock().unwrap();
            if why.starts_with(part) { Err(HostError::Unanswered { why: why.into() }) } else { Ok(()) }
        }
    }

    impl AppHost for Away {
        fn start(&mut self, app: &App) -> Result<Started, HostError> {
            self.host.start(app)
        }
        fn stop(&mut self, name: &AppName) -> Result<(), HostError> {
            self.host.stop(name)
        }
        fn status(&self, name: &AppName) -> Result<Option<AppStatus>, HostError> {
            self.answers("status")?;
            self.host.status(name)
        }
        fn health(&self, name: &AppName, argv: &[String], limit: Duration) -> Result<Health, HostError> {
            self.answers("health")?;
            self.host.health(name, argv, limit)
        }
        fn list(&self) -> Result<Vec<AppName>, HostError> {
            self.host.list()
        }
    }

    #[test]
    fn what_cannot_be_asked_is_no_answer() {
        let name: AppName = "web".parse().unwrap();
        let mut host = Away { host: MemoryHost::new(), away: Arc::default() };
        let commit = Digest::of(b"1");
        host.start(&App { name: name.clone(), commit, job: false }).unwrap();
        let (sender, events) = channel();
        let watched = Watched { name: name.clone(), commit, health: vec!["check".into()], says_well: false };
        let teller = Teller { events: sender, stopped: Arc::default() };
        let mut seen = Seen::new(watched, Instant::now(), teller);
        let mut told = |away: &'static str| {
            *host.away.lock().unwrap() = away;
            seen.next_check = Instant::now();
            seen.look(&host);
            let events = events.try_iter().filter_map(|event| match event {
                Event::Input(Input::App { event, .. }) => Some(format!("{event:?}")),
                _ => None,
            });
            events.map(|event| event.split([' ', '{']).next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told("status: no bus"), ["Unasked"]);
        assert!(told("status: no bus").is_empty(), "once is enough");
        assert_eq!(told("health: no bus"), ["Running", "Unasked"]);
        assert_eq!(told("-"), ["Healthy", "Asked"], "the answer comes first");
        assert_eq!(told("health: no bus"), ["Unasked"]);
    }

    #[test]
    fn the_probation_is_told_while_it_is_watched_and_of_its_action_only() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        assert_eq!(elapsed(&paths, 7), None);
        let note = Note::leave(&paths, 7);
        assert!(elapsed(&paths, 7).unwrap() < Duration::from_secs(60));
        assert_eq!(elapsed(&paths, 8), None);
        drop(note);
        assert_eq!(elapsed(&paths, 7), None);
    }
}
