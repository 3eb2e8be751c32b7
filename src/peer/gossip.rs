//! Hints, broadcast by gossipsub among proven members.
