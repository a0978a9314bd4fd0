//! Every integration test in one binary, to link once.

mod batch;
mod fuzz;
mod protocol;
mod tidy;
