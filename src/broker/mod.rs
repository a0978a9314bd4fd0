//! broker: being built.
