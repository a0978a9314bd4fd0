//! What the directories of a node say of themselves.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::config::NodeConfig;
use crate::common::properties;
use crate::common::uuid::Uuid;
use crate::storage::fs;
use crate::storage::meta_properties::META_PROPERTIES;
use crate::tools::exit::Exit;
use crate::tools::output::{Format, print_json};
use crate::tools::session::Session;

/// A `meta.properties` of either version; unlike the broker this also reads the one before KRaft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) version: i32,
    pub(super) cluster_id: Option<String>,
    pub(super) node_id: Option<i32>,
    pub(super) directory_id: Option<Uuid>,
}

impl Meta {
    /// Reads the file of a directory: `None` when there is none, else its content or why it cannot be read.
    pub(super) fn read(directory: &str) -> Option<Result<Meta, String>> {
        let path = Path::new(directory).join(META_PROPERTIES);
        let content = match fs::read_if_exists(&path) {
            Ok(content) => content?,
            Err(error) => return Some(Err(error.to_string())),
        };
        let text = String::from_utf8_lossy(&content);
        Some(properties::parse(&text).map_err(|error| error.to_string()).and_then(|properties| Meta::parse(&properties)))
    }

    fn parse(properties: &BTreeMap<String, String>) -> Result<Meta, String> {
        let version = properties.get("version").map_or("0", String::as_str);
        let version = match version.trim().parse::<i32>() {
            Ok(version @ 0..=1) => version,
            Ok(other) => return Err(format!("Unknown meta.properties version number {other}")),
            Err(_) => return Err(format!("Invalid meta.properties version string '{version}'")),
        };
        let node = if version == 0 { "broker.id" } else { "node.id" };
        let node_id = match properties.get(node) {
            Some(id) => Some(id.parse().map_err(|_| format!("Unable to read {node} as a base-10 number."))?),
            None if version == 0 => None,
            None => return Err(format!("Failed to find {node}")),
        };
        let directory_id = match properties.get("directory.id") {
            Some(id) => Some(id.parse().map_err(|error| format!("Unable to read directory.id as a Uuid: {error}"))?),
            None => None,
        };
        Ok(Meta { version, cluster_id: properties.get("cluster.id").cloned(), node_id, directory_id })
    }

    /// Sorted by name.
    fn properties(&self) -> BTreeMap<&'static str, String> {
        let mut properties = BTreeMap::from([("version", self.version.to_string())]);
        properties.extend(self.cluster_id.clone().map(|id| ("cluster.id", id)));
        properties.extend(self.node_id.map(|id| (if self.version == 0 { "broker.id" } else { "node.id" }, id.to_string())));
        properties.extend(self.directory_id.map(|id| ("directory.id", id.to_string())));
        properties
    }
}

pub(super) fn run(session: &mut Session, config: &NodeConfig) -> anyhow::Result<Exit> {
    let mut found: Vec<&str> = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    let mut first: Option<Meta> = None;
    for directory in &config.directories {
        let path = Path::new(directory);
        if !fs::is_dir(path) {
            problems.push(format!("{directory} {}", if fs::exists(path) { "is not a directory" } else { "does not exist" }));
            continue;
        }
        found.push(directory);
        match (Meta::read(directory), &first) {
            (None, _) => problems.push(format!("{directory} is not formatted.")),
            (Some(Err(reason)), _) => problems.push(format!("Error loading {}: {reason}", path.join(META_PROPERTIES).display())),
            (Some(Ok(meta)), None) => first = Some(meta),
            (Some(Ok(meta)), Some(first)) if meta.cluster_id != first.cluster_id => {
                problems.push("Mismatched cluster IDs between storage directories.".to_owned());
            }
            (Some(Ok(meta)), Some(first)) if meta.node_id != first.node_id => {
                problems.push("Mismatched node IDs between storage directories.".to_owned());
            }
            (Some(Ok(_)), Some(_)) => {}
        }
    }
    if first.as_ref().is_some_and(|meta| meta.version == 0) {
        problems.push(
            "The kafka configuration file appears to be for a cluster in KRaft mode, but the directories are formatted for legacy mode."
                .to_owned(),
        );
    }
    let exit = if problems.is_empty() { Exit::SUCCESS } else { Exit::FAILURE };
    let metadata = first.as_ref().map(Meta::properties);
    if session.format() == Format::Json {
        print_json(session, &json!({"directories": found, "metadata": metadata, "problems": problems}))?;
        return Ok(exit);
    }
    let out = &mut session.out;
    if !found.is_empty() {
        writeln!(out, "Found log {}:", if found.len() == 1 { "directory" } else { "directories" })?;
        for directory in found {
            writeln!(out, "  {directory}")?;
        }
        writeln!(out)?;
    }
    if let Some(metadata) = metadata {
        let pairs: Vec<String> = metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
        writeln!(out, "Found metadata: {{{}}}\n", pairs.join(", "))?;
    }
    if !problems.is_empty() {
        writeln!(out, "Found problem{}:", if problems.len() == 1 { "" } else { "s" })?;
        for problem in problems {
            writeln!(out, "  {problem}")?;
        }
        writeln!(out)?;
    }
    Ok(exit)
}
