//! Every integration test in one binary, to link once.

mod batch;
mod broker;
mod client;
mod exactly_once;
mod fuzz;
mod groups;
mod protocol;
mod share_groups;
mod streams;
mod tidy;
mod tools;
