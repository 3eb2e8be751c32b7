//! The socket between the two halves of a device.
