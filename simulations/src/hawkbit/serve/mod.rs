//! From a request to an answer: paths, authentication and JSON, with the rules in [`super::model`].

mod actions;
mod catalog;
mod ddi;
mod list;
mod request;
mod rollouts;
mod system;
mod targets;

pub use request::{Answer, Request, Response};

use super::model::{Hawkbit, Millis, Refusal, Result};

/// The only tenant.
pub const TENANT: &str = "DEFAULT";
/// The only operator; the password is the same.
pub const ADMIN: &str = "admin";

/// Answers one request.
pub fn answer(state: &mut Hawkbit, request: &Request, now: Millis) -> Response {
    state.tick(now);
    let result = route(state, request, now);
    request::response(result, request)
}

fn route(state: &mut Hawkbit, request: &Request, now: Millis) -> Result<Answer> {
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    match segments[..] {
        ["rest", "v1", ref rest @ ..] => {
            if !request.is_admin() {
                return Err(Refusal::bare(401));
            }
            management(state, request, rest, now)
        }
        [tenant, "controller", "v1", id, ref rest @ ..] => {
            if tenant != TENANT || !may_act(state, request, id) {
                return Err(Refusal::bare(401));
            }
            ddi::answer(state, request, (id, rest), now)
        }
        _ => Err(Refusal::bare(404)),
    }
}

fn management(state: &mut Hawkbit, request: &Request, path: &[&str], now: Millis) -> Result<Answer> {
    match path {
        ["targets", rest @ ..] => targets::answer(state, request, rest, now),
        ["actions", rest @ ..] => actions::answer(state, request, rest),
        ["softwaremodules", rest @ ..] => catalog::modules(state, request, rest, now),
        ["distributionsets", rest @ ..] => catalog::sets(state, request, rest, now),
        ["softwaremoduletypes", rest @ ..] => catalog::module_types(state, request, rest),
        ["distributionsettypes", rest @ ..] => catalog::set_types(state, request, rest),
        ["rollouts", rest @ ..] => rollouts::answer(state, request, rest, now),
        ["system", "configs", rest @ ..] => system::answer(state, request, rest, now),
        _ => Err(Refusal::bare(404)),
    }
}

/// Whether the token of a request may speak for a device.
fn may_act(state: &Hawkbit, request: &Request, id: &str) -> bool {
    let Some((scheme, token)) = request.authorization.as_deref().and_then(|a| a.split_once(' ')) else { return false };
    match scheme {
        "GatewayToken" => state.settings.gateway_token().is_some_and(|key| key == token),
        "TargetToken" => state.settings.target_tokens() && state.target(id).is_ok_and(|t| t.token == token),
        _ => false,
    }
}
