//! Report to conditions.
