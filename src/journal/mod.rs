//! The durable record of a deployment.
