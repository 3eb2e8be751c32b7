//! The requests of the DDI API, one method each.

use super::answer::{ActionId, Base, Cancel, Deployment};
use super::error::DdiError;
use super::exchange::{Answer, Ask, BASE_LEN_MAX, DEPLOYMENT_LEN_MAX, Exchange, REQUEST_MS_MAX};
use super::feedback::{Attributes, Confirmation, Feedback, encode};
use super::link::Asked;
use super::token::{TokenError, Tokens};
use fullmetal::config::HawkbitSettings;
use fullmetal::identity::Clock;
use fullmetal_proto::DeviceId;
use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server, ending in a slash. Plain HTTP when it says `http://`.
    pub url: Url,
    /// The tenant.
    pub tenant: String,
    /// The tokens that stand for devices.
    pub tokens: Tokens,
    /// PEM file of CAs; `None` takes the system's.
    pub ca_file: Option<PathBuf>,
    /// HTTP proxy; `None` uses none, whatever the environment says.
    pub proxy: Option<Url>,
    /// The trusted time, by which certificates are judged.
    pub clock: Clock,
    /// For the jitter of pauses.
    pub seed: u64,
    /// The longest time of one request with its answer.
    pub timeout: Duration,
}

impl Options {
    /// From the configuration; reads the tokens.
    pub fn load(settings: &HawkbitSettings, clock: Clock, seed: u64) -> Result<Self, TokenError> {
        Ok(Options {
            url: settings.url.clone(),
            tenant: settings.tenant.clone(),
            tokens: Tokens::load(settings)?,
            ca_file: settings.ca_file.clone(),
            proxy: settings.proxy.clone(),
            clock,
            seed,
            timeout: Duration::from_millis(REQUEST_MS_MAX),
        })
    }
}

/// The version of an answer to a poll, sent back with the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etag(pub(super) HeaderValue);

/// The answer to a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// As it was under that [`Etag`].
    Unchanged,
    /// This.
    Base {
        /// What there is to do.
        base: Base,
        /// Its version; `None` where the server sends none.
        etag: Option<Etag>,
    },
}

#[derive(Serialize)]
struct AutoConfirm<'a> {
    initiator: &'a str,
    remark: &'a str,
}

#[derive(Serialize)]
struct Installed<'a> {
    name: &'a str,
    version: &'a str,
}

/// A client for all devices of one tenant. Clones share connections, pauses and quotas.
#[derive(Clone, Debug)]
pub struct Ddi {
    exchange: Exchange,
    tenant: String,
}

impl Ddi {
    /// Reads the CA certificates; connects to nothing yet. Needs a tokio runtime with time and I/O when it asks.
    pub fn new(options: Options) -> Result<Self, DdiError> {
        let tenant = options.tenant.clone();
        Ok(Ddi { exchange: Exchange::new(options)?, tenant })
    }

    /// Polls for a device, which makes Hawkbit say that it was seen now, and makes a target of an unknown one: only for
    /// devices of the allow-list that the fleet has heard.
    pub async fn poll(&self, device: &DeviceId, etag: Option<&Etag>) -> Result<Polled, DdiError> {
        let ask = Ask { etag, max: BASE_LEN_MAX, ..self.ask(Method::GET, device, &[]) };
        let answer = match self.exchange.exchange(ask).await {
            Err(DdiError::NotFound { url, .. }) => return Err(DdiError::NoHawkbit { url }),
            answer => answer?,
        };
        if answer.unchanged {
            return Ok(Polled::Unchanged);
        }
        let asked = Asked { tenant: &self.tenant, device };
        let base = answer.read(|body| Base::decode(body, asked))?;
        Ok(Polled::Base { base, etag: answer.etag })
    }

    /// The deployment in force, with up to `history` messages of its past. `NotFound` while it waits for its
    /// confirmation or a cancellation is pending.
    pub async fn deployment(&self, device: &DeviceId, action: ActionId, history: u32) -> Result<Deployment, DdiError> {
        let answer = self.get_action(device, "deploymentBase", action, history).await?;
        answer.read(|body| Deployment::decode(body, action, false))
    }

    /// A deployment that waits for its confirmation.
    pub async fn confirmation(
        &self,
        device: &DeviceId,
        action: ActionId,
        history: u32,
    ) -> Result<Deployment, DdiError> {
        let answer = self.get_action(device, "confirmationBase", action, history).await?;
        answer.read(|body| Deployment::decode(body, action, true))
    }

    /// The deployment that Hawkbit holds to be installed.
    pub async fn installed(&self, device: &DeviceId, action: ActionId, history: u32) -> Result<Deployment, DdiError> {
        let answer = self.get_action(device, "installedBase", action, history).await?;
        answer.read(|body| Deployment::decode(body, action, false))
    }

