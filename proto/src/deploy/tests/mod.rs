//! Tests of the machine and its record.
