//! Which holes that are known a runc still has, by what it says of its version.
//!
//! Source: the advisories at <https://github.com/opencontainers/runc/security/advisories>. Distributions mend older versions
//! without changing the number, so what is said is a warning with a question in it.

/// A version that can be compared: major, minor, patch, and the number of a release candidate (the release comes last).
type Version = (u32, u32, u32, u32);

/// A hole, and the first version of each series without it.
struct Hole {
    cve: &'static str,
    fixed: &'static [Version],
    /// The first revision of Debian 12's package 1.1.5+ds1-1 that has it mended.
    debian_12: Option<u32>,
}

const RELEASE: u32 = u32::MAX;
const HOLES: [Hole; 2] = [
    Hole { cve: "CVE-2024-21626", fixed: &[(1, 1, 12, RELEASE)], debian_12: Some(1) },
    Hole {
        cve: "CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881",
        fixed: &[(1, 2, 8, RELEASE), (1, 3, 3, RELEASE), (1, 4, 0, 3)],
        debian_12: None,
    },
];

/// What to say of a runc with this `runc --version`; `None` when nothing is known against it.
pub(super) fn warning(said: &str) -> Option<String> {
    let name = said.lines().find_map(|line| line.strip_prefix("runc version "))?.trim();
    let version = parse(name)?;
    let package = said.lines().find_map(|line| line.strip_prefix("commit: 1.1.5+ds1-1+deb12u"));
    let debian_12: u32 = package.and_then(|revision| revision.trim().parse().ok()).unwrap_or(0);
    let open = |hole: &&Hole| !is_fixed(version, hole.fixed) && hole.debian_12.is_none_or(|mended| debian_12 < mended);
    let cves: Vec<&str> = HOLES.iter().filter(open).map(|hole| hole.cve).collect();
    if cves.is_empty() {
        return None;
    }
    let (name, cves) = (name.escape_debug(), cves.join(", "));
    Some(format!(
        "runc {name} is older than the versions without {cves}: a hostile app may leave its container. Use runc 1.2.8, 1.3.3 \
         or newer; if your distribution mends its package under the old number, see that its newest is installed"
    ))
}

/// Fixed in its own series, or in one before it.
fn is_fixed(version: Version, fixed: &[Version]) -> bool {
    let series = |v: &Version| (v.0, v.1);
    match fixed.iter().find(|f| series(f) == series(&version)) {
        Some(first) => version >= *first,
        None => fixed.iter().all(|f| series(f) < series(&version)),
    }
}

/// `1.1.5+ds1`, `1.4.0-rc.3`, `1.0.0~rc93+ds1`.
fn parse(text: &str) -> Option<Version> {
    let numbers = text.split(['+', '-', '~']).next()?;
    let mut parts = numbers.split('.').map(|part| part.parse::<u32>().ok());
    let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
    let candidate = text[numbers.len()..].strip_prefix(['-', '~']).and_then(|rest| rest.strip_prefix("rc"));
    let Some(rest) = candidate else { return Some((major, minor, patch, RELEASE)) };
    let digits: String = rest.trim_start_matches('.').chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor, patch, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str) -> Option<String> {
        warning(&format!("runc version {version}\ncommit: x\nspec: 1.0.2-dev\ngo: go1.19.8\n"))
    }

    #[test]
    fn versions_below_the_fixed_ones_are_warned_of_by_the_holes_that_they_have() {
        for old in ["1.0.3", "1.1.0", "1.1.11", "1.0.0~rc93+ds1", "1.1.5+ds1"] {
            let told = of(old).unwrap();
            assert!(told.contains(old) && told.contains("CVE-2024-21626") && told.contains("CVE-2025-31133"), "{told}");
        }
        for half in ["1.1.12", "1.1.15", "1.2.0", "1.2.7", "1.3.0", "1.3.2", "1.4.0-rc.2", "1.2.0-rc.1"] {
            let told = of(half).unwrap();
            assert!(!told.contains("CVE-2024-21626") && told.contains("CVE-2025-52881"), "{told}");
        }
        for good in ["1.2.8", "1.2.9", "1.3.3", "1.4.0-rc.3", "1.4.0", "1.5.1", "2.0.0"] {
            assert_eq!(of(good), None, "{good}");
        }
    }

    #[test]
    fn what_debian_has_mended_under_the_old_number_is_not_said() {
        let told = |package: &str| warning(&format!("runc version 1.1.5+ds1\ncommit: {package}\n")).unwrap();
        assert!(told("1.1.5+ds1-1").contains("CVE-2024-21626"));
        assert!(!told("1.1.5+ds1-1+deb12u1").contains("CVE-2024-21626"));
        assert!(told("1.1.5+ds1-1+deb12u1").contains("CVE-2025-52565"));
    }

    #[test]
    fn what_is_no_version_is_no_warning() {
        for said in
            ["", "crun version 1.14\n", "runc version next\n", "runc version 1.1\n", "runc version 1.1.1-rc.x\n"]
        {
            assert_eq!(warning(said), None, "{said:?}");
        }
    }
}
