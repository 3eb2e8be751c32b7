//! A cable that delays and loses: two TAP devices, and a thread that passes Ethernet frames on between them.

use super::{End, Lane, Tally};
use crate::lab::net;
use anyhow::{Context as _, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::{process, thread};
use std::io::{ErrorKind, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tappers::{Interface, Tap};

/// Where TAP devices come from.
const TUN: &str = "/dev/net/tun";
/// The longest frame: an interface's 1,500 bytes, the Ethernet header and a VLAN tag have room.
const FRAME_LEN_MAX: usize = 2 << 10;
/// Frames that are read from one end before others are looked at.
const BATCH_MAX: usize = 64;
/// Before the programs that use the cables: who is late would delay packets by more than the scenario says.
const NICENESS: i32 = -15;

/// A cable. It is gone with both interfaces when dropped.
#[derive(Debug)]
pub struct Cable {
    tally: Arc<Mutex<Tally>>,
    stop: Option<PipeWriter>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Cable {
    /// Makes an interface at both ends. Lane 0 leads from the first to the second, lane 1 back.
    pub fn lay(ends: [End; 2], lanes: [Lane; 2]) -> anyhow::Result<Self> {
        ensure!(Path::new(TUN).exists(), "{TUN} is not there: latency and loss between hosts need it; `modprobe tun`");
        let (stopped, stop) = std::io::pipe().context("making a pipe")?;
        let (ready, laid) = std::sync::mpsc::channel();
        let tally: Arc<Mutex<Tally>> = Arc::default();
        let told = tally.clone();
        let run = move || match ends.each_ref().map(tap) {
            [Ok(a), Ok(b)] => {
                let _ = ready.send(Ok(()));
                carry([a, b], lanes, &stopped, &told);
            }
            [Err(error), _] | [_, Err(error)] => drop(ready.send(Err(error))),
        };
        let thread = std::thread::Builder::new().name("cable".into()).spawn(run).context("starting a thread")?;
        laid.recv().context("the cable's thread has ended")??;
        Ok(Cable { tally, stop: Some(stop), thread: Some(thread) })
    }

    /// Fails when it has ended by itself: what is measured since then is none of the scenario's.
    pub fn check(&self) -> anyhow::Result<()> {
        let ended = self.thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished);
        ensure!(!ended, "a cable between hosts has ended by itself");
        Ok(())
    }

    /// What has become of frames so far, both ways.
    pub fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // The thread ends when its end of the pipe hangs up.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

/// Makes a TAP device in a namespace, in which this thread is then. It lives as long as the value does.
fn tap((netns, name): &End) -> anyhow::Result<Tap> {
    net::enter(netns)?;
    let make = || {
        let mut tap = Tap::new_named(Interface::new(name)?)?;
        tap.set_nonblocking(true)?;
        std::io::Result::Ok(tap)
    };
    make().with_context(|| format!("making the TAP device {name} in {netns}"))
}

/// Passes frames on until `stopped` hangs up or an end is gone.
fn carry(taps: [Tap; 2], mut lanes: [Lane; 2], stopped: &PipeReader, tally: &Mutex<Tally>) {
    // Without the right to it the cable works all the same.
    let _ = process::setpriority_process(Some(thread::gettid()), NICENESS);
    let start = Instant::now();
    let now = || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut frame = [0; FRAME_LEN_MAX];
    loop {
        for (from, lane) in lanes.iter_mut().enumerate() {
            for _ in 0..BATCH_MAX {
                match taps[from].recv(&mut frame) {
                    Ok(length) => lane.put(&frame[..length], now()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return,
                }
            }
        }
        for (from, lane) in lanes.iter_mut().enumerate() {
            while let Some(due) = lane.due(now()) {
                // An interface that is down takes nothing: so does a port that is down.
                let _ = taps[1 - from].send(&due);
            }
            *tally.lock().unwrap_or_else(PoisonError::into_inner) += lane.tally();
        }
        let next = lanes.iter().filter_map(Lane::next_at).min();
        if !wait(&taps, stopped, next.map(|at| Duration::from_micros(at.saturating_sub(now())))) {
            return;
        }
    }
}

/// Waits until a frame comes or `limit` is over; gives whether to go on.
fn wait(taps: &[Tap; 2], stopped: &PipeReader, limit: Option<Duration>) -> bool {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    let [a, b] = taps.each_ref().map(|tap| PollFd::from_borrowed_fd(tap.as_fd(), PollFlags::IN));
    let mut ends = [a, b, PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN)];
    // One that was interrupted by a signal looks again.
    let polled = poll(&mut ends, limit.as_ref());
    polled.is_err() || ends[2].revents().is_empty()
}
