//! The process part of an app's configuration.

use super::Refusal;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process};

/// With these, root in the container may act on what is the app's own; none reaches the device.
const CAPABILITIES: [Capability; 10] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::NetBindService,
    Capability::Setgid,
    Capability::Setuid,
    Capability::SysChroot,
];

pub(super) fn adapt(asked: &Process) -> Result<Process, Refusal> {
    if asked.args().iter().flatten().next().is_none_or(String::is_empty) {
        return Err(Refusal::Missing("process.args"));
    }
    if !asked.cwd().is_absolute() {
        let value = asked.cwd().display().to_string();
        return Err(Refusal::Value { field: "process.cwd", value, must: "an absolute path" });
    }
    let mut process = Process::default();
    process
        .set_terminal(Some(false))
        .set_user(asked.user().clone())
        .set_args(asked.args().clone())
        .set_env(asked.env().clone())
        .set_cwd(asked.cwd().clone())
        .set_capabilities(Some(capabilities(asked.capabilities().as_ref())?))
        .set_rlimits(asked.rlimits().clone())
        .set_no_new_privileges(Some(true));
    Ok(process)
}

fn capabilities(asked: Option<&LinuxCapabilities>) -> Result<LinuxCapabilities, Refusal> {
    let set = |asked: Option<&Capabilities>| -> Result<Option<Capabilities>, Refusal> {
        let asked = asked.cloned().unwrap_or_default();
        match asked.iter().filter(|c| !CAPABILITIES.contains(c)).map(ToString::to_string).min() {
            Some(refused) => Err(Refusal::Capability(format!("CAP_{refused}"))),
            None => Ok(Some(asked)),
        }
    };
    let of = |get: fn(&LinuxCapabilities) -> &Option<Capabilities>| set(asked.and_then(|c| get(c).as_ref()));
    let mut given = LinuxCapabilities::default();
    given
        .set_bounding(of(LinuxCapabilities::bounding)?)
        .set_effective(of(LinuxCapabilities::effective)?)
        .set_inheritable(of(LinuxCapabilities::inheritable)?)
        .set_permitted(of(LinuxCapabilities::permitted)?)
        .set_ambient(of(LinuxCapabilities::ambient)?);
    Ok(given)
}
