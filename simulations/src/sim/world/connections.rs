//! All connections that there ever were, by number: the two ends of one lie side by side, and both are looked at with
//! each message, while its nodes lie far apart.

use super::event::NodeId;

/// All connections.
#[derive(Debug, Default)]
pub struct Connections(Vec<Connection>);

#[derive(Debug)]
struct Connection {
    dialer: End,
    listener: End,
}

#[derive(Debug)]
struct End {
    node: NodeId,
    is_open: bool,
}

impl Connections {
    /// A new connection whose ends are not open yet; gives its number, from 1 on.
    pub fn begin(&mut self, dialer: NodeId, listener: NodeId) -> u64 {
        let [dialer, listener] = [dialer, listener].map(|node| End { node, is_open: false });
        self.0.push(Connection { dialer, listener });
        self.0.len() as u64
    }

    /// A node opens or closes its end of a connection.
    pub fn set_open(&mut self, serial: u64, node: NodeId, is_open: bool) {
        let Some(connection) = self.0.get_mut((serial as usize).wrapping_sub(1)) else { return };
        let ends = [&mut connection.dialer, &mut connection.listener];
        ends.into_iter().filter(|end| end.node == node).for_each(|end| end.is_open = is_open);
    }

    /// Whether this connection joins a node to another, and the node's end is open.
    pub fn is_open(&self, serial: u64, node: NodeId, other: NodeId) -> bool {
        let Some(Connection { dialer, listener }) = self.0.get((serial as usize).wrapping_sub(1)) else { return false };
        let is_this = |near: &End, far: &End| near.node == node && far.node == other && near.is_open;
        is_this(dialer, listener) || is_this(listener, dialer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_opens_and_closes_by_itself() {
        let mut connections = Connections::default();
        let serial = connections.begin(3, 4);
        assert_eq!(serial, 1);
        connections.set_open(serial, 4, true);
        assert!(connections.is_open(serial, 4, 3) && !connections.is_open(serial, 3, 4));
        assert!(!connections.is_open(serial, 4, 5) && !connections.is_open(0, 4, 3) && !connections.is_open(2, 4, 3));
        connections.set_open(serial, 3, true);
        connections.set_open(serial, 4, false);
        assert!(connections.is_open(serial, 3, 4) && !connections.is_open(serial, 4, 3));
    }
}
