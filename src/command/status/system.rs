//! The operating system's deployments, in words.

use fullmetal::boot_loader::Counted;
use fullmetal::sysroot::{OsDeployment, SysrootError};
use std::fmt::Write as _;

/// A line for each deployment; none where OSTree has not deployed the system.
pub fn system_text(text: &mut String, system: &Result<Vec<OsDeployment>, SysrootError>, counted: Option<&Counted>) {
    let deployments = match system {
        Ok(deployments) => deployments,
        Err(error) => {
            let _ = writeln!(text, "  trouble: {error}");
            return;
        }
    };
    // Once its tries are used up, the first one is passed over.
    let passed = usize::from(counted.is_some_and(|counted| counted.tries_left == 0));
    let next = deployments.iter().filter(|deployment| !deployment.staged).nth(passed);
    for deployment in deployments {
        let is_next = next.is_some_and(|next| next.id == deployment.id);
        let on_trial = counted.is_some_and(|counted| counted.trial == Some(deployment.id));
        let is = [
            (deployment.booted, "running"),
            (deployment.staged, "staged"),
            (on_trial && (deployment.booted || is_next), "on trial"),
            (on_trial && !(deployment.booted || is_next), "given up"),
            (is_next && !deployment.booted, "boots next"),
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
        let with = |deployments: &[&OsDeployment], counted: Option<u8>| {
            let mut text = String::new();
            let counted = counted.map(|tries_left| Counted { trial: Some(deployments[0].id), tries_left });
            system_text(&mut text, &Ok(deployments.iter().map(|d| (*d).clone()).collect()), counted.as_ref());
            text
        };
        let said = |deployments: &[&OsDeployment]| with(deployments, None);
        assert!(with(&[&deployment, &other], Some(2)).contains("running, on trial, pinned"));
        let fell_back = with(&[&other, &deployment], Some(0));
        assert!(fell_back.contains("given up ") && !fell_back.contains("boots next"), "{fell_back}");
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
