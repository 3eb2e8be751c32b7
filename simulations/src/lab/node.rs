//! One host of the fleet: a device or the gateway, with its own directory, its peer and its agent or gateway.

use super::cgroup::Cgroup;
use super::process::{Process, is_gone_within};
use super::{PEER_UID, Programs, output_of};
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// How long supervisors may take to end their apps.
const APPS_END: Duration = Duration::from_secs(15);

/// What differs from host to host.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// URL of the central repo; a host without one has no origin.
    pub central: Option<String>,
    /// Interface that it is found on.
    pub interface: String,
    /// Network namespace that it lives in.
    pub netns: Option<String>,
    /// Control group of its programs.
    pub cgroup: Option<Arc<Cgroup>>,
    /// More lines of its configuration's `[peer]`.
    pub peer: String,
}

/// One action of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionState {
    /// Its number.
    pub action: u64,
    /// How far it is, such as `fetching` or `succeeded`.
    pub state: String,
    /// Why.
    pub reason: String,
}

impl ActionState {
    /// Whether nothing follows.
    pub fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "withdrawn")
    }
}

/// One host.
#[derive(Debug)]
pub struct Node {
    programs: Programs,
    name: String,
    root: PathBuf,
    netns: Option<String>,
    cgroup: Option<Arc<Cgroup>>,
    peer: Option<Process>,
    agent: Option<Process>,
    gateway: Option<Process>,
}

impl Node {
    pub(super) fn new(programs: Programs, name: &str, root: PathBuf, options: &NodeOptions) -> anyhow::Result<Self> {
        let node = Node {
            programs,
            name: name.to_owned(),
            root,
            netns: options.netns.clone(),
            cgroup: options.cgroup.clone(),
            peer: None,
            agent: None,
            gateway: None,
        };
        let fragments = node.root.join("etc/fullmetal/fullmetal.d");
        fs::create_dir_all(&fragments)?;
        let central = options.central.as_ref().map(|url| format!("central = {url:?}\n")).unwrap_or_default();
        let text = format!(
            "[peer]\ninterfaces = [{:?}]\norigin = {}\n{central}{}\n[agent]\nprobation_s = 3\nstop_timeout_s = 2\n",
            options.interface,
            options.central.is_some(),
            options.peer,
        );
        fs::write(fragments.join("10-lab.toml"), text)?;
        for dir in ["var/cache/fullmetal", "run/fullmetal/peer"] {
            let dir = node.root.join(dir);
            fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
            std::os::unix::fs::chown(&dir, Some(PEER_UID), Some(PEER_UID))?;
        }
        Ok(node)
    }

    /// Its device id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where its programs log.
    pub fn log(&self, program: &str) -> PathBuf {
        self.root.join(format!("{program}.log"))
    }

    /// Writes a file that the app sees below `/data`.
    pub fn write_data(&self, app: &str, file: &str, text: &str) -> anyhow::Result<()> {
        let dir = self.root.join("var/lib/fullmetal/data").join(app);
        fs::create_dir_all(&dir)?;
        Ok(fs::write(dir.join(file), text)?)
    }

