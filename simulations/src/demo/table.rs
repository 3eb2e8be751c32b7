//! The table at the end.

use super::tell::mb;

/// One device's row.
pub struct Row {
    /// Its id.
    pub device: String,
    /// What its app says over HTTP.
    pub version: String,
    /// How its last action ended.
    pub state: String,
    /// Piece bytes from neighbours, both releases.
    pub from_peers: u64,
    /// Piece bytes from central, both releases.
    pub from_central: u64,
    /// Seconds from each decision to its end, joined.
    pub seconds: String,
}

/// Prints the rows in columns.
pub fn print(rows: &[Row]) {
    let head = ("device", "version", "state", "from peers", "from central");
    println!("\n  {:<13} {:<9} {:<22} {:>12} {:>13}  seconds", head.0, head.1, head.2, head.3, head.4);
    for row in rows {
        println!(
            "  {:<13} {:<9} {:<22} {:>12} {:>13}  {}",
            row.device,
            row.version,
            row.state,
            mb(row.from_peers),
            mb(row.from_central),
            row.seconds
        );
    }
}
