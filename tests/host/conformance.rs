//! What every app host does, whatever runs the apps.

use super::{App, AppHost, AppStatus, Health, HostError, Phase, Started};
use fullmetal_proto::AppName;
use fullmetal_proto::wire::report::ExitStatus;
use std::time::{Duration, Instant};

/// A host that knows nothing yet, and apps for it.
pub struct Fixture {
    pub host: Box<dyn AppHost>,
    /// Stays, and is healthy by the command below.
    pub stays: App,
    /// Another commit of the same app: stays, and is not healthy by that command.
    pub sick: App,
    /// A job that says "work done" and exits 0.
    pub job: App,
    /// Meant to stay, but says "no disk" and exits 3.
    pub failing: App,
    /// The health command.
    pub healthy: Vec<String>,
}

/// Runs through all of it.
pub fn an_app_host(mut f: Fixture) {
    let host = f.host.as_mut();
    unknown_apps_are_stopped(host, &f.stays.name);
    an_app_is_started_once(host, &f.stays, &f.sick);
    health_is_the_commands_word(host, &f.stays, &f.sick, &f.healthy);
    a_job_is_done_once(host, &f.job);
    a_failure_is_told(host, &f.failing);
    assert!(host.list().unwrap().is_empty());
}

fn unknown_apps_are_stopped(host: &mut dyn AppHost, name: &AppName) {
    assert_eq!(host.status(name).unwrap(), None);
    host.stop(name).unwrap();
    assert!(host.list().unwrap().is_empty());
}

fn an_app_is_started_once(host: &mut dyn AppHost, app: &App, other: &App) {
    assert_eq!(host.start(app).unwrap(), Started::New);
    let running = wait_until(host, &app.name, |s| s.phase == Phase::Running);
    assert_eq!((running.commit, running.restarts, running.last_exit), (app.commit, 0, None));
    assert_eq!(host.list().unwrap(), std::slice::from_ref(&app.name));
    assert_eq!(host.start(app).unwrap(), Started::Adopted);
    assert!(matches!(host.start(other), Err(HostError::Occupied { .. })));
    assert_eq!(host.status(&app.name).unwrap().unwrap().generation, running.generation);
    host.stop(&app.name).unwrap();
    host.stop(&app.name).unwrap();
    let stopped = host.status(&app.name).unwrap().unwrap();
    assert_eq!((stopped.phase, stopped.commit), (Phase::Stopped, app.commit));
    assert!(host.list().unwrap().is_empty());
}

fn health_is_the_commands_word(host: &mut dyn AppHost, well: &App, sick: &App, argv: &[String]) {
    let limit = Duration::from_secs(10);
    assert_eq!(host.health(&well.name, argv, limit).unwrap(), Health::NotRunning);
    host.start(well).unwrap();
    let first = wait_until(host, &well.name, |s| s.phase == Phase::Running);
    assert_eq!(host.health(&well.name, argv, limit).unwrap(), Health::Healthy);
    host.stop(&well.name).unwrap();
    assert_eq!(host.start(sick).unwrap(), Started::New);
    let second = wait_until(host, &sick.name, |s| s.phase == Phase::Running);
    assert!(second.generation > first.generation);
    let health = host.health(&sick.name, argv, limit).unwrap();
    assert!(matches!(health, Health::Unhealthy { exit: ExitStatus::Code(1), .. }), "{health:?}");
    host.stop(&sick.name).unwrap();
}

fn a_job_is_done_once(host: &mut dyn AppHost, job: &App) {
    host.start(job).unwrap();
    let done = wait_until(host, &job.name, |s| s.phase == Phase::Exited);
    assert_eq!(done.last_exit, Some(ExitStatus::Code(0)));
    assert_eq!(done.log, ["work done"]);
    assert_eq!(host.start(job).unwrap(), Started::Adopted);
    assert_eq!(host.status(&job.name).unwrap().unwrap().generation, done.generation);
    host.stop(&job.name).unwrap();
    assert_eq!(host.start(job).unwrap(), Started::New);
    wait_until(host, &job.name, |s| s.phase == Phase::Exited);
    host.stop(&job.name).unwrap();
}

fn a_failure_is_told(host: &mut dyn AppHost, app: &App) {
    host.start(app).unwrap();
    let failed = wait_until(host, &app.name, |s| s.phase == Phase::Exited);
    assert_eq!(failed.last_exit, Some(ExitStatus::Code(3)));
    assert_eq!(failed.log, ["no disk"]);
    assert_eq!(host.list().unwrap(), std::slice::from_ref(&app.name));
    host.stop(&app.name).unwrap();
    assert_eq!(host.status(&app.name).unwrap().unwrap().last_exit, Some(ExitStatus::Code(3)));
}

/// The status as soon as it is as wanted.
pub fn wait_until(host: &dyn AppHost, name: &AppName, wanted: impl Fn(&AppStatus) -> bool) -> AppStatus {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = host.status(name).unwrap();
        match status {
            Some(status) if wanted(&status) => return status,
            status => assert!(Instant::now() < deadline, "{name} stays {status:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