    /// Removes a file below the app's `/data`.
    pub fn remove_data(&self, app: &str, file: &str) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.root.join("var/lib/fullmetal/data").join(app).join(file))?)
    }

    /// The namespace that it lives in.
    pub fn netns(&self) -> Option<&str> {
        self.netns.as_deref()
    }

    /// User and system time of all its programs and its app in microseconds; 0 without a control group.
    pub fn cpu_us(&self) -> u64 {
        self.cgroup.as_ref().map_or(0, |group| group.cpu_us())
    }

    /// Anonymous memory of all its programs and its app in bytes; 0 without a control group.
    pub fn anonymous(&self) -> u64 {
        self.cgroup.as_ref().map_or(0, |group| group.anonymous())
    }

    /// Takes a program that was started otherwise, such as under a tracer, as its agent. What a tracer traces may
    /// outlive it; the control group ends that, too.
    pub fn set_agent(&mut self, agent: Process) -> anyhow::Result<()> {
        self.cgroup.iter().try_for_each(|group| agent.join(group))?;
        self.agent = Some(agent);
        Ok(())
    }

    fn start(&self, program: &Path, command: &str, uid: Option<u32>) -> anyhow::Result<Process> {
        let args = ["--root".into(), self.root.clone().into_os_string(), command.into()];
        let process = Process::start(program, args, &self.log(command), uid, self.netns.as_deref())?;
        self.cgroup.iter().try_for_each(|group| process.join(group))?;
        Ok(process)
    }

    /// Starts its peer, as an unprivileged user.
    pub fn start_peer(&mut self) -> anyhow::Result<()> {
        self.peer = Some(self.start(&self.programs.fullmetal, "peer", Some(PEER_UID))?);
        Ok(())
    }

    /// Starts its agent, as root.
    pub fn start_agent(&mut self) -> anyhow::Result<()> {
        self.agent = Some(self.start(&self.programs.fullmetal, "agent", None)?);
        Ok(())
    }

    /// Starts the gateway program.
    pub fn start_gateway(&mut self) -> anyhow::Result<()> {
        self.gateway = Some(self.start(&self.programs.gateway, "run", None)?);
        Ok(())
    }

    /// Its agent's process, while it runs.
    pub fn agent_pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Process::pid)
    }

    /// Whether its peer was started and neither ended nor killed by us.
    pub fn is_on(&self) -> bool {
        self.peer.is_some()
    }

    /// Its peer's process, while it runs.
    pub fn peer_pid(&self) -> Option<u32> {
        self.peer.as_ref().map(Process::pid)
    }

    /// Kills peer and agent as a power cut would; the apps go on.
    pub fn kill(&mut self) {
        for process in [self.agent.take(), self.peer.take(), self.gateway.take()].into_iter().flatten() {
            process.kill();
        }
    }

    /// Ends its agent; the apps go on.
    pub fn end_agent(&mut self) {
        self.agent = None;
    }

    /// Ends its programs; the apps go on.
    pub fn end(&mut self) {
        for mut process in [self.agent.take(), self.gateway.take(), self.peer.take()].into_iter().flatten() {
            process.end();
        }
    }

    /// Fails when one of its programs has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let all = [&mut self.peer, &mut self.agent, &mut self.gateway];
        all.into_iter().flatten().try_for_each(Process::check).with_context(|| self.name.clone())
    }

    /// What `fullmetal status --json` says here.
    pub fn status(&self) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.programs.fullmetal);
        let text = output_of(command.arg("--root").arg(&self.root).args(["--json", "status"]))?;
        serde_json::from_str(&text).context("reading what status printed")
    }

    /// What `fullmetal-gateway` prints for these arguments.
    pub fn gateway(&self, args: &[&str]) -> anyhow::Result<String> {
        output_of(Command::new(&self.programs.gateway).arg("--root").arg(&self.root).args(args))
    }

    /// The newest action of each device, as the gateway here knows it.
    pub fn newest_actions(&self) -> anyhow::Result<BTreeMap<String, ActionState>> {
        let status: Value = serde_json::from_str(&self.gateway(&["--json", "status"])?)?;
        let mut newest: BTreeMap<String, ActionState> = BTreeMap::new();
        for (device, entry) in status["devices"].as_object().into_iter().flatten() {
            let Some(action) = entry["action"].as_u64() else { continue };
            let text = |key: &str| entry["progress"][key].as_str().unwrap_or_default().to_owned();
            newest.insert(device.clone(), ActionState { action, state: text("state"), reason: text("reason") });
        }
        Ok(newest)
    }

    /// Stops its apps, through their supervisors.
    fn end_apps(&self) {
        let pids = self.supervisors();
        for pid in &pids {
            let _ = kill_process(*pid, Signal::TERM);
        }
        for pid in pids {
            let gone = || !Path::new(&format!("/proc/{pid}")).exists();
            if !is_gone_within(APPS_END, gone) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    /// The processes that supervise this host's apps, by their command lines: one that has just been started has
    /// left no record yet.
    fn supervisors(&self) -> Vec<Pid> {
        let root = self.root.as_os_str().as_encoded_bytes();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        let ours = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut args = line.split(|byte| *byte == 0);
            let of_root = args
                .clone()
                .any(|arg| arg.strip_prefix(root).is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))));
            of_root && args.any(|arg| arg == b"supervise")
        };
        pids.filter(ours).filter_map(Pid::from_raw).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
        self.end_apps();
    }
}
