//! A program of another user, on a device's bus: holds inhibitors, hears signals, and can be a nuisance.

use super::on_the_bus::{HMI, LIMIT, NAME, PATH};
use futures::StreamExt as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use zbus::zvariant::OwnedFd;

/// A program of another user that holds inhibitors and hears signals.
pub struct Program {
    pub child: Child,
    to: ChildStdin,
    lines: Receiver<String>,
    passed: Vec<String>,
    /// On the bus.
    pub name: String,
}

impl Program {
    /// Gives it when it hears signals.
    pub fn start() -> Self {
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", HMI, "--regid", HMI, "--clear-groups"]).arg(own);
        command.args(["--exact", "bus_program::program", "--ignored", "--nocapture"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut program =
            Program { to: child.stdin.take().unwrap(), child, lines, passed: Vec::new(), name: String::new() };
        program.name = program.says("listening as").split_whitespace().last().unwrap().to_owned();
        program
    }

    /// Tells it to do something, and waits for what it says then.
    pub fn does(&mut self, what: &str, says: &str) {
        self.tell(what);
        self.says(says);
    }

    /// Tells it to do something.
    pub fn tell(&mut self, what: &str) {
        writeln!(self.to, "{what}").unwrap();
    }

    /// Waits for a line that contains this; others, which come in any order, are kept for later.
    pub fn says(&mut self, words: &str) -> String {
        if let Some(said) = self.passed.iter().position(|line| line.contains(words)) {
            return self.passed.remove(said);
        }
        loop {
            let line = self
                .lines
                .recv_timeout(LIMIT)
                .unwrap_or_else(|_| panic!("it does not say {words:?}: {:?}", self.passed));
            if line.contains(words) {
                return line;
            }
            self.passed.push(line);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "runs on a device"]
fn program() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = zbus::Connection::system().await.unwrap();
        let agent = zbus::Proxy::new(&connection, NAME, PATH, NAME).await.unwrap();
        let rule = zbus::MatchRule::builder().msg_type(zbus::message::Type::Signal).sender(NAME).unwrap().build();
        let mut signals = zbus::MessageStream::for_match_rule(rule, &connection, Some(64)).await.unwrap();
        tokio::spawn(async move {
            while let Some(Ok(signal)) = signals.next().await {
                println!(
                    "signal {} {:?}",
                    signal.header().member().unwrap(),
                    signal.body().deserialize::<zbus::zvariant::Structure<'_>>()
                );
            }
        });
        println!("listening as {}", connection.unique_name().unwrap());
        let (sender, mut asked) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut held: Vec<OwnedFd> = Vec::new();
        while let Some(what) = asked.recv().await {
            match what.as_str() {
                "inhibit" => match agent.call("Inhibit", &("hmi", "casting")).await {
                    Ok(descriptor) => {
                        held.push(descriptor);
                        println!("holds {}", held.len());
                    }
                    Err(error) => println!("refused: {error}"),
                },
                "let go" => {
                    held.clear();
                    println!("let go");
                }
                "leave" => {
                    connection.clone().close().await.unwrap();
                    println!("left");
                }
                "shout" => {
                    for n in 0..3_000 {
                        let words = ("x".repeat(if n % 1_000 == 0 { 24 << 20 } else { 10_000 }), "y");
                        agent.call_noreply("Inhibit", &words).await.unwrap();
                        agent.call_noreply("GetStatus", &()).await.unwrap();
                    }
                    println!("shouted");
                }
                forge if forge.starts_with("forge ") => {
                    // As if the bus said that another holder had left it.
                    let (left, bus) = (&forge["forge ".len()..], "org.freedesktop.DBus");
                    let words = (left, left, "");
                    let path = "/org/freedesktop/DBus";
                    connection.emit_signal(Some(NAME), path, bus, "NameOwnerChanged", &words).await.unwrap();
                    // Answered when the agent has taken the other one from the bus.
                    agent.call_method("GetStatus", &()).await.unwrap();
                    println!("forged");
                }
                other => panic!("{other}"),
            }
        }
    });
}
