//! Stage, switch, probation, keep or roll back.
