//! Links in answers are read for the numbers in them and never followed: a path is built by us.

use super::answer::{ActionId, AnswerError};
use super::error::shown;
use fullmetal_proto::DeviceId;
use reqwest::Url;

const LINK_LEN_MAX: usize = 2048;

/// Whose answer is read.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The tenant that was asked for.
    pub tenant: &'a str,
    /// The device that was asked for.
    pub device: &'a DeviceId,
}

/// What a link to an action says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) action: ActionId,
    /// The query's `c`.
    pub(super) revision: Option<i64>,
}

impl Asked<'_> {
    /// Reads `…/{tenant}/controller/v1/{device}/{kind}/{action}?c=…`. Host and what stands before the tenant are
    /// the server's own view of itself, which a proxy before it may change, and are not looked at.
    pub(super) fn action(&self, kind: &'static str, href: &str) -> Result<Link, AnswerError> {
        let url = parse(kind, href)?;
        let segments = segments(&url);
        let Some((action, place)) = segments.split_last() else { return Err(bad(kind, href)) };
        self.check(kind, href, place)?;
        let action = action.parse().map_err(|_| bad(kind, href))?;
        let revision = url.query_pairs().find(|(key, _)| key == "c").and_then(|(_, value)| value.parse().ok());
        Ok(Link { action, revision })
    }

    /// The same for a link without an action.
    pub(super) fn plain(&self, kind: &'static str, href: &str) -> Result<(), AnswerError> {
        self.check(kind, href, &segments(&parse(kind, href)?))
    }

    fn check(&self, kind: &'static str, href: &str, place: &[&str]) -> Result<(), AnswerError> {
        let [.., tenant, "controller", "v1", device, found] = place else { return Err(bad(kind, href)) };
        if *found != kind {
            return Err(bad(kind, href));
        }
        if *device != self.device.as_str() {
            return Err(AnswerError::OtherDevice { kind, device: shown(device) });
        }
        // Hawkbit names the tenant in capitals, however it was asked for.
        if !tenant.eq_ignore_ascii_case(self.tenant) {
            return Err(AnswerError::OtherTenant { kind, tenant: shown(tenant) });
        }
        Ok(())
    }
}

fn bad(kind: &'static str, href: &str) -> AnswerError {
    AnswerError::Link { kind, href: shown(href) }
}

fn parse(kind: &'static str, href: &str) -> Result<Url, AnswerError> {
    if href.len() > LINK_LEN_MAX {
        return Err(bad(kind, href));
    }
    let base = Url::parse("http://relative/").map_err(|_| bad(kind, href))?;
    base.join(href).map_err(|_| bad(kind, href))
}

fn segments(url: &Url) -> Vec<&str> {
    url.path_segments().map(Iterator::collect).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(href: &str) -> Result<Link, AnswerError> {
        let device = "p1".parse().unwrap();
        Asked { tenant: "default", device: &device }.action("deploymentBase", href)
    }

    #[test]
    fn host_and_prefix_do_not_matter_but_tenant_and_device_do() {
        for good in [
            "http://hawkbit/DEFAULT/controller/v1/p1/deploymentBase/8?c=-41",
            "https://10.0.0.1:8443/prefix/hb/DEFAULT/controller/v1/p1/deploymentBase/8?x=1&c=-41",
            "/DEFAULT/controller/v1/p1/deploymentBase/8?c=-41",
        ] {
            assert_eq!(read(good).unwrap(), Link { action: "8".parse().unwrap(), revision: Some(-41) }, "{good}");
        }
        assert_eq!(read("/DEFAULT/controller/v1/p1/deploymentBase/8?c=x").unwrap().revision, None);
        let other = read("http://h/DEFAULT/controller/v1/p2/deploymentBase/8").unwrap_err();
        assert!(matches!(&other, AnswerError::OtherDevice { device, .. } if device == "p2"), "{other}");
        let other = read("http://h/OTHER/controller/v1/p1/deploymentBase/8").unwrap_err();
        assert!(matches!(&other, AnswerError::OtherTenant { tenant, .. } if tenant == "OTHER"), "{other}");
        for bad in [
            "",
            "8",
            "http://h/DEFAULT/controller/v1/p1/deploymentBase/",
            "http://h/DEFAULT/controller/v1/p1/deploymentBase/8/",
            "http://h/DEFAULT/controller/v1/p1/deploymentBase/x",
            "http://h/DEFAULT/controller/v1/p1/deploymentBase/-8",
            "http://h/DEFAULT/controller/v1/p1/cancelAction/8",
            "http://h/DEFAULT/controller/v2/p1/deploymentBase/8",
            "http://h/DEFAULT/controller/v1/p1/deploymentBase/../../../8",
            "http://[/DEFAULT/controller/v1/p1/deploymentBase/8",
            "mailto:p1",
        ] {
            assert!(matches!(read(bad), Err(AnswerError::Link { .. })), "{bad}");
        }
        assert!(matches!(read(&"x".repeat(LINK_LEN_MAX + 1)), Err(AnswerError::Link { .. })));
    }

    #[test]
    fn a_link_without_an_action_is_judged_alike() {
        let device = "p1".parse().unwrap();
        let asked = Asked { tenant: "DEFAULT", device: &device };
        asked.plain("configData", "http://h/DEFAULT/controller/v1/p1/configData").unwrap();
        assert!(asked.plain("configData", "http://h/DEFAULT/controller/v1/p2/configData").is_err());
        assert!(asked.plain("configData", "http://h/DEFAULT/controller/v1/p1/configData/1").is_err());
    }
}
