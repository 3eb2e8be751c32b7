//! `fullmetal accept-os`: the operating system that runs is in force, although no deployment brought it.

use super::Context;
use super::asking::{AgentDoor, is_root};
use anyhow::ensure;
use fullmetal::console;
use fullmetal_proto::wire::asking::ToAgent;

pub fn run(context: &Context) -> anyhow::Result<()> {
    ensure!(is_root(), "only root may accept an operating system: call this as root");
    AgentDoor::open(&context.settings()?.paths)?.ask(&ToAgent::AcceptOs)?;
    match context.json {
        true => console::print_json(&serde_json::json!({ "accepted": true })),
        false => console::print("accepted: the operating system that runs is in force; deployments go on\n"),
    }
}
