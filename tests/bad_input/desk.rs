//! A desk with a fleet's keys on it, and the commands of builders and operators.

use super::said::{Said, run};
use fullmetal_sim::lab::Programs;
use std::path::Path;

pub struct Desk {
    pub programs: Programs,
    dir: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Self {
        let desk = Desk { programs: Programs::find(None).unwrap(), dir: tempfile::tempdir_in("/var/tmp").unwrap() };
        desk.fullmetal(&["keys", "generate", "--fleet", "f", "--out", &desk.at("keys")]).succeeds();
        desk
    }

    pub fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    /// Writes a file, in a new directory where there is none.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        std::fs::create_dir_all(Path::new(&self.at(name)).parent().unwrap()).unwrap();
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self.at(name)
    }

    pub fn fullmetal(&self, args: &[&str]) -> Said {
        run(&self.programs.fullmetal, args)
    }

    pub fn publish(&self, args: &[&str]) -> Said {
        let (repo, key) = (self.at("repo"), self.at("keys/build.key"));
        let mut all = vec!["publish", "--repo", &repo, "--ref", "apps/x", "--key", &key];
        all.extend(args);
        self.fullmetal(&all)
    }

    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A device of fleet f that has asked for membership, and the answer by these keys; its root and the answer.
    pub fn answer(&self, device: &str, keys: &str) -> (String, String) {
        let (root, answer) = (self.at(device), self.at(&format!("{device}.{keys}.answer")));
        let request = self.at(&format!("{device}.{keys}.request"));
        let ask = ["--root", &root, "enroll", "--fleet", "f", "--device", device, "--request", &request];
        self.fullmetal(&ask).succeeds();
        self.fullmetal(&["keys", "certify", &request, "--keys", &self.at(keys), "--out", &answer]).succeeds();
        (root, answer)
    }
}
