//! Software modules and distribution sets: what can be assigned.

use super::{Millis, Refusal, Result, Stamp, java, next};
use serde::Deserialize;
use std::collections::BTreeMap;

const META_KEY_CHARS_MAX: usize = 128;
const META_VALUE_CHARS_MAX: usize = 4_000;

/// A type of modules, and how many of it one set may hold.
#[derive(Debug, Clone)]
pub struct ModuleType {
    pub id: u64,
    pub key: String,
    pub name: String,
    pub max: u64,
}

/// A type of sets: the module types it must and may hold, by key.
#[derive(Debug, Clone)]
pub struct SetType {
    pub id: u64,
    pub key: String,
    pub name: String,
    pub mandatory: Vec<String>,
    pub optional: Vec<String>,
}

/// One line of a module's metadata.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub key: String,
    pub value: String,
    /// Whether devices see it.
    #[serde(default)]
    pub target_visible: bool,
}

/// A software module.
#[derive(Debug, Clone)]
pub struct Module {
    pub id: u64,
    pub name: String,
    pub version: String,
    pub kind: String,
    pub vendor: Option<String>,
    pub description: Option<String>,
    pub stamp: Stamp,
    pub metadata: Vec<Meta>,
    /// Assigned once, and not to change any more.
    pub locked: bool,
    /// Still there for what refers to it, and for nothing else.
    pub deleted: bool,
}

/// A distribution set.
#[derive(Debug, Clone)]
pub struct Set {
    pub id: u64,
    pub name: String,
    pub version: String,
    pub kind: String,
    pub description: Option<String>,
    pub stamp: Stamp,
    /// Ids, in the order they were added.
    pub modules: Vec<u64>,
    pub locked: bool,
    pub deleted: bool,
    pub migration: bool,
}

/// What a build server says about a new module.
#[derive(Debug, Deserialize)]
pub struct NewModule {
    pub name: String,
    pub version: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub vendor: Option<String>,
    pub description: Option<String>,
}

/// A module as a set names it.
#[derive(Debug, Deserialize)]
pub struct ModuleId {
    pub id: u64,
}

/// What a build server says about a new set.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewSet {
    pub name: String,
    pub version: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub description: Option<String>,
    #[serde(default)]
    pub required_migration_step: bool,
    #[serde(default)]
    pub modules: Vec<ModuleId>,
}

/// What an operator says about a new type of sets; module types by id.
#[derive(Debug, Deserialize)]
pub struct NewSetType {
    pub key: String,
    pub name: String,
    #[serde(default)]
    pub mandatorymodules: Vec<ModuleId>,
    #[serde(default)]
    pub optionalmodules: Vec<ModuleId>,
}

/// All modules, sets and their types.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub modules: BTreeMap<u64, Module>,
    pub sets: BTreeMap<u64, Set>,
    pub module_types: Vec<ModuleType>,
    pub set_types: Vec<SetType>,
    last_module: u64,
    last_set: u64,
}

impl Default for Catalog {
    fn default() -> Self {
        let module = |id, key: &str, name: &str, max| ModuleType { id, key: key.into(), name: name.into(), max };
        let set = |id, key: &str, name: &str, must: &[&str], may: &[&str]| SetType {
            id,
            key: key.into(),
            name: name.into(),
            mandatory: must.iter().map(|k| (*k).into()).collect(),
            optional: may.iter().map(|k| (*k).into()).collect(),
        };
        Catalog {
            modules: BTreeMap::new(),
            sets: BTreeMap::new(),
            module_types: vec![module(1, "os", "OS", 1), module(2, "application", "Application", i32::MAX as u64)],
            set_types: vec![
                set(1, "os", "OS only", &["os"], &[]),
                set(2, "app", "App(s) only", &["application"], &[]),
                set(3, "os_app", "OS with app(s)", &["os"], &["application"]),
            ],
            last_module: 0,
            last_set: 0,
        }
    }
}

impl Catalog {
    /// One module.
    pub fn module(&self, id: u64) -> Result<&Module> {
        self.modules.get(&id).ok_or_else(|| Refusal::no_such("SoftwareModule", id))
    }

