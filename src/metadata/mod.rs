//! metadata: being built.
