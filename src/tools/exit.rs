//! How a tool ends: its exit code, and the two kinds of failure that have a message of their own.
//!
//! Invariant: only `src/bin` turns an [`Exit`] into the process's end; nothing here or in a tool calls `process::exit`.
//! Invariant: a reader that closed the pipe (`kafka-topics --list | head -1`) is a success without a word.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// A process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Everything was done.
    pub const SUCCESS: Exit = Exit(0);
    /// Something failed, if only one item of many.
    pub const FAILURE: Exit = Exit(1);
    /// Ended by Ctrl-C: 128 and the signal's number.
    pub const INTERRUPTED: Exit = Exit(130);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}

/// A mistake in the arguments. Its text is Kafka's where Kafka has one; the pointer to `--help` is added when it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage(pub(crate) String);

impl Usage {
    pub(crate) fn new(message: impl Into<String>) -> Usage {
        Usage(message.into())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A failure at work: what happened, and what to do next where something is known to help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// The next step, in one clause.
    pub(crate) advice: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), advice: None }
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Failure {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Did the reader of standard output go away?
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

/// An error and its causes on one line; a cause that the text before it already says is left out.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().replace('\n', " ");
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_joined_once() {
        let error = Err::<(), _>(io::Error::other("disk on fire")).context("cannot read x").unwrap_err();
        assert_eq!(one_line(&error), "cannot read x: disk on fire");
        let said = Err::<(), _>(io::Error::other("disk on fire")).context("x: disk on fire").unwrap_err();
        assert_eq!(one_line(&said), "x: disk on fire");
    }

    #[test]
    fn a_closed_pipe_is_found_below_its_context() {
        let error = Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing").unwrap_err();
        assert!(is_broken_pipe(&error));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }
}
