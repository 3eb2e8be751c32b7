//! The commands of docs/first-fleet.md are run as they stand there: on two machines with a real systemd, from the packages to a
//! rollout, with the stand-in for Hawkbit. Needs root; `make deb` makes the packages.

#![allow(clippy::unwrap_used, reason = "a test")]

use fullmetal_sim::lab::device::{Device, Groups};
use fullmetal_sim::lab::wait_for;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long the text's "until" may take.
const UNTIL_MAX: Duration = Duration::from_secs(90);

/// The commands for one machine.
struct Block {
    machine: String,
    /// They are repeated until they succeed.
    until: bool,
    commands: String,
}

fn blocks() -> Vec<Block> {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/first-fleet.md");
    let text = fs::read_to_string(text).unwrap();
    let fenced = text.split("```sh ").skip(1).map(|rest| rest.split("```").next().unwrap().split_once('\n').unwrap());
    let block = |(head, commands): (&str, &str)| {
        let (machine, how) = head.split_once(' ').unwrap_or((head, ""));
        Block { machine: machine.to_owned(), until: how == "until", commands: commands.to_owned() }
    };
    fenced.map(block).collect()
}

/// Where `make build` and `make deb` put what they make.
fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().parent().unwrap().to_owned()
}

struct Machine {
    name: &'static str,
    device: Device,
}

impl Machine {
    fn new(name: &'static str) -> Self {
        let sim = target().join("fullmetal-sim");
        let device = Device::new(&sim, Groups::AsHost, &[&sim]).unwrap();
        let packages = target().with_file_name("deb");
        let made = fs::read_dir(&packages).into_iter().flatten().flatten().map(|e| e.path());
        let made: Vec<PathBuf> = made.filter(|path| path.extension().is_some_and(|e| e == "deb")).collect();
        assert_eq!(made.len(), 2, "the packages are not in {}; run `make deb`", packages.display());
        for package in made {
            let name = package.file_name().unwrap().to_str().unwrap();
            device.write(&format!("root/{name}"), &fs::read(&package).unwrap()).unwrap();
        }
        let mut machine = Machine { name, device };
        machine.device.boot().unwrap();
        machine
    }

    /// Its process 1, as this host numbers it.
    fn first(&self) -> String {
        let enter = self.device.command(&["true"]).unwrap();
        let first = enter.get_args().nth(1).unwrap();
        first.to_str().unwrap().to_owned()
    }

    fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/root", self.first()))
    }

    fn command(&self, commands: &str) -> Command {
        self.device.command(&["sh", "-euxc", &format!("cd /root; export HOME=/root\n{commands}")]).unwrap()
    }

    fn sh(&self, commands: &str) -> String {
        let said = self.command(commands).output().unwrap();
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(
            said.status.success(),
            "{}: {out}{}\n{}",
            self.name,
            String::from_utf8_lossy(&said.stderr),
            self.told()
        );
        out
    }

    fn until(&self, commands: &str) {
        let is = || Ok(self.command(commands).output()?.status.success().then_some(()));
        if let Err(error) = wait_for(&format!("{}: {commands}", self.name), UNTIL_MAX, is) {
            panic!("{error:#}\n{}", self.told());
        }
    }

    /// What goes on, for who looks at a failure.
    fn told(&self) -> String {
        let said = self.command("fullmetal status; fullmetal-gateway status; journalctl -b --no-pager -n 60").output();
        String::from_utf8_lossy(&said.unwrap().stdout).into_owned()
    }
}

fn host(line: &str) {
    let mut words = line.split_whitespace();
    let said = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(said.status.success(), "{line}: {}", String::from_utf8_lossy(&said.stderr));
}

/// A cable between the two.
fn connect(gate: &Machine, press: &Machine) {
    let (one, other) = (gate.first(), press.first());
    host(&format!("ip link add eth0 netns {one} type veth peer name eth0 netns {other}"));
    for (first, address) in [(one, "192.0.2.1/24"), (other, "192.0.2.2/24")] {
        for line in [format!("addr add {address} dev eth0"), "link set eth0 up".to_owned(), "link set lo up".to_owned()]
        {
            host(&format!("nsenter -t {first} -n ip {line}"));
        }
    }
}

/// Brings requests and answers to the other machine, as the text has a person do.
fn carry(machines: [&Machine; 2]) {
    for (from, to) in [(machines[0], machines[1]), (machines[1], machines[0])] {
        for file in fs::read_dir(from.root()).unwrap().map(|e| e.unwrap().path()) {
            let is_letter = file.extension().is_some_and(|e| e == "request" || e == "answer");
            if is_letter {
                fs::copy(&file, to.root().join(file.file_name().unwrap())).unwrap();
            }
        }
    }
}

#[test]
fn the_commands_of_the_first_fleet_end_with_a_rollout() {
    let blocks = blocks();
    assert!(blocks.len() > 10 && blocks.iter().any(|b| b.commands.contains("--rollout")), "{}", blocks.len());
    let (gate, press) = (Machine::new("gate"), Machine::new("press-1"));
    connect(&gate, &press);
    gate.sh("systemd-run --quiet --unit=hawkbit /run/lab/fullmetal-sim hawkbit --listen 0.0.0.0:8080");
    for block in blocks {
        let machine = [&gate, &press].into_iter().find(|m| m.name == block.machine).unwrap();
        match block.until {
            true => machine.until(&block.commands),
            false => drop(machine.sh(&block.commands)),
        }
        carry([&gate, &press]);
    }
    // Nothing failed on the way, nor was refused by a unit's sandbox.
    for (machine, units) in
        [(&gate, ["fullmetal-peer", "fullmetal-gateway"]), (&press, ["fullmetal-peer", "fullmetal-agent"])]
    {
        for unit in units {
            assert_eq!(
                machine.sh(&format!("systemctl show --value -p ActiveState -p NRestarts {unit}")),
                "0\nactive\n"
            );
            let log = machine.sh(&format!("journalctl --no-pager -u {unit}"));
            let refused = |line: &&str| ["not permitted", "denied", "Read-only"].iter().any(|word| line.contains(word));
            assert_eq!(log.lines().find(refused), None);
        }
    }
    assert_eq!(gate.sh("systemctl is-active fullmetal-agent || true").trim(), "inactive");
}
