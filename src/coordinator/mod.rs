//! coordinator: being built.
