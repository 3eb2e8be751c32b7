//! Figures for Prometheus, on this host only: `GET /metrics` at `[gateway] metrics`.
//!
//! The text is OpenMetrics 1.0, made of the same status that `fullmetal-gateway status` prints, so the two never disagree.

mod figures;
mod server;

pub use figures::Requests;
pub use server::{MetricsError, start};
