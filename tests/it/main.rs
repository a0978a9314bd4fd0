//! Every integration test in one binary, to link once.

mod batch;
mod broker;
mod client;
mod fuzz;
mod groups;
mod protocol;
mod tidy;
mod tools;
