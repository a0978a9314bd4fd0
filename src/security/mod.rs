//! security: being built.
