//! What an app gets of the CPUs and disks when others want them too. Such weights count among neighbours in the tree of
//! control groups, and a container below its unit has none: they are the unit's.
//!
//! Scales: `systemd.resource-control(5)`, and for those of OCI `config-linux.md`,
//! <https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups>.

use oci_spec::runtime::Spec;

/// The share that a group has of which nothing is said, in CPU shares of OCI.
const CPU_SHARES: u64 = 1024;
/// The weight that a unit or a disk's scheduler has of which nothing is said.
const WEIGHT: u64 = 100;
/// The highest of OCI for disks, and of systemd.
const WEIGHT_MAX: [u64; 2] = [1000, 10_000];

/// Weights of a unit, as systemd has them: 1 to 10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shares {
    /// `CPUWeight=`.
    pub(super) cpu: Option<u64>,
    /// `IOWeight=`.
    pub(super) io: Option<u64>,
}

impl Shares {
    /// Those that a container's configuration has.
    pub(super) fn of(spec: &Spec) -> Self {
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let shares = resources.and_then(|r| r.cpu().as_ref()?.shares());
        let weight = resources.and_then(|r| r.block_io().as_ref()?.weight());
        Shares {
            cpu: shares.map(|n| (n.saturating_mul(WEIGHT) / CPU_SHARES).clamp(1, WEIGHT_MAX[1])),
            io: weight.map(|n| of_disk(n.into())),
        }
    }
}

/// What is usual stays so, what is below stays as it is, and the highest is the highest: so does systemd for BFQ, the
/// other way round.
fn of_disk(weight: u64) -> u64 {
    let [most, most_here] = WEIGHT_MAX;
    let weight = weight.clamp(1, most);
    weight.min(WEIGHT) + weight.saturating_sub(WEIGHT) * (most_here - WEIGHT) / (most - WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_and_the_ends_of_the_scales_are_the_same_to_systemd() {
        let of = |resources: &str| {
            Shares::of(
                &serde_json::from_str(&format!(r#"{{"ociVersion":"1.0.2","linux":{{"resources":{resources}}}}}"#))
                    .unwrap(),
            )
        };
        assert_eq!(of("{}"), Shares::default());
        for (weight, expected) in [(10, 10), (100, 100), (550, 5050), (1000, 10_000)] {
            let shares = of(&format!(r#"{{"blockIO":{{"weight":{weight}}}}}"#));
            assert_eq!(shares, Shares { io: Some(expected), cpu: None });
        }
        for (cpu, expected) in [(2, 1), (512, 50), (1024, 100), (262_144, 10_000)] {
            let shares = of(&format!(r#"{{"cpu":{{"shares":{cpu}}}}}"#));
            assert_eq!(shares, Shares { cpu: Some(expected), io: None });
        }
    }
}
