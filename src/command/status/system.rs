//! The operating system's deployments, in words.

use fullmetal::sysroot::{OsDeployment, SysrootError};
use std::fmt::Write as _;

/// A line for each deployment; none where OSTree has not deployed the system.
pub fn system_text(text: &mut String, system: &Result<Vec<OsDeployment>, SysrootError>) {
    let deployments = match system {
        Ok(deployments) => deployments,
        Err(error) => {
            let _ = writeln!(text, "  trouble: {error}");
            return;
        }
    };
    for (place, deployment) in deployments.iter().enumerate() {
        let is = [
            (deployment.booted, "running"),
            (deployment.staged, "staged"),
            (place == 0 && !(deployment.booted || deployment.staged), "boots next"),
            (deployment.pinned, "pinned"),
        ];
        let is: Vec<&str> = is.into_iter().filter_map(|(is, said)| is.then_some(said)).collect();
        let is = if is.is_empty() { "kept".to_owned() } else { is.join(", ") };
        let version = deployment.version.as_deref().unwrap_or("-").escape_debug().to_string();
        let commit = deployment.id.commit.to_string();
        let _ = writeln!(text, "  {:<16} {version:<12} {is:<15} {}", "operating system", &commit[..12]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::{DeploymentId, Digest};

    #[test]
    fn what_runs_what_is_kept_and_what_boots_next_is_told() {
        let deployment = OsDeployment {
            id: DeploymentId { commit: Digest::of(b"1"), serial: 0 },
            version: Some("1".into()),
            booted: true,
            staged: false,
            pinned: true,
            ours: true,
        };
        let other = OsDeployment {
            id: DeploymentId { commit: Digest::of(b"2"), serial: 0 },
            version: None,
            booted: false,
            pinned: false,
            ..deployment.clone()
        };
        let said = |deployments: &[&OsDeployment]| {
            let mut text = String::new();
            system_text(&mut text, &Ok(deployments.iter().map(|d| (*d).clone()).collect()));
            text
        };
        let both = said(&[&deployment, &other]);
        assert!(both.contains("operating system 1            running, pinned 6b86b273ff34"), "{both}");
        assert!(both.lines().nth(1).unwrap().contains("kept"), "{both}");
        assert!(said(&[&other, &deployment]).lines().next().unwrap().contains("boots next"));
        assert!(
            said(&[&OsDeployment { staged: true, ..other }, &deployment])
                .starts_with("  operating system -            staged ")
        );
        assert_eq!(said(&[]), "");
    }
}
