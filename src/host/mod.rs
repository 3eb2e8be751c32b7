//! Runs applications.
