//! What a node's properties say of its directories and of its quorum.
//!
//! Source: `KafkaConfig`, as far as `StorageTool` asks it; the texts of its refusals.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use crate::common::properties;
use crate::metadata::config::{self, ConfigValue, ConfigValues};
use crate::tools::exit::Failure;

/// The properties that matter here.
#[derive(Clone, Debug)]
pub(super) struct NodeConfig {
    pub(super) node_id: i32,
    pub(super) is_controller: bool,
    /// Sorted, the metadata log's directory among them.
    pub(super) directories: Vec<String>,
    pub(super) metadata_log_dir: String,
    pub(super) controller_listener_names: Vec<String>,
    /// `controller.quorum.voters` is set.
    pub(super) has_static_voters: bool,
    pub(super) unstable_features: bool,
    /// Where the node's controller can be reached: host and port.
    pub(super) controller_address: Option<(String, u16)>,
}

impl NodeConfig {
    pub(super) fn read(path: &Path) -> anyhow::Result<NodeConfig> {
        let name = || path.display().to_string();
        let text = std::fs::read(path).with_context(name)?;
        let text = String::from_utf8(text).map_err(|_| Failure::new(format!("{} is not UTF-8", name())))?;
        let properties = properties::parse(&text).with_context(name)?;
        Ok(NodeConfig::from_properties(&properties)?)
    }

    fn from_properties(properties: &BTreeMap<String, String>) -> Result<NodeConfig, Failure> {
        for (name, other) in [("process.roles", "process.roles"), ("node.id", "broker.id")] {
            if ![name, other].iter().any(|name| properties.contains_key(*name)) {
                return Err(Failure::new(format!("Missing required configuration \"{name}\" which has no default value.")));
            }
        }
        let values = config::broker().parse(properties).map_err(|error| Failure::new(error.to_string()))?;
        let list = |name: &str| values.get(name).and_then(ConfigValue::as_list).map(<[String]>::to_vec).unwrap_or_default();
        let text = |name: &str| values.get(name).and_then(ConfigValue::as_str).map(str::to_owned);
        let roles = list("process.roles");
        let is_controller = roles.iter().any(|role| role == "controller");
        let log_dirs = Some(list("log.dirs")).filter(|dirs| !dirs.is_empty()).unwrap_or_else(|| list("log.dir"));
        let metadata_log_dir = text("metadata.log.dir").or_else(|| log_dirs.first().cloned()).unwrap_or_default();
        let mut directories = log_dirs;
        directories.push(metadata_log_dir.clone());
        directories.sort();
        directories.dedup();
        let has_static_voters = !list("controller.quorum.voters").is_empty();
        if !has_static_voters && list("controller.quorum.bootstrap.servers").is_empty() {
            return Err(Failure::new(
                "If using process.roles, either controller.quorum.bootstrap.servers must contain the set of bootstrap controllers or \
                 controller.quorum.voters must contain a parseable set of controllers.",
            ));
        }
        let controller_listener_names = list("controller.listener.names");
        let controller_address = controller_address(&values, &controller_listener_names)?;
        if is_controller && controller_address.is_none() {
            return Err(Failure::new(
                "controller.listener.names must contain at least one value appearing in the 'listeners' configuration when running the \
                 KRaft controller role",
            ));
        }
        let node_id = values.get(if properties.contains_key("node.id") { "node.id" } else { "broker.id" }).and_then(ConfigValue::as_i32);
        Ok(NodeConfig {
            node_id: node_id.unwrap_or(-1),
            is_controller,
            directories,
            metadata_log_dir,
            controller_listener_names,
            has_static_voters,
            unstable_features: values.get("unstable.feature.versions.enable").and_then(ConfigValue::as_bool).unwrap_or_default(),
            controller_address,
        })
    }
}

/// Name, host and port of `NAME://HOST:PORT`.
fn listener(text: &str) -> Option<(&str, &str, &str)> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    Some((name, host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// The address that is told of the node's first controller listener.
fn controller_address(values: &ConfigValues, names: &[String]) -> Result<Option<(String, u16)>, Failure> {
    let list = |name: &str| values.get(name).and_then(ConfigValue::as_list).map(<[String]>::to_vec).unwrap_or_default();
    let Some(controller) = names.first() else { return Ok(None) };
    for setting in ["advertised.listeners", "listeners"] {
        for text in list(setting) {
            let malformed = || Failure::new(format!("Unable to parse {text} to a broker endpoint"));
            let (name, host, port) = listener(&text).ok_or_else(malformed)?;
            if !name.eq_ignore_ascii_case(controller) {
                continue;
            }
            let host = if host.is_empty() || host == "0.0.0.0" { "localhost" } else { host };
            return Ok(Some((host.to_owned(), port.parse().map_err(|_| malformed())?)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(lines: &[(&str, &str)]) -> Result<NodeConfig, String> {
        let mut properties: BTreeMap<String, String> = [
            ("process.roles", "broker,controller"),
            ("node.id", "1"),
            ("controller.quorum.bootstrap.servers", "localhost:9093"),
            ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
            ("controller.listener.names", "CONTROLLER"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        for (name, value) in lines {
            match value.is_empty() {
                true => drop(properties.remove(*name)),
                false => drop(properties.insert(name.to_string(), value.to_string())),
            }
        }
        NodeConfig::from_properties(&properties).map_err(|error| error.to_string())
    }

    #[test]
    fn directories_are_sorted_and_hold_the_metadata() {
        let config = parsed(&[("log.dirs", "/b,/a"), ("metadata.log.dir", "/m")]).expect("parsed");
        assert_eq!(config.directories, ["/a", "/b", "/m"]);
        assert_eq!(config.metadata_log_dir, "/m");
        assert_eq!(parsed(&[("log.dirs", "/b,/a")]).expect("parsed").metadata_log_dir, "/b");
        assert_eq!(config.controller_address, Some(("localhost".to_owned(), 9093)));
    }

    #[test]
    fn an_advertised_controller_comes_first() {
        let advertised = "PLAINTEXT://h:1,CONTROLLER://[::1]:7";
        assert_eq!(parsed(&[("advertised.listeners", advertised)]).expect("parsed").controller_address, Some(("::1".to_owned(), 7)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parsed(&[("process.roles", "")]).expect_err("refused");
        assert_eq!(error, "Missing required configuration \"process.roles\" which has no default value.");
        assert!(parsed(&[("controller.quorum.bootstrap.servers", "")]).is_err());
        assert!(parsed(&[("listeners", "PLAINTEXT://:9092")]).expect_err("refused").starts_with("controller.listener.names must contain"));
        assert!(parsed(&[("node.id", "x")]).is_err());
    }
}
