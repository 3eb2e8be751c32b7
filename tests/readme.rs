//! The README's commands are run as they stand there.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::process::Command;

/// The text of all code blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("README.md")).unwrap()
}

fn programs() -> std::path::PathBuf {
    // Tests lie in `<target>/release/deps`.
    std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned()
}

#[test]
fn the_commands_of_the_readme_work_one_after_the_other() {
    let blocks = blocks(&readme(), "sh");
    assert!(blocks.len() >= 3, "no commands found");
    let dir = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
    let script = format!("set -eux\n{}", blocks.join("\n"));
    let output = Command::new("/bin/sh").arg("-c").arg(script).current_dir(dir.path()).env("PATH", path).output();
    let output = output.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(dir.path().join("central/fullmetal/manifests").is_dir());
    assert!(dir.path().join("press-1/etc/fullmetal/identity/peer.crt").is_file());
}

#[test]
fn the_commands_that_a_person_types_exist() {
    let console = blocks(&readme(), "console").join("\n");
    let makefile = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("Makefile"));
    assert!(console.contains("make demo") && makefile.unwrap().contains("\ndemo:"));
    let typed: Vec<&str> = console.lines().map(|l| l.trim_start_matches("sudo ")).collect();
    let typed: Vec<&str> =
        typed.into_iter().filter(|l| l.starts_with("fullmetal") && !l.contains(" --root ")).collect();
    assert!(typed.iter().any(|l| l.contains(" app stop ")) && typed.len() >= 5, "{typed:?}");
    for line in typed {
        let mut words = line.split_whitespace();
        let program = programs().join(words.next().unwrap());
        let help = Command::new(&program).arg(words.next().unwrap()).arg("--help").output().unwrap();
        assert!(help.status.success(), "{line}");
    }
}

#[test]
fn the_demo_s_table_is_explained() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/table.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let head = source.split("let head = (").nth(1).unwrap().split(')').next().unwrap();
    let columns: Vec<&str> = head.split('"').skip(1).step_by(2).skip(1).chain(["seconds"]).collect();
    assert_eq!(columns.len(), 5, "{columns:?}");
    for column in columns {
        assert!(readme().lines().any(|l| l.starts_with("| ") && l.contains(column)), "{column} is not explained");
    }
}

#[test]
fn every_configuration_key_is_explained() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("src/config/fragment.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let readme = readme();
    for (section, name) in [("device", "Device"), ("peer", "Peer"), ("agent", "Agent"), ("gateway", "Gateway")] {
        let keys = source.split(&format!("section!({name}Fragment {{")).nth(1).unwrap().split('}').next().unwrap();
        for key in keys.split(',').filter_map(|k| k.trim().split(':').next()).filter(|k| !k.is_empty()) {
            assert!(readme.contains(&format!("`[{section}] {key}`")), "README does not explain [{section}] {key}");
        }
    }
}
