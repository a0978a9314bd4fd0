//! Every integration test in one binary, to link once.

mod batch;
mod protocol;
mod tidy;
