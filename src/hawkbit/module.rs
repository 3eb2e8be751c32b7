//! The software module and its metadata.

use super::client::Client;
use super::{HawkbitError, Module, Versioned, filter};
use fullmetal_proto::wire::PartKind;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

/// The types of modules that a Hawkbit has from the start.
fn type_of(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Os => "os",
        PartKind::App => "application",
    }
}

/// A module as the server lists it.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub id: u64,
    pub name: String,
    pub version: String,
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    key: String,
    value: Option<String>,
    #[serde(default)]
    target_visible: bool,
}

impl std::fmt::Display for Versioned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.version)
    }
}

/// Finds the module or makes it; gives its number.
pub(super) async fn ensure(client: &Client, module: &Module) -> Result<u64, HawkbitError> {
    let Versioned { name, version } = &module.named;
    let kind = type_of(module.kind);
    let listed: Vec<Listed> = client.list(&["softwaremodules"], Some(&filter(&module.named))).await?;
    let same = |m: &&Listed| m.name == *name && m.version == *version && m.kind == kind;
    let found = listed.iter().find(same).map(|m| m.id);
    let id = match found {
        Some(id) => id,
        None => {
            let new = json!([{ "name": name, "version": version, "type": kind }]);
            let made: Vec<Listed> = client.make(&["softwaremodules"], &new).await?;
            one(&made, name)?.id
        }
    };
    describe(client, id, module).await?;
    Ok(id)
}

/// Adds the metadata that lacks. What is there and says something else is left alone: it may be installed already.
async fn describe(client: &Client, id: u64, module: &Module) -> Result<(), HawkbitError> {
    let id = id.to_string();
    let path = ["softwaremodules", &id, "metadata"];
    let there: Vec<Entry> = client.list(&path, None).await?;
    let value = |key: &str| there.iter().find(|e| e.key == key).map(|e| e.value.as_deref().unwrap_or_default());
    if let Some(rev) = value("rev").filter(|rev| *rev != module.commit.to_string()) {
        let (module_name, ours) = (module.named.to_string(), module.commit);
        return Err(HawkbitError::OtherRev { module: module_name, there: shown(rev), ours });
    }
    let wanted = metadata(module);
    for (key, ours) in &wanted {
        if let Some(there) = value(key).filter(|there| there != ours) {
            let (key, there, ours) = ((*key).to_owned(), shown(there), ours.clone());
            return Err(HawkbitError::OtherModule { module: module.named.to_string(), key, there, ours });
        }
    }
    let entry = |key: &str, value: &str| json!({ "key": key, "value": value, "targetVisible": true });
    let lacking: Vec<Value> =
        wanted.iter().filter(|(key, _)| value(key).is_none()).map(|(key, value)| entry(key, value)).collect();
    if !lacking.is_empty() {
        client.change(Method::POST, &path, Some(&lacking.into())).await?;
    }
    let hidden = |key: &str| there.iter().any(|e| e.key == key && !e.target_visible);
    for (key, value) in wanted.iter().filter(|(key, _)| hidden(key)) {
        let shown = json!({ "value": value, "targetVisible": true });
        client.change(Method::PUT, &["softwaremodules", &id, "metadata", key], Some(&shown)).await?;
    }
    Ok(())
}

/// What the gateway reads. Flags are always written, so that nothing depends on what they are without.
fn metadata(module: &Module) -> Vec<(&'static str, String)> {
    let flag = |set: bool| if set { "1" } else { "0" }.to_owned();
    let mut all = vec![("fullmetal.ref", module.ref_name.to_string()), ("fullmetal.commit", module.commit.to_string())];
    if module.kind == PartKind::App {
        all.extend([("fullmetal.autostart", flag(module.autostart)), ("fullmetal.job", flag(module.job))]);
    }
    all.extend(module.name.iter().map(|name| ("fullmetal.name", name.to_string())));
    all
}

/// The one that was made.
pub(super) fn one<'a, T>(made: &'a [T], name: &str) -> Result<&'a T, HawkbitError> {
    made.first().ok_or_else(|| HawkbitError::NoHawkbit {
        url: name.to_owned(),
        problem: "it makes things and does not say which".to_owned(),
    })
}

fn shown(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(80).collect()
}
