//! The decision for one request, step by step.
