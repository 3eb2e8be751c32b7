//! Newest announcement wins; reconciliation; carried reports.
