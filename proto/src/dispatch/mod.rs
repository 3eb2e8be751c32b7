//! Decisions, counters, report spool.
