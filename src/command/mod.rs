//! The commands of the `fullmetal` program.

pub mod supervise;
