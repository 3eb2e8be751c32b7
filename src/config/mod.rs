//! Configuration fragments, merged and validated.