    /// One set.
    pub fn set(&self, id: u64) -> Result<&Set> {
        self.sets.get(&id).ok_or_else(|| Refusal::no_such("DistributionSet", id))
    }

    /// A set by name and version.
    pub fn set_named(&self, name: &str, version: &str) -> Result<&Set> {
        let found = self.sets.values().find(|s| s.name == name && s.version == version);
        found.ok_or_else(|| Refusal::no_such("DistributionSet", serde_json::json!({ name: version })))
    }

    /// The modules of a set in the order that devices get them.
    pub fn modules_of(&self, set: &Set) -> Vec<&Module> {
        let mut modules: Vec<&Module> = set.modules.iter().filter_map(|id| self.modules.get(id)).collect();
        java::hash_order(&mut modules, |m| java::entity_hash("JpaSoftwareModule", m.id, 1 + u32::from(m.locked)));
        modules
    }

    /// Whether a set has all that its type demands.
    pub fn is_complete(&self, set: &Set) -> bool {
        let Some(kind) = self.set_types.iter().find(|t| t.key == set.kind) else { return false };
        kind.mandatory
            .iter()
            .all(|key| set.modules.iter().any(|id| self.modules.get(id).is_some_and(|m| m.kind == *key)))
    }

    /// Adds a module.
    pub fn create_module(&mut self, new: NewModule, by: &str, now: Millis) -> Result<u64> {
        if !self.module_types.iter().any(|t| t.key == new.kind) {
            return Err(Refusal::no_such("SoftwareModuleType", new.kind));
        }
        if self.modules.values().any(|m| m.name == new.name && m.version == new.version && m.kind == new.kind) {
            return Err(Refusal::exists("software module", &format!("{}:{}", new.name, new.version)));
        }
        let id = next(&mut self.last_module);
        let NewModule { name, version, kind, vendor, description } = new;
        let stamp = Stamp::new(by, now);
        let module = Module {
            id,
            name,
            version,
            kind,
            vendor,
            description,
            stamp,
            metadata: vec![],
            locked: false,
            deleted: false,
        };
        self.modules.insert(id, module);
        Ok(id)
    }

    /// Adds or changes metadata of a module.
    pub fn put_metadata(&mut self, module: u64, new: Vec<Meta>, may_exist: bool) -> Result<()> {
        let there = self.modules.get_mut(&module).ok_or_else(|| Refusal::no_such("SoftwareModule", module))?;
        for meta in &new {
            if meta.key.is_empty() || meta.key.chars().count() > META_KEY_CHARS_MAX {
                return Err(Refusal::constraint(&[format!("key size must be between 1 and {META_KEY_CHARS_MAX}.")]));
            }
            if meta.value.chars().count() > META_VALUE_CHARS_MAX {
                return Err(Refusal::constraint(&[format!(
                    "value size must be between 0 and {META_VALUE_CHARS_MAX}."
                )]));
            }
            if !may_exist && there.metadata.iter().any(|m| m.key == meta.key) {
                return Err(Refusal::exists("metadata", &meta.key));
            }
        }
        for meta in new {
            match there.metadata.iter_mut().find(|m| m.key == meta.key) {
                Some(old) => *old = meta,
                None => there.metadata.push(meta),
            }
        }
        Ok(())
    }

    /// The metadata that devices see, in the order they see it.
    pub fn visible_metadata(module: &Module) -> Vec<&Meta> {
        let mut metadata: Vec<&Meta> = module.metadata.iter().filter(|m| m.target_visible).collect();
        java::hash_order(&mut metadata, |m| java::string_hash(&m.key));
        metadata
    }

    /// Adds a set.
    pub fn create_set(&mut self, new: NewSet, by: &str, now: Millis) -> Result<u64> {
        if !self.set_types.iter().any(|t| t.key == new.kind) {
            return Err(Refusal::no_such("DistributionSetType", new.kind));
        }
        if self.sets.values().any(|s| s.name == new.name && s.version == new.version) {
            return Err(Refusal::exists("distribution set", &format!("{}:{}", new.name, new.version)));
        }
        let NewSet { name, version, kind, description, required_migration_step: migration, modules } = new;
        for module in &modules {
            self.check_fits(module.id, &kind)?;
        }
        let id = next(&mut self.last_set);
        let modules = modules.into_iter().map(|m| m.id).collect();
        let stamp = Stamp::new(by, now);
        let (locked, deleted) = (false, false);
        let set = Set { id, name, version, kind, description, stamp, modules, locked, deleted, migration };
        self.sets.insert(id, set);
        Ok(id)
    }

