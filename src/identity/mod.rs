//! Keys, certificates and trusted time.
