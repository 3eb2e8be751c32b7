//! One connected member: its control stream in both directions and its request streams.

use super::MembershipEvent;
use super::hub::Input;
use crate::peer::control::{ControlError, HELLO_LEN_MAX, read_control, write_message};
use fullmetal_proto::DeviceId;
use fullmetal_proto::membership::ConnectionId;
use fullmetal_proto::wire::transfer::{CONTROL_LEN_MAX, Control, Hello};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a neighbour may take to take a control message.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// What the task of one neighbour works with.
pub(super) struct Neighbour {
    pub(super) device: DeviceId,
    /// Which of the connections to this device.
    pub(super) id: ConnectionId,
    pub(super) connection: quinn::Connection,
    pub(super) send: quinn::SendStream,
    pub(super) recv: quinn::RecvStream,
    /// Said first, when we were dialed.
    pub(super) hello: Option<Hello>,
    pub(super) outbox: mpsc::Receiver<Control>,
    pub(super) events: mpsc::Sender<MembershipEvent>,
    pub(super) hub: mpsc::Sender<Input>,
}

/// Why a neighbour's task ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("control {0}")]
    Control(#[from] ControlError),
    #[error("it took no control message for {} s", WRITE_MAX.as_secs())]
    Slow,
    #[error("nobody listens here any more")]
    Unheard,
}

impl Neighbour {
    /// Runs until the connection ends, then says so to the hub.
    pub(super) async fn run(self) {
        let Neighbour { device, id, connection, mut send, mut recv, hello, mut outbox, events, hub } = self;
        let write = async {
            if let Some(hello) = hello {
                write_message(&mut send, &hello, HELLO_LEN_MAX).await?;
            }
            while let Some(message) = outbox.recv().await {
                let written = write_message(&mut send, &message, CONTROL_LEN_MAX);
                tokio::time::timeout(WRITE_MAX, written).await.map_err(|_| Ended::Slow)??;
            }
            Err::<(), Ended>(Ended::Unheard)
        };
        let read = async {
            loop {
                let message = read_control(&mut recv).await?;
                if let Control::Peers(peers) = message {
                    let input = Input::Peers { from: device.clone(), peers };
                    hub.send(input).await.map_err(|_| Ended::Unheard)?;
                    continue;
                }
                let event = MembershipEvent::Control { device: device.clone(), message };
                events.send(event).await.map_err(|_| Ended::Unheard)?;
            }
        };
        let serve = async {
            loop {
                let (send, recv) = connection.accept_bi().await?;
                let event = MembershipEvent::Request { device: device.clone(), send, recv };
                events.send(event).await.map_err(|_| Ended::Unheard)?;
            }
        };
        let ended: Result<(), Ended> = tokio::select! {
            ended = write => ended,
            ended = read => ended,
            ended = serve => ended,
        };
        let error = ended.err().unwrap_or(Ended::Unheard);
        // What closed the connection says more than the stream that broke by it.
        let reason = connection.close_reason().map_or_else(|| error.to_string(), |closed| closed.to_string());
        connection.close(super::CLOSE_ERROR, b"control stream ended");
        // The hub is gone only when everything ends.
        let _ = hub.send(Input::Ended { device, connection: id, reason }).await;
    }
}
