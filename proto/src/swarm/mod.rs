//! Who fetches what from whom.
