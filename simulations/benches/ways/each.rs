//! Every device pulls with OSTree's own tool: from central, or from a web server at the gateway that caches.

use crate::figures::Figures;
use crate::release::{REF, Repos};
use crate::room::{Host, Room, commit_file};
use anyhow::ensure;
use fullmetal_sim::lab::{Process, output_of, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Pulls on all at once.
pub fn pull(room: &mut Room, repos: &Repos, cached: bool) -> anyhow::Result<Figures> {
    let cache = if cached { Some(cache(room)?) } else { None };
    let url = if cached { format!("http://{}/", room.gateway.address) } else { room.central.url() };
    let dir = room.dir.path().to_owned();
    let repo = move |host: &Host| dir.join(&host.name);
    for host in &room.hosts {
        let option = format!("--repo={}", repo(host).display());
        output_of(Command::new("ostree").args(["init", "--mode=bare", &option]))?;
        output_of(Command::new("ostree").args(["remote", "add", "--no-gpg-verify", &option, "central", &url]))?;
    }
    let begun = room.begin()?;
    let mut pulls = Vec::new();
    for host in &room.hosts {
        pulls.push(start(room, host, &repo(host))?);
    }
    let figures = room.wait(begun, |host| commit_file(&repo(host), &repos.commit))?;
    for pull in &mut pulls {
        wait_for("the end of a pull", Duration::from_secs(60), || Ok((!pull.is_running()).then_some(())))?;
    }
    drop(cache);
    let option = format!("--repo={}", repo(&room.hosts[0]).display());
    let said = output_of(Command::new("ostree").args(["fsck", &option]))?;
    ensure!(!said.contains("partial"), "{said}");
    Ok(figures)
}

fn start(room: &Room, host: &Host, repo: &Path) -> anyhow::Result<Process> {
    let args = [format!("--repo={}", repo.display()), "pull".to_owned(), "central".to_owned(), REF.to_owned()];
    let log = room.dir.path().join(format!("{}.log", host.name));
    let process = Process::start(Path::new("ostree"), args, &log, None, Some(&room.net.netns(&host.name)))?;
    process.join(&host.group)?;
    Ok(process)
}

/// nginx as a cache in front of central, where those that ask for the same at once wait for the first.
fn cache(room: &Room) -> anyhow::Result<Process> {
    let dir = room.dir.path().join("cache");
    std::fs::create_dir_all(&dir)?;
    let (file, pid_file): (PathBuf, PathBuf) = (dir.join("nginx.conf"), dir.join("nginx.pid"));
    let (at, central, address) = (dir.display(), room.central.url(), &room.gateway.address);
    let text = format!(
        "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/error.log warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
           access_log off; sendfile on; keepalive_timeout 65; default_type application/octet-stream;\n\
           client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;\n\
           uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;\n\
           proxy_cache_path {at}/files keys_zone=files:32m max_size=10g inactive=1d use_temp_path=off;\n\
           upstream central {{ server {server}; keepalive 32; }}\n\
           server {{ listen {address}:80; location / {{\n\
             proxy_pass http://central; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_cache files; proxy_cache_valid 200 1d; proxy_cache_lock on; proxy_cache_lock_timeout 60s;\n\
           }} }}\n\
         }}\n",
        server = central.trim_start_matches("http://").trim_end_matches('/'),
    );
    std::fs::write(&file, text)?;
    let args = ["-c".into(), file.into_os_string(), "-p".into(), dir.clone().into_os_string()];
    let netns = room.net.netns(&room.gateway.name);
    let mut process = Process::start(Path::new("/usr/sbin/nginx"), args, &dir.join("nginx.log"), None, Some(&netns))?;
    process.join(&room.gateway.group)?;
    wait_for("the cache", Duration::from_secs(10), || {
        process.check()?;
        Ok(std::fs::read_to_string(&pid_file).is_ok_and(|pid| !pid.trim().is_empty()).then_some(()))
    })?;
    Ok(process)
}
