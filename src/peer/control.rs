//! Length-prefixed CBOR messages on quinn streams.
