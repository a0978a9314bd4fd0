//! `ottla complete topics|groups LINE`: the names that the completions of the shells offer, one a line.
//!
//! Invariant: it is quick or silent. An answer that does not come within [`LIMIT`] is replaced by what was known before, however old; errors
//! are never shown. The cluster is the one that LINE (what was typed so far) or the environment names.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::exit::Exit;
use super::session::{Session, runtime};
use super::{connect, consumer_groups};
use crate::client::admin::Admin;
use crate::client::{ClientConfig, ClientKind};
use crate::common::clock::{Clock, SystemClock};

/// Longer than this nobody waits for a completion.
const LIMIT: Duration = Duration::from_millis(500);
/// Names younger than this are not asked for again: pressing the key twice costs one request.
const FRESH_MS: i64 = 10_000;

pub(super) fn run(session: &mut Session, args: &[OsString]) -> anyhow::Result<Exit> {
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let [kind, line] = words[..] else { return Ok(Exit::FAILURE) };
    let Some(config) = config(session, line) else { return Ok(Exit::FAILURE) };
    let cache = Cache::of(session, kind, &connect::describe_servers(&config));
    let names = match cache.as_ref().and_then(Cache::fresh) {
        Some(names) => names,
        None => match ask(kind, &config) {
            Some(names) => {
                if let Some(cache) = &cache {
                    cache.store(&names);
                }
                names
            }
            None => cache.as_ref().and_then(Cache::any).unwrap_or_default(),
        },
    };
    for name in names {
        writeln!(session.out, "{name}")?;
    }
    Ok(Exit::SUCCESS)
}

/// The value of a flag in a line that is still being typed.
fn flag_value(line: &str, flag: &str) -> Option<String> {
    let mut words = line.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
    let mut found = None;
    while let Some(word) = words.next() {
        let Some(rest) = word.trim_start_matches('-').strip_prefix(flag).filter(|_| word.starts_with('-')) else { continue };
        match rest.strip_prefix('=') {
            Some(value) => found = Some(value.trim_matches(['"', '\'']).to_owned()),
            None if rest.is_empty() => found = words.next().map(str::to_owned),
            None => {}
        }
    }
    found.filter(|value| !value.is_empty())
}

fn config(session: &Session, line: &str) -> Option<ClientConfig> {
    let mut builder = ClientConfig::builder(ClientKind::Admin).environment(session.variable("KAFKA_BOOTSTRAP_SERVERS").map(str::to_owned));
    for flag in ["command-config", "consumer.config", "producer.config"] {
        if let Some(path) = flag_value(line, flag) {
            builder = builder.file(connect::read_properties(&path).ok()?);
        }
    }
    if let Some(servers) = flag_value(line, "bootstrap-server") {
        builder = builder.flag("bootstrap.servers", servers);
    }
    builder.build().ok()
}

/// The names that the cluster knows now; `None` when it does not say in time.
fn ask(kind: &str, config: &ClientConfig) -> Option<Vec<String>> {
    let asked = async {
        let admin = Admin::connect(config).await.ok()?;
        match kind {
            "topics" => Some(admin.list_topics().await.ok()?.into_iter().map(|topic| topic.name).collect()),
            "groups" => {
                let listed = admin.list_groups(&consumer_groups::consumer_groups()).await.ok()?;
                Some(listed.groups.into_iter().map(|group| group.group_id).collect())
            }
            _ => None,
        }
    };
    runtime().ok()?.block_on(async { tokio::time::timeout(LIMIT, asked).await.ok().flatten() })
}

/// The names of one kind in one cluster, in a file.
struct Cache {
    path: PathBuf,
}

impl Cache {
    fn of(session: &Session, kind: &str, servers: &str) -> Option<Cache> {
        let base = match session.variable("XDG_CACHE_HOME").filter(|dir| dir.starts_with('/')) {
            Some(dir) => PathBuf::from(dir),
            None => PathBuf::from(session.variable("HOME")?).join(".cache"),
        };
        // Any text, as a file's name.
        let servers: String = servers.chars().map(|c| if c.is_ascii_alphanumeric() || "-.,".contains(c) { c } else { '_' }).collect();
        Some(Cache { path: base.join("ottla").join(format!("{kind}-{servers:.100}")) })
    }

    fn fresh(&self) -> Option<Vec<String>> {
        let modified = fs::metadata(&self.path).ok()?.modified().ok()?;
        let modified_ms = modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as i64;
        let age_ms = SystemClock::new().now_ms() - modified_ms;
        if (0..FRESH_MS).contains(&age_ms) { self.any() } else { None }
    }

    fn any(&self) -> Option<Vec<String>> {
        Some(fs::read_to_string(&self.path).ok()?.lines().map(str::to_owned).collect())
    }

    /// Replaces the file; names are nobody else's business, so only its owner may read it.
    fn store(&self, names: &[String]) {
        let Some(dir) = self.path.parent() else { return };
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(dir)?;
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            for name in names {
                writeln!(file, "{name}")?;
            }
            file.persist(&self.path)?;
            Ok(())
        };
        // Without a cache it only takes longer.
        let _ = write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_in_half_a_line() {
        let line = "kafka-topics --describe -bootstrap-server 'a:1' --command-config=\"x.properties\" --topic or";
        assert_eq!(flag_value(line, "bootstrap-server").as_deref(), Some("a:1"));
        assert_eq!(flag_value(line, "command-config").as_deref(), Some("x.properties"));
        assert_eq!(flag_value(line, "consumer.config"), None);
        assert_eq!(flag_value("kafka-topics --bootstrap-server ", "bootstrap-server"), None);
    }
}
