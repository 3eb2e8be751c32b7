//! The rules of [`fullmetal_proto::steering`] carried out against a Hawkbit server.
//!
//! One thread with a runtime of its own asks and tells; answers come back as inputs. What it keeps is only what a
//! server's 304 stands for.

use crate::ddi::{
    ActionId, AttributeMode, Attributes, Base, Confirmation, Ddi, DdiError, Etag, Execution, Feedback, Finished, Pace,
    Polled, Random, SLEEP_DEFAULT, Verdict, mapping,
};
use crate::metrics::Requests;
use fullmetal::identity::Clock;
use fullmetal_proto::DeviceId;
use fullmetal_proto::steering::{Effect, Hold, Input, Message, Open, Order, Question, Reply, Stage};
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long to wait after a failure that may pass by itself, when the server named no time.
const RETRY: Duration = Duration::from_secs(10);
/// The same after one that a person has to mend.
const LASTING: Duration = Duration::from_secs(60);

/// What the server said.
#[derive(Debug)]
pub enum FromHawkbit {
    /// An input for the rules.
    Input(Box<Input>),
    /// It cannot be asked, for a person to know.
    Trouble(String),
}

/// What is known of one device from its last poll.
#[derive(Debug, Default)]
struct Memory {
    etag: Option<Etag>,
    base: Option<Base>,
}

/// The way to the server; clones share it.
#[derive(Clone, Debug)]
pub struct Hawkbit {
    effects: UnboundedSender<Effect>,
}

impl Hawkbit {
    /// Starts the thread; it ends when the last clone is dropped. Each request is counted in `requests`.
    ///
    /// # Errors
    /// When the system gives no thread or runtime.
    pub fn start<E>(
        ddi: Ddi,
        pace: Pace,
        clock: Clock,
        seed: u64,
        requests: Requests,
        events: Sender<E>,
    ) -> std::io::Result<Self>
    where
        E: From<FromHawkbit> + Send + 'static,
    {
        let (effects, inbox) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asker = Arc::new(Asker {
            ddi,
            pace,
            clock,
            requests,
            random: Mutex::new(Random::new(seed)),
            memory: Mutex::new(BTreeMap::new()),
        });
        std::thread::Builder::new()
            .name("hawkbit".into())
            .spawn(move || runtime.block_on(serve(asker, inbox, events)))?;
        Ok(Hawkbit { effects })
    }

    /// Hands over an effect of the rules that is for the server.
    pub fn carry_out(&self, effect: Effect) {
        let _ = self.effects.send(effect);
    }
}

async fn serve<E>(asker: Arc<Asker>, mut inbox: UnboundedReceiver<Effect>, events: Sender<E>)
where
    E: From<FromHawkbit> + Send + 'static,
{
    // At most one effect a device is under way; the client bounds how many requests are.
    while let Some(effect) = inbox.recv().await {
        let (asker, events) = (asker.clone(), events.clone());
        tokio::spawn(async move {
            let purpose = purpose(&effect);
            let (device, done) = match effect {
                Effect::Ask { device, question } => (device.clone(), asker.ask(&device, question).await),
                Effect::Tell { device, message } => (device.clone(), asker.tell(&device, message).await),
                Effect::Dispatch(_) => return,
            };
            asker.requests.count(purpose, done.as_ref().map_or_else(outcome, |_| "done"));
            let input = done.unwrap_or_else(|error| {
                let (reply, trouble) = judge(&error);
                tracing::debug!(%device, %error, "hawkbit");
                if trouble {
                    let _ = events.send(E::from(FromHawkbit::Trouble(error.to_string())));
                }
                Input::Replied { device, reply }
            });
            let _ = events.send(E::from(FromHawkbit::Input(Box::new(input))));
        });
    }
}

/// What a request is for, in a word.
fn purpose(effect: &Effect) -> &'static str {
    match effect {
        Effect::Ask { question: Question::Base, .. } => "poll",
        Effect::Ask { question: Question::Deployment(_), .. } => "deployment",
        Effect::Ask { question: Question::Cancel(_), .. } => "cancel",
        Effect::Tell { message: Message::Progress { .. }, .. } => "feedback",
        Effect::Tell { message: Message::CancelAccepted { .. } | Message::CancelRejected { .. }, .. } => {
            "cancel-feedback"
        }
        Effect::Tell { message: Message::Confirmation { .. }, .. } => "confirmation",
        Effect::Tell { message: Message::Attributes(_), .. } => "attributes",
        Effect::Dispatch(_) => "nothing",
    }
}

/// How a request failed, in a word.
fn outcome(error: &DdiError) -> &'static str {
    match error.verdict() {
        Verdict::Retry(_) => "later",
        Verdict::Lasting => "lasting",
        Verdict::Gone | Verdict::NotFound => "gone",
        Verdict::Quota(_) => "quota",
    }
}

/// What the rules make of an error, and whether a person should know.
fn judge(error: &DdiError) -> (Reply, bool) {
    match error.verdict() {
        // A web server on the way may say so too: neither what was told may be lost by it, nor what was assigned.
        Verdict::NotFound if !error.is_hawkbits_word() => (Reply::Unknown, true),
        Verdict::Retry(after) => (Reply::Later(after.unwrap_or(RETRY)), true),
        Verdict::Lasting => (Reply::Later(LASTING), true),
        Verdict::Gone | Verdict::NotFound => (Reply::Gone, false),
        Verdict::Quota(_) => (Reply::Quota, true),
    }
}