    fn check_fits(&self, module: u64, set_type: &str) -> Result<()> {
        let module = self.module(module)?;
        let kind = self.set_types.iter().find(|t| t.key == set_type);
        let fits = kind.is_some_and(|t| t.mandatory.iter().chain(&t.optional).any(|key| *key == module.kind));
        if fits { Ok(()) } else { Err(Refusal::unsupported_module(&module.kind, set_type)) }
    }

    /// Adds modules to a set that was never assigned.
    pub fn add_modules(&mut self, set: u64, modules: &[ModuleId], by: &str, now: Millis) -> Result<()> {
        let there = self.set(set)?;
        if there.locked {
            return Err(Refusal::locked("DistributionSet", set));
        }
        let kind = there.kind.clone();
        for module in modules {
            self.check_fits(module.id, &kind)?;
        }
        if let Some(there) = self.sets.get_mut(&set) {
            there.stamp.touch(by, now);
            for module in modules.iter().filter(|m| !there.modules.contains(&m.id)).map(|m| m.id).collect::<Vec<_>>() {
                there.modules.push(module);
            }
        }
        Ok(())
    }

    /// Removes a set, or hides it when something refers to it.
    pub fn delete_set(&mut self, id: u64, used: bool) -> Result<()> {
        self.set(id)?;
        match self.sets.get_mut(&id).filter(|_| used) {
            Some(set) => set.deleted = true,
            None => drop(self.sets.remove(&id)),
        }
        Ok(())
    }

    /// Removes a module, or hides it when a set holds it.
    pub fn delete_module(&mut self, id: u64) -> Result<()> {
        self.module(id)?;
        let used = self.sets.values().any(|s| s.modules.contains(&id));
        match self.modules.get_mut(&id).filter(|_| used) {
            Some(module) => module.deleted = true,
            None => drop(self.modules.remove(&id)),
        }
        Ok(())
    }

    /// From the first assignment on neither a set nor its modules change.
    pub fn lock(&mut self, set: u64, by: &str, now: Millis) {
        let Some(set) = self.sets.get_mut(&set).filter(|s| !s.locked) else { return };
        set.locked = true;
        set.stamp.touch(by, now);
        for module in &set.modules {
            if let Some(module) = self.modules.get_mut(module).filter(|m| !m.locked) {
                module.locked = true;
                module.stamp.touch(by, now);
            }
        }
    }

    /// Adds a type of modules.
    pub fn create_module_type(&mut self, key: String, name: String, max: u64) -> Result<u64> {
        if self.module_types.iter().any(|t| t.key == key) {
            return Err(Refusal::exists("software module type", &key));
        }
        let id = self.module_types.len() as u64 + 1;
        self.module_types.push(ModuleType { id, key, name, max });
        Ok(id)
    }

    /// Adds a type of sets.
    pub fn create_set_type(&mut self, new: NewSetType) -> Result<u64> {
        if self.set_types.iter().any(|t| t.key == new.key) {
            return Err(Refusal::exists("distribution set type", &new.key));
        }
        let keys = |ids: &[ModuleId]| -> Result<Vec<String>> {
            let find = |id: u64| self.module_types.iter().find(|t| t.id == id).map(|t| t.key.clone());
            ids.iter().map(|m| find(m.id).ok_or_else(|| Refusal::no_such("SoftwareModuleType", m.id))).collect()
        };
        let (mandatory, optional) = (keys(&new.mandatorymodules)?, keys(&new.optionalmodules)?);
        let id = self.set_types.len() as u64 + 1;
        self.set_types.push(SetType { id, key: new.key, name: new.name, mandatory, optional });
        Ok(id)
    }
}