    /// A pending cancellation.
    pub async fn cancel(&self, device: &DeviceId, action: ActionId) -> Result<Cancel, DdiError> {
        let answer = self.get_action(device, "cancelAction", action, 0).await?;
        answer.read(|body| Cancel::decode(body, action))
    }

    /// Reports on a deployment. `Gone`: the action was over already, so that a last report need not be sent again.
    pub async fn feedback(&self, device: &DeviceId, feedback: &Feedback) -> Result<(), DdiError> {
        self.report(device, "deploymentBase", feedback).await
    }

    /// Answers a cancellation: closed with success accepts it, rejected refuses it.
    pub async fn cancel_feedback(&self, device: &DeviceId, feedback: &Feedback) -> Result<(), DdiError> {
        self.report(device, "cancelAction", feedback).await
    }

    /// Answers a deployment that waits for its confirmation.
    pub async fn confirm(&self, device: &DeviceId, action: ActionId, answer: &Confirmation) -> Result<(), DdiError> {
        let path = ["confirmationBase", &action.to_string(), "feedback"];
        let ask = Ask { body: Some(answer.encode()), ..self.ask(Method::POST, device, &path) };
        self.exchange.exchange(Ask { quota: Some((action, true)), ..ask }).await?;
        Ok(())
    }

    /// Lets Hawkbit confirm all deployments of a device by itself from now on.
    pub async fn auto_confirm(&self, device: &DeviceId, initiator: &str, remark: &str) -> Result<(), DdiError> {
        let body = encode(&AutoConfirm { initiator, remark });
        let ask = self.ask(Method::POST, device, &["confirmationBase", "activateAutoConfirm"]);
        supported("confirmations", self.exchange.exchange(Ask { body: Some(body), ..ask }).await)
    }

    /// Takes [`Ddi::auto_confirm`] back.
    pub async fn stop_auto_confirm(&self, device: &DeviceId) -> Result<(), DdiError> {
        let ask = self.ask(Method::POST, device, &["confirmationBase", "deactivateAutoConfirm"]);
        supported("confirmations", self.exchange.exchange(Ask { body: Some(b"{}".to_vec()), ..ask }).await)
    }

    /// Tells that a device has this distribution set without an action of Hawkbit's. `NotFound`: there is no such set.
    pub async fn set_installed(&self, device: &DeviceId, name: &str, version: &str) -> Result<(), DdiError> {
        let body = encode(&Installed { name, version });
        let ask = self.ask(Method::PUT, device, &["installedBase"]);
        supported("installedBase to write to", self.exchange.exchange(Ask { body: Some(body), ..ask }).await)
    }

    /// Tells what a device is like.
    pub async fn send_attributes(&self, device: &DeviceId, attributes: &Attributes) -> Result<(), DdiError> {
        let ask = self.ask(Method::PUT, device, &["configData"]);
        self.exchange.exchange(Ask { body: Some(attributes.encode()), ..ask }).await?;
        Ok(())
    }

    async fn get_action(
        &self,
        device: &DeviceId,
        kind: &str,
        action: ActionId,
        history: u32,
    ) -> Result<Answer, DdiError> {
        let mut ask = Ask { max: DEPLOYMENT_LEN_MAX, ..self.ask(Method::GET, device, &[kind, &action.to_string()]) };
        if history > 0 {
            ask.url.query_pairs_mut().append_pair("actionHistory", &history.to_string());
        }
        self.exchange.exchange(ask).await
    }

    async fn report(&self, device: &DeviceId, kind: &str, feedback: &Feedback) -> Result<(), DdiError> {
        let path = [kind, &feedback.action().to_string(), "feedback"];
        let ask = Ask { body: Some(feedback.encode()), ..self.ask(Method::POST, device, &path) };
        let quota = Some((feedback.action(), feedback.is_last()));
        self.exchange.exchange(Ask { quota, ..ask }).await?;
        Ok(())
    }

    fn ask<'a>(&self, method: Method, device: &'a DeviceId, path: &[&str]) -> Ask<'a> {
        let mut url = self.exchange.base().clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend([self.tenant.as_str(), "controller", "v1", device.as_str()]).extend(path);
        }
        Ask { method, url, device, tenant: self.tenant.clone(), etag: None, body: None, quota: None, max: 0 }
    }
}

/// 0.3.0M7 lacks some functions; the web server's own answers bear no error code of Hawkbit's.
fn supported(what: &'static str, answer: Result<Answer, DdiError>) -> Result<(), DdiError> {
    match answer {
        Ok(_) => Ok(()),
        Err(DdiError::NotFound { url, code: None, .. }) => Err(DdiError::Unsupported { what, url, status: 404 }),
        Err(DdiError::Refused { url, status: status @ (400 | 405), code: None, .. }) => {
            Err(DdiError::Unsupported { what, url, status })
        }
        Err(error) => Err(error),
    }
}