#[derive(Debug)]
struct Asker {
    ddi: Ddi,
    pace: Pace,
    clock: Clock,
    requests: Requests,
    random: Mutex<Random>,
    memory: Mutex<BTreeMap<DeviceId, Memory>>,
}

impl Asker {
    async fn ask(&self, device: &DeviceId, question: Question) -> Result<Input, DdiError> {
        match question {
            Question::Base => self.poll(device).await,
            Question::Deployment(action) => {
                let deployment = self.ddi.deployment(device, ActionId(action), 0).await?;
                let interval = self.pace.longest(self.sleep(device));
                let order = match mapping::map(device, &deployment, self.clock.now(), interval) {
                    Ok(decision) => Ok(Box::new(order(decision))),
                    Err(unusable) => Err(unusable.to_string()),
                };
                Ok(Input::Offered { device: device.clone(), action, order })
            }
            Question::Cancel(cancel) => {
                let asked = self.ddi.cancel(device, ActionId(cancel)).await?;
                Ok(Input::Cancelling { device: device.clone(), cancel, stops: asked.stop_id.0 })
            }
        }
    }

    async fn poll(&self, device: &DeviceId) -> Result<Input, DdiError> {
        let (first, etag) = self.with_memory(device, |m| (m.base.is_none(), m.base.as_ref().and(m.etag.clone())));
        let base = match self.ddi.poll(device, etag.as_ref()).await? {
            Polled::Unchanged => self.with_memory(device, |m| m.base.clone()),
            Polled::Base { base, etag } => self.with_memory(device, |m| {
                *m = Memory { etag, base: Some(base.clone()) };
                Some(base)
            }),
        };
        let Some(base) = base else {
            return Ok(Input::Replied { device: device.clone(), reply: Reply::Later(RETRY) });
        };
        let wait = if first { Pace::first } else { Pace::next };
        let next = wait(&self.pace, base.sleep, &mut self.random.lock().unwrap_or_else(PoisonError::into_inner));
        let open = match (base.cancel, base.confirmation, base.deployment) {
            (Some(cancel), ..) => Open::Cancel(cancel.0),
            (None, Some(action), _) => Open::Confirmation(action.0),
            (None, None, Some(action)) => Open::Deployment(action.0),
            (None, None, None) => Open::Nothing,
        };
        let (revision, wants_attributes) = (base.revision, base.wants_config_data);
        Ok(Input::Polled { device: device.clone(), open, revision, wants_attributes, next })
    }

    fn sleep(&self, device: &DeviceId) -> Duration {
        self.with_memory(device, |m| m.base.as_ref().map_or(SLEEP_DEFAULT, |b| b.sleep))
    }

    fn with_memory<T>(&self, device: &DeviceId, read: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        read(memory.entry(device.clone()).or_default())
    }

    async fn tell(&self, device: &DeviceId, message: Message) -> Result<Input, DdiError> {
        let now = self.clock.now();
        match message {
            Message::Progress { action, stage, done, details } => {
                let (execution, finished) = words(stage);
                let mut feedback = Feedback::new(ActionId(action), now, execution, finished).details(details);
                if let Some((done, of)) = done {
                    feedback = feedback.progress(done, of);
                }
                self.ddi.feedback(device, &feedback).await?;
            }
            Message::CancelAccepted { cancel } => {
                let feedback = Feedback::new(ActionId(cancel), now, Execution::Closed, Finished::Success);
                let feedback = feedback.details(["dropped before the switch; what ran before runs on"]);
                self.ddi.cancel_feedback(device, &feedback).await?;
            }
            Message::CancelRejected { cancel, reason } => {
                let feedback = Feedback::new(ActionId(cancel), now, Execution::Rejected, Finished::None);
                self.ddi.cancel_feedback(device, &feedback.details([reason])).await?;
            }
            Message::Confirmation { action, yes } => {
                let answer = if yes {
                    Confirmation::confirmed(["confirmed at the gateway"])
                } else {
                    Confirmation::denied(["denied at the gateway"])
                };
                self.ddi.confirm(device, ActionId(action), &answer).await?;
            }
            Message::Attributes(map) => {
                let attributes = Attributes::new(AttributeMode::Replace, map)?;
                self.ddi.send_attributes(device, &attributes).await?;
            }
        }
        Ok(Input::Replied { device: device.clone(), reply: Reply::Done })
    }
}

fn words(stage: Stage) -> (Execution, Finished) {
    match stage {
        Stage::Proceeding => (Execution::Proceeding, Finished::None),
        Stage::Download => (Execution::Download, Finished::None),
        Stage::Downloaded => (Execution::Downloaded, Finished::None),
        Stage::Succeeded => (Execution::Closed, Finished::Success),
        Stage::Failed => (Execution::Closed, Finished::Failure),
    }
}

fn order(decision: mapping::Decision) -> Order {
    let (order, hold) = match decision {
        mapping::Decision::Announce(order) => (order, None),
        // What waits for its confirmation is not offered as a deployment; should a server do so, nothing is announced.
        mapping::Decision::Hold { order, .. } => (order, Some(Hold::NoDownload)),
    };
    Order { wish: order.wish, final_when_staged: order.staged == mapping::Staged::Final, hold, notes: order.notes }
}
