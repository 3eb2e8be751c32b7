//! Asking the agent of this device over its socket.

use anyhow::{Context as _, bail};
use fullmetal::config::Paths;
use fullmetal::local::Connection;
use fullmetal_proto::wire::asking::{AgentReport, FromAgent, ToAgent, VERSION};
use std::time::Duration;

/// How long the agent may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A connection to the agent.
pub struct AgentDoor {
    connection: Connection,
}

impl AgentDoor {
    /// Connects and greets.
    pub fn open(paths: &Paths) -> anyhow::Result<Self> {
        let owner = Some(0).filter(|_| is_root());
        let connection = Connection::connect(&paths.agent_socket(), owner).context("asking the agent")?;
        connection.set_timeouts(Some(ANSWER_LIMIT), Some(ANSWER_LIMIT))?;
        let door = AgentDoor { connection };
        match door.say(&ToAgent::Hello { version: VERSION })? {
            FromAgent::Hello { .. } => Ok(door),
            FromAgent::Failed { reason } => bail!("the agent refuses: {reason}"),
            _ => bail!("what listens at {} is no agent", paths.agent_socket().display()),
        }
    }

    /// Asks for something to be done, and waits until it is.
    pub fn ask(&self, what: &ToAgent) -> anyhow::Result<()> {
        match self.say(what)? {
            FromAgent::Done => Ok(()),
            FromAgent::Failed { reason } => bail!("{reason}"),
            _ => bail!("the agent answers something else than it was asked; update both programs"),
        }
    }

    /// What the agent is at.
    pub fn report(&self) -> anyhow::Result<AgentReport> {
        match self.say(&ToAgent::Status)? {
            FromAgent::Status(report) => Ok(*report),
            FromAgent::Failed { reason } => bail!("{reason}"),
            _ => bail!("the agent answers something else than it was asked; update both programs"),
        }
    }

    /// Waits until the agent goes.
    pub fn wait(&self) {
        let _ = self.connection.set_timeouts(None, None);
        while let Ok(Some(_)) = self.connection.receive::<FromAgent>() {}
    }

    fn say(&self, what: &ToAgent) -> anyhow::Result<FromAgent> {
        self.connection.send(what, None).context("asking the agent")?;
        let answer = self.connection.receive().context("asking the agent")?;
        Ok(answer.context("the agent closed the connection: it ended, or has too many clients; try again")?.message)
    }
}

/// Whether the caller is root, as the agent is.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
