//! BitTorrent: aria2 at central seeds the plain repo's files, aria2 on each device gets them and gives to others.
//!
//! A tracker at the switch names all who have asked, by their addresses there, and the seeder beyond the uplink.

use crate::figures::Figures;
use crate::release::Repos;
use crate::room::{Host, Room};
use anyhow::Context as _;
use fullmetal_sim::lab::net::enter;
use fullmetal_sim::lab::{Process, output_of};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;

/// Where each aria2 listens.
const PORT: u16 = 6881;
const TRACKER_PORT: u16 = 6969;
const SEEDER: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);

/// Moves the files to all at once.
pub fn move_files(room: &mut Room, repos: &Repos) -> anyhow::Result<Figures> {
    let torrent = room.dir.path().join("release.torrent");
    let tracker = format!("http://{}:{TRACKER_PORT}/announce", room.gateway.address);
    let objects = repos.plain().join("objects");
    output_of(Command::new("mktorrent").args(["-p", "-l", "20", "-a", &tracker, "-o"]).arg(&torrent).arg(&objects))
        .context("mktorrent (`.ci/install-tools bench` installs it)")?;
    track(room)?;
    let seeder = aria2(room, "central", &repos.plain(), &torrent, &["--check-integrity=true", "--seed-ratio=0.0"])?;
    let begun = room.begin()?;
    let mut all = Vec::new();
    for host in &room.hosts {
        let done = format!("--on-bt-download-complete={}", done_script(room, host)?.display());
        let process =
            aria2(room, &host.name, &room.dir.path().join(&host.name), &torrent, &["--seed-ratio=0.0", &done])?;
        process.join(&host.group)?;
        all.push(process);
    }
    let dir = room.dir.path().to_owned();
    let figures = room.wait(begun, |host| done_file(&dir, host));
    drop((all, seeder));
    figures
}

fn done_file(dir: &Path, host: &Host) -> PathBuf {
    dir.join(format!("{}.done", host.name))
}

/// aria2 calls it when the last piece is there.
fn done_script(room: &Room, host: &Host) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let (script, done) = (room.dir.path().join(format!("{}.sh", host.name)), done_file(room.dir.path(), host));
    std::fs::write(&script, format!("#!/bin/sh\ntouch {}\n", done.display()))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

fn aria2(room: &Room, host: &str, dir: &Path, torrent: &Path, more: &[&str]) -> anyhow::Result<Process> {
    let port = format!("--listen-port={PORT}");
    let dir = format!("--dir={}", dir.display());
    let always =
        ["--enable-dht=false", "--bt-enable-lpd=false", "--file-allocation=none", "--quiet=true", "--no-conf=true"];
    let mut args: Vec<&str> = vec![&port, &dir];
    args.extend(always);
    args.extend(more);
    let torrent = torrent.to_string_lossy();
    args.push(&torrent);
    let log = room.dir.path().join(format!("{host}.aria2.log"));
    Process::start(Path::new("/usr/bin/aria2c"), args, &log, None, Some(&room.net.netns(host)))
}

/// Answers announces for as long as this program runs; each gets all others. The format: BEP 3 and BEP 23.
fn track(room: &Room) -> anyhow::Result<()> {
    let (netns, address) = (room.net.netns(&room.gateway.name), room.gateway.address.clone());
    let (ready, is_ready) = channel();
    std::thread::spawn(move || {
        let bound = enter(&netns).and_then(|()| Ok(TcpListener::bind((address.as_str(), TRACKER_PORT))?));
        let listener = match bound {
            Ok(listener) => listener,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(()));
        let mut known: Vec<Ipv4Addr> = vec![SEEDER];
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &mut known);
        }
    });
    is_ready.recv().context("the tracker")?
}

fn answer(mut stream: TcpStream, known: &mut Vec<Ipv4Addr>) -> anyhow::Result<()> {
    let IpAddr::V4(asks) = stream.peer_addr()?.ip() else { return Ok(()) };
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    if !known.contains(&asks) {
        known.push(asks);
    }
    let peers: Vec<u8> = known
        .iter()
        .filter(|peer| **peer != asks)
        .flat_map(|peer| peer.octets().into_iter().chain(PORT.to_be_bytes()))
        .collect();
    let mut body = format!("d8:intervali5e5:peers{}:", peers.len()).into_bytes();
    body.extend(peers);
    body.push(b'e');
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len())?;
    Ok(stream.write_all(&body)?)
}
