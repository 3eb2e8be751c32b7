//! Memory, CPU time, processes and disk I/O: what is asked for, bounded by the policy.

use super::{Allow, Refusal, Terms};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use std::fs;
use std::path::Path;

/// Microseconds over which CPU time is counted, the kernel's default.
const PERIOD_US: u64 = 100_000;

/// Which limits the kernel of this device can hold an app to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::host) struct Controllers {
    pub(super) memory: bool,
    pub(super) cpu: bool,
    pub(super) pids: bool,
    pub(super) io: bool,
}

impl Controllers {
    /// Those of the running kernel, in either version of control groups.
    pub(in crate::host) fn of_kernel() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let second = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        let has = |name: &str| first_version(&mounts).chain(second.split_whitespace()).any(|n| n == name);
        Controllers { memory: has("memory"), cpu: has("cpu"), pids: has("pids"), io: weighs_io() }
    }
}

/// The controllers of the first version, which are of use only where they are mounted (`proc_pid_mounts(5)`, `cgroups(7)`).
fn first_version(mounts: &str) -> impl Iterator<Item = &str> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let options = fields.filter(|f| f.get(2) == Some(&"cgroup")).filter_map(|f| f.get(3).copied());
    options.flat_map(|options| options.split(','))
}

/// Whether control groups have a weight for I/O, which hangs on the kernel's I/O scheduler, not on the controller alone.
fn weighs_io() -> bool {
    let top = Path::new("/sys/fs/cgroup");
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    // Only groups below the root have the weight of BFQ and of the second version; these are beside it in the root.
    let beside = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "io.cost.qos" || name == "blkio.weight" || name.starts_with("blkio.bfq.")
    };
    let mut root = entries(&top.join("blkio")).chain(entries(top));
    root.any(|path| beside(&path) || path.join("io.bfq.weight").exists())
}

/// Sets what holds for this app; gives what cannot be enforced here.
pub(super) fn set(
    resources: &mut LinuxResources,
    config: Option<&LinuxResources>,
    terms: &Terms<'_>,
) -> Result<Vec<String>, Refusal> {
    let (asks, policy, has) = (terms.asks.limits, terms.policy, terms.controllers);
    let bound = |what, key, asked: Option<u64>, most: Option<u64>, show: fn(u64) -> String| match (asked, most) {
        (Some(asked), Some(most)) if asked > most => {
            let allow = Allow::key(terms.name, key, &show(asked));
            Err(Refusal::Limit { what, asked: show(asked), most: show(most), allow })
        }
        (asked, most) => Ok(asked.or(most)),
    };
    // The commit's word goes before that of its config.json.
    let memory = asks.memory.or_else(|| positive(config?.memory().as_ref()?.limit()?));
    let memory = bound("memory", "memory_max", memory, policy.memory_max, size)?;
    let cpu = asks.cpu.map(u64::from).or_else(|| thousandths(config?.cpu().as_ref()?));
    let cpu = bound("CPU time", "cpu_max", cpu, policy.cpu_max.map(u64::from), cpus)?;
    let pids = asks.pids.map(u64::from).or_else(|| positive(config?.pids().as_ref()?.limit()));
    let pids = bound("processes", "pids_max", pids, policy.pids_max.map(u64::from), |n| n.to_string())?;
    let weight = asks.io.or_else(|| config?.block_io().as_ref()?.weight().map(u32::from));

    let mut lacks = Vec::new();
    let mut held = |what: &str, there: bool| {
        if !there {
            lacks.push(format!("the limit of {what} is not held: the kernel of this device has no control of it"));
        }
        there
    };
    if let Some(bytes) = memory.filter(|_| held("memory", has.memory)) {
        let mut memory = LinuxMemory::default();
        memory.set_limit(i64::try_from(bytes).ok());
        resources.set_memory(Some(memory));
    }
    if let Some(pids_max) = pids.filter(|_| held("processes", has.pids)) {
        let mut pids = LinuxPids::default();
        pids.set_limit(i64::try_from(pids_max).unwrap_or(i64::MAX));
        resources.set_pids(Some(pids));
    }
    let shares = config.and_then(|c| c.cpu().as_ref()?.shares()).filter(|_| has.cpu);
    let quota = cpu.filter(|_| held("CPU time", has.cpu)).and_then(|n| i64::try_from(n * PERIOD_US / 1000).ok());
    if quota.is_some() || shares.is_some() {
        let mut cpu = LinuxCpu::default();
        cpu.set_shares(shares).set_quota(quota).set_period(quota.map(|_| PERIOD_US));
        resources.set_cpu(Some(cpu));
    }
    if let Some(weight) = weight.filter(|_| held("disk I/O", has.io)) {
        let mut io = LinuxBlockIo::default();
        io.set_weight(u16::try_from(weight).ok());
        resources.set_block_io(Some(io));
    }
    Ok(lacks)
}

/// Zero and below mean no limit.
fn positive(limit: i64) -> Option<u64> {
    u64::try_from(limit).ok().filter(|&n| n > 0)
}

fn thousandths(cpu: &LinuxCpu) -> Option<u64> {
    let quota = positive(cpu.quota()?)?;
    let period = cpu.period().filter(|&p| p > 0).unwrap_or(PERIOD_US);
    // A millisecond in each period is the least that the kernel takes.
    Some((quota.saturating_mul(1000) / period).max(10))
}

/// As `memory_max` is written.
fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("\"{}M\"", bytes >> 20) } else { format!("\"{bytes}\"") }
}

/// As `cpu_max` is written.
fn cpus(thousandths: u64) -> String {
    format!("\"{}.{:03}\"", thousandths / 1000, thousandths % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_counts_where_it_is_mounted() {
        let mounts = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nosuid 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n\
                      memory /mnt tmpfs rw,memory 0 0\n";
        let all: Vec<_> = first_version(mounts).collect();
        assert!(all.contains(&"cpu") && !all.contains(&"memory"), "{all:?}");
    }
}
