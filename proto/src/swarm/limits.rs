//! Every number that bounds or paces the swarm.

use std::time::Duration;

/// The fewest peers that are elected to fetch from central.
pub const FETCHERS_MIN: usize = 2;
/// The most peers that are elected to fetch from central.
pub const FETCHERS_MAX: usize = 4;
/// One more fetcher is elected for every so many candidates.
pub const CANDIDATES_PER_FETCHER: usize = 16;
/// The most peers that are counted as fetching from central, of all manifests: the elected of two, such as an operating system and
/// an app that are fetched at once. Statuses are not signed, so that one member can make up any number of claims: whoever
/// shares the uplink by the count is then slowed down this much and no more.
pub const FETCHERS_COUNTED_MAX: usize = 2 * FETCHERS_MAX;

/// The most neighbouring frames in one Range request.
pub const RUN_FRAMES_MAX: u32 = 8;
/// The most bytes in one Range request, unless a single frame is longer.
pub const RUN_BYTES_MAX: u64 = 16 << 20;
/// How long a request to central should take by what was measured: who is slow claims little, and nobody waits long for it.
pub const RUN_TIME: Duration = Duration::from_secs(4);
/// A piece that came in less was not asked of central.
pub const MEASURED_MS_MIN: u64 = 5;
/// Who got no piece for so long is slow: others that are done fetch from central what it has not come to.
pub const SLOW: Duration = Duration::from_secs(6);
/// Who gets no piece in twice [`RUN_TIME`] while others get so many leaves central to them; of an uplink that all share evenly it
/// would be one of each.
pub const SLOW_PIECES: u64 = 2 * FETCHERS_MAX as u64;
/// Range requests at once of a peer that is the only candidate: the second hides a round trip.
pub const ORIGIN_TRANSFERS_ALONE_MAX: usize = 2;
/// Range requests at once of one of several fetchers: a killed one costs what is in flight.
pub const ORIGIN_TRANSFERS_MAX: usize = 1;

/// How long a claim holds without bytes.
pub const LEASE: Duration = Duration::from_millis(3000);
/// A lease with less than this left is renewed if bytes moved.
pub const LEASE_RENEW: Duration = Duration::from_millis(2000);
/// How slowly a long piece may come: a claim of one is believed for as long as that takes, if that is longer than
/// [`LEASE_WITHOUT_PIECE_MAX`]. Where the site's budget leaves a fetcher less, that counts.
pub const LEASE_BYTES_PER_S_MIN: u64 = 32 << 10;
/// How long a claim is believed although its holder finishes no piece.
pub const LEASE_WITHOUT_PIECE_MAX: Duration = Duration::from_secs(300);
/// How long a piece stays without holder or lease before the next rank takes it over.
pub const TAKEOVER: Duration = Duration::from_millis(3000);
/// How much later each further rank may take over.
pub const TAKEOVER_STEP: Duration = Duration::from_millis(1000);

/// How long views are given to agree before a peer goes to central.
pub const SETTLE: Duration = Duration::from_millis(400);
/// For how long a peer without a neighbour looks for one before it goes to central.
pub const SETTLE_ALONE: Duration = Duration::from_millis(3000);
/// The longest unbroken settling, however many candidates appear; as long as that it then stays off. Who is new
/// among others settles anew.
pub const SETTLE_MAX: Duration = Duration::from_millis(2000);

/// The least time between two updates to one neighbour.
pub const UPDATE: Duration = Duration::from_millis(100);
/// The least time between two updates about another peer's progress.
pub const FORWARD: Duration = Duration::from_millis(1000);
/// By how much [`FORWARD`] is at least stretched for each known peer.
pub const FORWARD_PER_PEER: Duration = Duration::from_millis(50);
/// How often a peer repeats its status while somebody lacks something; at least three times [`FORWARD`].
pub const RENEW: Duration = Duration::from_millis(3000);
/// A status that was not repeated for so many of its intervals is dropped.
pub const RENEWALS_MISSED_MAX: u32 = 4;
/// The same for a peer to which the connection was lost.
pub const RENEWALS_MISSED_LOST_MAX: u32 = 2;
/// The most bytes of statuses in one update; a single status may be longer.
pub const UPDATE_BYTES_MAX: usize = 128 << 10;
/// Bytes that a status takes besides its bitmaps.
pub const STATUS_BYTES: usize = 224;

