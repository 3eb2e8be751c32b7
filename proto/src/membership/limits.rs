//! Every number that bounds or paces who is a neighbour.

use crate::wire::transfer::PEERS_MAX;
use std::time::Duration;

/// As many neighbours are looked for.
pub const NEIGHBOURS_WANTED: usize = 4;
/// The most neighbours that were dialed by us.
pub const DIALED_MAX: usize = 6;
/// The most neighbours that dialed us.
pub const ACCEPTED_MAX: usize = 10;
/// The most neighbours: one that is being left may have its successor already.
pub const NEIGHBOURS_MAX: usize = DIALED_MAX + 1 + ACCEPTED_MAX;

/// Dials at a time that are not slow, and dials in one [`ROUND`].
pub const DIALS_MAX: usize = 3;
/// A dial that has no answer after this is no longer waited for: others are dialed besides. A handshake in a LAN takes
/// a few milliseconds, and who has just started with neighbours that are off goes to central after three seconds.
pub const DIAL_SLOW: Duration = Duration::from_millis(200);
/// From the first dial of a round to the next round while too few neighbours are there: this up to half as long again.
pub const ROUND: Duration = Duration::from_millis(200);
/// So often one more is dialed, however many neighbours there are, and one of them is told of others: halves of a
/// fleet that grew up apart become one. Each time up to a quarter sooner or later.
pub const SHUFFLE: Duration = Duration::from_secs(300);
/// Whoever has more neighbours after a dial leaves some: degrees, and so idle traffic, stay small.
pub const NEIGHBOURS_ENOUGH: usize = 8;
/// As many are left after one dial: two, so that those whom many dial have few that they dialed.
pub const LEFT_MAX: usize = 2;
/// A younger neighbour is not left.
pub const STAYS_MIN: Duration = Duration::from_secs(60);
/// A beacon dials a stranger that discovery found after this up to twice as long, one at a time, however many
/// neighbours it has: parts of a fleet that never met meet by their beacons.
pub const STRANGER: Duration = Duration::from_secs(30);

/// Connections younger than this came of both sides dialing at once.
pub const SETTLED: Duration = Duration::from_secs(5);
/// How long somebody that is full is left in peace.
pub const POSTPONE_FULL: Duration = Duration::from_secs(60);
/// How long a neighbour that was lost is not dialed; up to twice as long.
pub const POSTPONE_LOST: Duration = Duration::from_secs(1);

/// How often [`Input::Traffic`](super::Input::Traffic) is to be said of each neighbour.
pub const LOOK: Duration = Duration::from_secs(1);
/// A neighbour of which nothing comes for so long after something was sent is given up. Generous: a full queue before a
/// link of 128 kbit/s, or a processor that others use, takes seconds.
pub const UNANSWERED: Duration = Duration::from_secs(15);
/// At so many looks more must have been sent in that time.
pub const UNANSWERED_LOOKS: u32 = 3;
/// How long such a neighbour is not dialed; up to twice as long.
pub const POSTPONE_SILENT: Duration = Duration::from_secs(5);

/// After a sought member that was not there the next is dialed after this at the latest.
pub const SEEK_BACK_OFF_MAX: Duration = Duration::from_secs(15);
/// A neighbour that was sought, or would be, is not left for another before this.
pub const SOUGHT_STAYS: Duration = Duration::from_secs(300);

/// Neighbours with which discovery is not needed any more.
pub const DISCOVERED_ENOUGH: usize = 3;
/// Members with the lowest ids that can always be discovered.
pub const BEACONS: usize = 3;
/// Whom a peer discovers so soon after its start is no stranger: a fleet that is switched on is full of them.
pub const YOUNG: Duration = Duration::from_secs(120);

/// Discovery is neither started nor stopped more often.
pub const DISCOVERY_MIN: Duration = Duration::from_secs(30);
/// Discovery begins anew after this, since it asks ever more rarely (RFC 6762, section 5.2): with few neighbours, and
/// on beacons that have enough.
pub const DISCOVERY_AGAIN_FEW: Duration = Duration::from_secs(60);
/// See [`DISCOVERY_AGAIN_FEW`].
pub const DISCOVERY_AGAIN: Duration = Duration::from_secs(300);

/// The most addresses that were only heard of; a new one takes the place of the most tried.
pub const HEARD_MAX: usize = 128;
/// The most of them that one teller put there: of more, its own give way.
pub const HEARD_OF_ONE_MAX: usize = 2 * PEERS_MAX;
/// As many of them count when an address to dial is drawn.
pub const HEARD_OF_ONE_WEIGHT: usize = 8;
/// The most addresses of proven members; the longest unseen gives way. As many are remembered.
pub const PROVEN_MAX: usize = 256;
/// Tries after which an address that never proved a member is dropped.
pub const TRIES_MAX: u32 = 6;
/// The longest wait between two tries.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// The same for addresses that failed [`TRIES_MAX`] times.
pub const BACK_OFF_LONG: Duration = Duration::from_secs(300);
/// Who is discovered is dialed no later than this after it, though it did not answer before.
pub const FOUND_AGAIN: Duration = Duration::from_secs(60);
/// How often known members are written down, if they changed.
pub const SAVE: Duration = Duration::from_secs(5);

/// Devices that are banned at a time; of more, the one whose ban ends first is let go.
pub const BANS_MAX: usize = 1024;
