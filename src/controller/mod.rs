//! controller: being built.