/// How often slow conditions are looked at while somebody lacks something.
pub const TICK: Duration = Duration::from_millis(500);
/// A peer that got no piece for this long is helped: others relay what it lacks.
pub const RELAY: Duration = Duration::from_secs(5);
/// A peer that got no piece for this long is taken as proof that far copies of what it lacks cannot be had.
pub const FAR_COPY_DOUBT: Duration = Duration::from_secs(30);

/// Whoever lacks pieces seeks more neighbours that take part while it has fewer than this.
pub const COMPANY_WANTED: usize = 3;
/// How long neighbours are given to take part before others are sought, and how often others are.
pub const SEEK: Duration = Duration::from_millis(1500);
/// The most peers that are sought at a time.
pub const SOUGHT_MAX: usize = 16;

/// Requests at once to one neighbour.
pub const REQUESTS_PER_NEIGHBOUR_MAX: u32 = 4;
/// Requests at once to all neighbours.
pub const REQUESTS_MAX: usize = 12;
/// Bytes asked of all neighbours at once; two requests are always allowed.
pub const REQUEST_BYTES_MAX: u64 = 16 << 20;
/// How long what is asked of neighbours may take to come by what was measured: one whose port is slow gets piece after piece
/// instead of many at once, and nobody takes it for stuck.
pub const REQUEST_TIME: Duration = Duration::from_secs(4);
/// Over at least so long it is measured how fast pieces come from neighbours, unless none was asked for before.
pub const INFLOW: Duration = Duration::from_secs(1);
/// A neighbour that takes longer with a piece is late, if at the usual rate all that is asked for would have come twice meanwhile.
pub const LATE: Duration = Duration::from_secs(4);
/// A transfer without a byte for this long has failed.
pub const STALL: Duration = Duration::from_secs(10);

/// First pause after a neighbour said busy, and the longest.
pub const BUSY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// First pause after a neighbour had not what it promised, and the longest.
pub const NOT_HERE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How long a piece that a neighbour had not is not asked of it again, while it goes on saying that it has it.
pub const REFUSAL: Duration = Duration::from_secs(10);
/// First pause after a neighbour stalled, and the longest.
pub const STALLED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Copies at a neighbour that failed this often in a row no longer keep anybody from central.
pub const NEIGHBOUR_FAILURES_MAX: u32 = 4;
/// First pause after central could not be reached, and the longest; that grows while many fail.
pub const UNREACHABLE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Who fails at central after as many as are elected waits as long as if it had failed so often before.
pub const LATE_FAILURES: u32 = 6;
/// Pauses grow up to so many times while that many times as many fail as are elected.
pub const CROWD_MAX: u32 = 5;
/// After as many failed at central as are elected, one more tries after so long, and each further one after as long again,
pub const CENTRAL_AWAY: Duration = Duration::from_secs(30);
/// so often;
pub const CENTRAL_AWAY_STEPS: u32 = 19;
/// later ones follow sooner, so that who makes up failures holds nobody up for longer than a quarter of an hour.
pub const CENTRAL_AWAY_LATER: Duration = Duration::from_secs(3);
/// The most statuses that are kept only because they say that central gives them nothing.
pub const FAILING_MAX: usize = 16;
/// Central that lacks so many runs in a row is as good as away.
pub const MISSING_IN_A_ROW_MAX: u32 = 3;
/// First pause after central had not, or not rightly, what the manifest says, and the longest.
pub const MISSING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// How long the sender of bad bytes is banned.
pub const BAN: Duration = Duration::from_secs(600);

/// The most bans that are remembered.
pub const BANS_MAX: usize = 256;
/// The statuses of so many peers reach everybody, the first by the election's order. They stand for a larger fleet:
/// what all of it has and lacks, they have and lack.
pub const WITNESSES: usize = 32;
/// The most statuses that are kept for one manifest besides those of witnesses and neighbours: of peers that fetch from
/// central or are stuck.
pub const OTHERS_MAX: usize = 32;
/// The most manifests that one neighbour may bring up which nobody here wants.
pub const TABLES_PER_NEIGHBOUR_MAX: usize = 16;
/// The most manifests that nobody here wants.
pub const TABLES_MAX: usize = 64;
/// The most bytes of bitmaps in all statuses of others.
pub const BITMAP_BYTES_MAX: usize = 16 << 20;
/// By how much a status of an earlier life may be ahead of ours.
pub const SEQ_AHEAD_MAX: u64 = 1 << 32;
/// The largest sequence number of a status.
pub const SEQ_MAX: u64 = 1 << 53;
/// Aborted transfers whose late pieces are still welcome.
pub const LATE_TRANSFERS_MAX: usize = 64;
