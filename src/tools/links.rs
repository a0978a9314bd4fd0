//! `ottla links DIR`: links named as Kafka's tools, each of which is this executable (it looks at the name it is called by).

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::{Arg, Command, ValueHint};

use super::TOOLS;
use super::exit::{Exit, Usage};
use super::session::Session;

/// The arguments of `ottla links`.
pub(super) fn command() -> Command {
    Command::new("links")
        .about("Make links named as Kafka's tools in a directory")
        .arg(Arg::new("dir").required(true).value_name("DIR").value_hint(ValueHint::DirPath).help("The directory, made if it is not there"))
}

/// Makes the links. What is there already is replaced only if it is a link.
pub(crate) fn run(session: &mut Session, args: &[OsString]) -> anyhow::Result<Exit> {
    let [dir] = args else { return Err(Usage::new("links takes one argument: the directory to make the links in").into()) };
    let target = std::env::current_exe().context("cannot find this executable")?;
    let dir = Path::new(dir);
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for tool in TOOLS {
        let link = dir.join(tool.name);
        match fs::symlink_metadata(&link) {
            Ok(there) if there.is_symlink() => fs::remove_file(&link).with_context(|| format!("cannot replace {}", link.display()))?,
            Ok(_) => anyhow::bail!("{} exists and is no link", link.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot look at {}", link.display())),
        }
        symlink(&target, &link).with_context(|| format!("cannot link {}", link.display()))?;
        writeln!(session.out, "{}", link.display())?;
    }
    Ok(Exit::SUCCESS)
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(target, link)
}
