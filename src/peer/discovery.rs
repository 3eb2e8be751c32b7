//! Members on the same link, found by DNS-SD.
