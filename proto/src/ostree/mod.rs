//! Bounded parsers for OSTree's objects.
