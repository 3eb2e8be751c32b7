//! Drives `proto::deploy` on a device.
