//! Turns a directory into a signed, framed commit.
