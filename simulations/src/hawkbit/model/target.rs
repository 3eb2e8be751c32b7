//! Targets: the devices as the server knows them.

use super::{Hawkbit, Millis, Refusal, Result, Stamp, next};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

const ID_CHARS_MAX: usize = 256;
const NAME_CHARS_MAX: usize = 128;
const ATTRIBUTE_CHARS_MAX: usize = 128;
const ATTRIBUTES_MAX: usize = 100;

/// Standing consent to every action.
#[derive(Debug, Clone)]
pub struct AutoConfirm {
    pub initiator: Option<String>,
    pub remark: Option<String>,
    pub activated_at: Millis,
    pub by: String,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Target {
    pub id: String,
    pub number: u64,
    pub name: String,
    pub description: Option<String>,
    pub stamp: Stamp,
    /// `unknown`, `registered`, `pending`, `in_sync` or `error`.
    pub update_status: &'static str,
    pub token: String,
    /// When it last polled.
    pub last_poll: Option<Millis>,
    pub installed: Option<u64>,
    pub installed_at: Option<Millis>,
    pub assigned: Option<u64>,
    pub attributes: BTreeMap<String, String>,
    /// Whether the device is asked for its attributes.
    pub wants_attributes: bool,
    pub auto_confirm: Option<AutoConfirm>,
}

/// What an operator says about a new target, or changes on one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewTarget {
    pub controller_id: Option<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub security_token: Option<String>,
    pub request_attributes: Option<bool>,
}

/// How attributes that a device sends meet those that are there.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttributeMode {
    Merge,
    Replace,
    Remove,
}

fn check_id(id: &str) -> Result<()> {
    let mut sentences = Vec::new();
    let chars = id.chars().count();
    if chars == 0 || chars > ID_CHARS_MAX {
        sentences.push(format!("controllerId size must be between 1 and {ID_CHARS_MAX}."));
    }
    if id.contains(char::is_whitespace) {
        sentences.push("controllerId has whitespaces which are not allowed.".into());
    }
    // A device that registers itself gets its id as its name.
    if chars > ID_CHARS_MAX {
        sentences.push(format!("name size must be between 1 and {NAME_CHARS_MAX}."));
    }
    if sentences.is_empty() { Ok(()) } else { Err(Refusal::constraint(&sentences)) }
}

impl Hawkbit {
    fn insert_target(&mut self, new: NewTarget, by: &str, status: &'static str, now: Millis) -> Result<&mut Target> {
        let id = new.controller_id.unwrap_or_default();
        check_id(&id)?;
        let name = new.name.filter(|n| !n.is_empty()).unwrap_or_else(|| id.clone());
        if name.chars().count() > NAME_CHARS_MAX {
            return Err(Refusal::constraint(&[format!("name size must be between 1 and {NAME_CHARS_MAX}.")]));
        }
        let number = next(&mut self.ids.target);
        // Unique and unlike any other target's, which is all that a token of a stand-in has to be.
        let token = Sha256::digest(format!("{number} {id} {now}"))[..16].iter().map(|b| format!("{b:02x}")).collect();
        let target = Target {
            number,
            name,
            description: new.description,
            stamp: Stamp::new(by, now),
            update_status: status,
            token: new.security_token.filter(|t| !t.is_empty()).unwrap_or(token),
            last_poll: None,
            installed: None,
            installed_at: None,
            assigned: None,
            attributes: BTreeMap::new(),
            wants_attributes: new.request_attributes.unwrap_or(true),
            auto_confirm: None,
            id: id.clone(),
        };
        Ok(self.targets.entry(id).or_insert(target))
    }

    /// Adds targets, or none of them when one exists already.
    pub fn create_targets(&mut self, new: Vec<NewTarget>, by: &str, now: Millis) -> Result<Vec<String>> {
        for target in &new {
            let id = target.controller_id.as_deref().unwrap_or_default();
            check_id(id)?;
            if self.targets.contains_key(id) {
                return Err(Refusal::exists("target", id));
            }
        }
        new.into_iter().map(|n| Ok(self.insert_target(n, by, "unknown", now)?.id.clone())).collect()
    }

    /// Changes what an operator may change.
    pub fn update_target(&mut self, id: &str, change: NewTarget, by: &str, now: Millis) -> Result<()> {
        let target = self.target_mut(id)?;
        target.stamp.touch(by, now);
        if let Some(name) = change.name {
            target.name = name;
        }
        if let Some(description) = change.description {
            target.description = Some(description);
        }
        if let Some(token) = change.security_token {
            target.token = token;
        }
        if let Some(asked) = change.request_attributes {
            target.wants_attributes = asked;
        }
        Ok(())
    }

    /// A device polls; one that nobody knows becomes a target.
    pub fn poll(&mut self, id: &str, now: Millis) -> Result<()> {
        check_id(id)?;
        if !self.targets.contains_key(id) {
            let new = NewTarget {
                controller_id: Some(id.into()),
                name: None,
                description: Some(format!("Plug and Play target: {id}")),
                security_token: None,
                request_attributes: None,
            };
            self.insert_target(new, "CONTROLLER_PLUG_AND_PLAY", "registered", now)?;
        }
        let target = self.target_mut(id)?;
        target.last_poll = Some(now);
        if target.update_status == "unknown" {
            target.update_status = "registered";
        }
        Ok(())
    }

    /// A device tells its attributes.
    pub fn put_attributes(
        &mut self,
        id: &str,
        data: BTreeMap<String, Option<String>>,
        mode: AttributeMode,
    ) -> Result<()> {
        let long = |text: &str| text.chars().count() > ATTRIBUTE_CHARS_MAX;
        if data.iter().any(|(k, v)| long(k) || v.as_deref().is_some_and(long)) {
            return Err(Refusal::attributes());
        }
        let target = self.target_mut(id)?;
        let mut attributes = match mode {
            AttributeMode::Replace => BTreeMap::new(),
            AttributeMode::Merge | AttributeMode::Remove => target.attributes.clone(),
        };
        for (key, value) in data {
            match value.filter(|_| !matches!(mode, AttributeMode::Remove)) {
                Some(value) => attributes.insert(key, value),
                None => attributes.remove(&key),
            };
        }
        if attributes.len() > ATTRIBUTES_MAX {
            let whom = format!("Target '{}'", target.number);
            return Err(Refusal::quota(attributes.len(), "Attribute", &whom, ATTRIBUTES_MAX));
        }
        target.attributes = attributes;
        if !matches!(mode, AttributeMode::Remove) {
            target.wants_attributes = false;
        }
        Ok(())
    }
}
