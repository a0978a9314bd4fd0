//! Formatting the directories of a node.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::config::NodeConfig;
use super::features::release;
use super::info::Meta;
use super::scram;
use crate::common::clock::{Clock, SystemClock};
use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::metadata::features::{FEATURES, KRAFT_VERSION, LATEST_METADATA_VERSION, METADATA_VERSION, MetadataVersion};
use crate::metadata::format::{Formatting, NewDirectory};
use crate::metadata::record::{MetadataRecord, VersionedRecord};
use crate::protocol::messages::FeatureLevelRecord;
use crate::raft::voters::{ReplicaKey, Voter, VoterEndpoint, VoterSet};
use crate::tools::args::Options;
use crate::tools::exit::{Exit, Failure, Usage};
use crate::tools::output::{Format, print_json};
use crate::tools::session::Session;

fn fail<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(text))
}

pub(super) fn run(session: &mut Session, options: &Options, config: &NodeConfig) -> anyhow::Result<Exit> {
    let exclusive = ["standalone", "no-initial-controllers", "initial-controllers"];
    if let [first, second, ..] = exclusive.iter().filter(|name| options.has(name)).collect::<Vec<_>>()[..] {
        return Err(Usage(format!("argument --{second}: not allowed with argument --{first}")).into());
    }
    let mut random = Random::from_entropy();
    let cluster_id = options.last("cluster-id").unwrap_or_default().to_owned();
    let asked_release = options.last("release-version").map(|text| release(text, config.unstable_features)).transpose()?;
    let asked_levels = levels(&options.values("feature"))?;
    let voters = voters(options, config, &mut random)?;
    let version = effective_release(asked_release, &asked_levels, config.unstable_features)?;
    let levels = effective_levels(version, asked_levels, !config.has_static_voters)?;
    let bootstrap = bootstrap_records(version, &levels, &options.values("add-scram"), &mut random)?;

    let states = Directories::look(config);
    states.verify(&cluster_id, config.node_id)?;
    if let Some((formatted, _)) = states.formatted.first()
        && !options.has("ignore-formatted")
    {
        return Err(Failure::new(format!(
            "Log directory {formatted} is already formatted. Use --ignore-formatted to ignore this directory and format the others."
        ))
        .into());
    }
    let is_json = session.format() == Format::Json;
    for (directory, _) in states.unreadable.iter().filter(|_| !is_json) {
        writeln!(session.out, "I/O error trying to read log directory {directory}. Ignoring...")?;
    }
    if states.new.is_empty() && states.formatted.is_empty() {
        return Err(Failure::new("No available log directories to format.").into());
    }
    if states.new.is_empty() {
        match is_json {
            true => print_json(session, &json!({"formatted": []}))?,
            false => writeln!(session.out, "All of the log directories are already formatted.")?,
        }
        return Ok(Exit::SUCCESS);
    }
    let directories: Vec<NewDirectory> = in_javas_order(states.new)
        .into_iter()
        .map(|path| {
            let is_metadata = path == config.metadata_log_dir;
            let voter = voters.as_ref().filter(|_| is_metadata).and_then(|voters| voters.get(config.node_id));
            let id = voter.map_or_else(|| Uuid::random(&mut random), |voter| voter.key.directory_id);
            NewDirectory { path: PathBuf::from(path), id, is_metadata }
        })
        .collect();
    let version_name = version.name_of_any().unwrap_or_default();
    if !is_json {
        writeln!(session.out, "Bootstrap metadata: {}", bootstrap_text(&bootstrap, version))?;
        for directory in &directories {
            let kind = match (&voters, directory.is_metadata) {
                (_, false) => "data directory",
                (None, true) => "metadata directory",
                (Some(voters), true) if voters.get(config.node_id).is_some() => "dynamic metadata voter directory",
                (Some(_), true) => "dynamic metadata directory",
            };
            writeln!(session.out, "Formatting {kind} {} with {METADATA_VERSION} {version_name}.", directory.path.display())?;
        }
    }
    let kraft_version = levels.get(KRAFT_VERSION).copied().unwrap_or_default();
    let now_ms = SystemClock::new().now_ms();
    Formatting { cluster_id, node_id: config.node_id, bootstrap, kraft_version, voters, now_ms }.write(&directories)?;
    if is_json {
        let formatted: Vec<_> = directories
            .iter()
            .map(|directory| json!({"directory": directory.path, "directoryId": directory.id.to_string(), "metadata": directory.is_metadata}))
            .collect();
        print_json(session, &json!({"formatted": formatted, "metadataVersion": version_name, "features": levels}))?;
    }
    Ok(Exit::SUCCESS)
}

/// The levels that `--feature` asks for, by name; the last one counts.
fn levels(arguments: &[&str]) -> Result<BTreeMap<String, i16>, Failure> {
    let parse = |argument: &&str| {
        let Some((name, level)) = argument.split_once('=') else {
            return fail(format!("Can't parse feature=level string {argument}: equals sign not found."));
        };
        let (name, level) = (name.trim(), level.trim());
        match level.parse() {
            Ok(level) => Ok((name.to_owned(), level)),
            Err(_) => fail(format!("Can't parse feature=level string {argument}: unable to parse {level} as a short.")),
        }
    };
    arguments.iter().map(parse).collect()
}

/// The voters that the metadata log starts with, as the flags have them.
fn voters(options: &Options, config: &NodeConfig, random: &mut Random) -> Result<Option<VoterSet>, Failure> {
    let given = options.last("initial-controllers").filter(|_| options.has("initial-controllers"));
    if config.has_static_voters && (given.is_some() || options.has("standalone")) {
        return fail(
            "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. If you want to \
             use dynamic quorum, please remove controller.quorum.voters and specify controller.quorum.bootstrap.servers instead.",
        );
    }
    let listener = config.controller_listener_names.first().cloned().unwrap_or_default();
    let voter = |id, directory_id, host, port| Voter {
        key: ReplicaKey { id, directory_id },
        endpoints: vec![VoterEndpoint { name: listener.clone(), host, port }],
        kraft_versions: (0, 1),
    };
    if let Some(text) = given {
        let mut voters = VoterSet::default();
        for text in text.trim().split(',').filter(|text| !text.is_empty()) {
            let (id, host, port, directory_id) = dynamic_voter(text.trim()).map_err(Failure::new)?;
            if voters.get(id).is_some() {
                return fail(format!("Node id {id} was specified more than once."));
            }
            voters.insert(voter(id, directory_id, host, port));
        }
        return if voters.is_empty() { fail("No voters given.") } else { Ok(Some(voters)) };
    }
    if options.has("standalone") {
        if !config.is_controller {
            return fail("You can only use --standalone on a controller.");
        }
        let Some((host, port)) = config.controller_address.clone() else { return fail("No controller listeners found.") };
        return Ok(Some(VoterSet::new([voter(config.node_id, Uuid::random(random), host, port)])));
    }
    if config.is_controller && !config.has_static_voters && !options.has("no-initial-controllers") {
        return fail(
            "Because controller.quorum.voters is not set on this controller, you must specify one of the following: --standalone, \
             --initial-controllers, or --no-initial-controllers.",
        );
    }
    Ok(None)
}

/// Takes `ID@HOST:PORT:DIRECTORY` apart. Source: `DynamicVoter.parse`.
fn dynamic_voter(text: &str) -> Result<(i32, String, u16, Uuid), String> {
    let (id, rest) = text.split_once('@').ok_or("No @ found in dynamic voter string.")?;
    if id.is_empty() {
        return Err("Invalid @ at beginning of dynamic voter string.".to_owned());
    }
    let id: i32 = id.parse().map_err(|_| "Failed to parse node id in dynamic voter string.")?;
    if id < 0 {
        return Err(format!("Invalid negative node id {id} in dynamic voter string."));
    }
    if rest.is_empty() {
        return Err("No hostname found after node id.".to_owned());
    }
    let (host, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("Hostname began with left bracket, but no right bracket was found.")?,
        None => rest.split_at(rest.find(':').ok_or("No colon following hostname could be found.")?),
    };
    let rest = rest.strip_prefix(':').ok_or("Port section must start with a colon.")?;
    let (port, directory) = rest.split_once(':').ok_or("No colon following port could be found.")?;
    let port: i32 = port.parse().map_err(|_| "Failed to parse port in dynamic voter string.")?;
    let port = u16::try_from(port).map_err(|_| format!("Invalid port {port} in dynamic voter string."))?;
    let directory = directory.parse().map_err(|_| "Failed to parse directory ID in dynamic voter string.")?;
    Ok((id, host.to_owned(), port, directory))
}

fn effective_release(asked: Option<MetadataVersion>, levels: &BTreeMap<String, i16>, unstable: bool) -> Result<MetadataVersion, Failure> {
    let newest = MetadataVersion::all().map(|(level, _)| level).last().unwrap_or(LATEST_METADATA_VERSION);
    let version = match (levels.get(METADATA_VERSION), asked) {
        (Some(_), Some(_)) => {
            return fail(format!("Use --release-version instead of --feature {METADATA_VERSION}=X to avoid ambiguity."));
        }
        (Some(&level), None) if MetadataVersion(level).name_of_any().is_some() => MetadataVersion(level),
        (Some(level), None) => {
            return fail(format!("No MetadataVersion with feature level {level}. Valid feature levels are from 7 to {}.", newest.0));
        }
        (None, Some(version)) => version,
        (None, None) if unstable => newest,
        (None, None) => LATEST_METADATA_VERSION,
    };
    if version > LATEST_METADATA_VERSION && !unstable {
        return fail(format!("{METADATA_VERSION} {} is not yet stable.", version.name_of_any().unwrap_or_default()));
    }
    Ok(version)
}

/// All levels of a cluster that starts with `version`, what was asked for among them.
fn effective_levels(
    version: MetadataVersion,
    asked: BTreeMap<String, i16>,
    has_dynamic_quorum: bool,
) -> Result<BTreeMap<String, i16>, Failure> {
    let known = |name: &str| FEATURES.iter().find(|feature| feature.name == name);
    if let Some(name) = asked.keys().find(|name| *name != METADATA_VERSION && known(name).is_none()) {
        let mut supported: Vec<&str> = FEATURES.iter().map(|feature| feature.name).collect();
        supported.sort_unstable();
        return fail(format!("Unsupported feature: {name}. Supported features are: {}", supported.join(", ")));
    }
    match (asked.get(KRAFT_VERSION), has_dynamic_quorum) {
        (Some(0), true) => {
            return fail(
                "Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags --standalone, \
                 --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try removing the --feature \
                 flag for kraft.version.",
            );
        }
        (Some(level), false) if *level != 0 => {
            return fail(format!(
                "Cannot set kraft.version to {level} unless controller.quorum.voters is empty and one of the flags --standalone, \
                 --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try using one of \
                 --standalone, --initial-controllers, or --no-initial-controllers and removing controller.quorum.voters."
            ));
        }
        _ => {}
    }
    let mut levels = asked;
    levels.insert(METADATA_VERSION.to_owned(), version.0);
    for feature in &FEATURES {
        let default = if feature.name == KRAFT_VERSION { i16::from(has_dynamic_quorum) } else { feature.default_level(version) };
        levels.entry(feature.name.to_owned()).or_insert(default);
    }
    for (name, &level) in levels.iter().filter(|(name, _)| *name != METADATA_VERSION) {
        let feature = known(name).filter(|feature| feature.has_level(level));
        let Some(feature) = feature else { return fail(format!("No feature:{name} with feature level {level}")) };
        for (needed, lowest) in feature.dependencies_of(level) {
            if levels.get(needed).is_none_or(|level| *level < lowest) {
                return fail(format!("{name} could not be set to {level} because it depends on {needed} level {lowest}"));
            }
        }
    }
    Ok(levels)
}

fn bootstrap_records(
    version: MetadataVersion,
    levels: &BTreeMap<String, i16>,
    users: &[&str],
    random: &mut Random,
) -> Result<Vec<VersionedRecord>, Failure> {
    let feature = |name: &str, feature_level| {
        VersionedRecord::new(FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }, 0)
    };
    let mut records = vec![feature(METADATA_VERSION, version.0)];
    // The level of kraft.version is in the control records.
    let others = levels.iter().filter(|(name, level)| ![METADATA_VERSION, KRAFT_VERSION].contains(&name.as_str()) && **level > 0);
    records.extend(others.map(|(name, &level)| feature(name, level)));
    if !users.is_empty() && !version.has_scram() {
        return fail("SCRAM is only supported in metadata.version 3.5-IV2 or later.");
    }
    for user in users {
        records.push(VersionedRecord::new(scram::parse(user, random)?, 0));
    }
    Ok(records)
}

/// As Java shows the records.
fn bootstrap_text(records: &[VersionedRecord], version: MetadataVersion) -> String {
    let bytes = |bytes: &[u8]| {
        let numbers: Vec<String> = bytes.iter().map(|byte| byte.cast_signed().to_string()).collect();
        format!("[{}]", numbers.join(", "))
    };
    let record = |record: &VersionedRecord| {
        let text = match &record.record {
            MetadataRecord::FeatureLevel(level) => {
                format!("FeatureLevelRecord(name='{}', featureLevel={})", level.name, level.feature_level)
            }
            MetadataRecord::UserScramCredential(user) => format!(
                "UserScramCredentialRecord(name='{}', mechanism={}, salt={}, storedKey={}, serverKey={}, iterations={})",
                user.name,
                user.mechanism,
                bytes(&user.salt),
                bytes(&user.stored_key),
                bytes(&user.server_key),
                user.iterations
            ),
            other => other.type_name().to_owned(),
        };
        format!("ApiMessageAndVersion({text} at version {})", record.version)
    };
    let records: Vec<String> = records.iter().map(record).collect();
    format!("BootstrapMetadata(records=[{}], metadataVersionLevel={}, source=format command)", records.join(", "), version.0)
}

/// The directories by what is in them.
#[derive(Default)]
struct Directories {
    new: Vec<String>,
    formatted: Vec<(String, Meta)>,
    unreadable: Vec<(String, String)>,
}

impl Directories {
    fn look(config: &NodeConfig) -> Directories {
        let mut directories = Directories::default();
        for directory in config.directories.iter().cloned() {
            match Meta::read(&directory) {
                None => directories.new.push(directory),
                Some(Ok(meta)) => directories.formatted.push((directory, meta)),
                Some(Err(reason)) => directories.unreadable.push((directory, reason)),
            }
        }
        directories
    }

    /// Do those that are formatted belong to this node, and together?
    fn verify(&self, cluster_id: &str, node_id: i32) -> Result<(), Failure> {
        let mut ids: BTreeMap<Uuid, &str> = BTreeMap::new();
        for (directory, meta) in &self.formatted {
            let path = format!("{}/meta.properties", directory.trim_end_matches('/'));
            match &meta.cluster_id {
                None if meta.version == 1 => return fail(format!("cluster.id was not specified in the v1 file: {path}")),
                Some(id) if id != cluster_id => {
                    return fail(format!("Invalid cluster.id in: {path}. Expected {cluster_id}, but read {id}"));
                }
                _ => {}
            }
            if let Some(id) = meta.node_id.filter(|id| *id != node_id) {
                return fail(format!(
                    "Stored node id {id} doesn't match previous node id {node_id} in {path}. If you moved your data, make sure your \
                     configured node id matches. If you intend to create a new node, you should remove all data in your data directories."
                ));
            }
            if let Some(id) = meta.directory_id
                && let Some(other) = ids.insert(id, directory)
            {
                return fail(format!("Duplicate directory ID {id} found. It was the ID of {other}, but also of {directory}"));
            }
        }
        Ok(())
    }
}

/// The order in which Java's HashMap gives sorted keys back.
fn in_javas_order(mut directories: Vec<String>) -> Vec<String> {
    let buckets = (directories.len() * 4 / 3 + 1).next_power_of_two().max(16);
    let bucket = |directory: &String| {
        let hash = directory.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    };
    directories.sort_by_key(bucket);
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_taken_apart() {
        let id: Uuid = "sB2uZnh5TGWkQnRvM7cFWA".parse().expect("a UUID");
        assert_eq!(dynamic_voter("1@h:9093:sB2uZnh5TGWkQnRvM7cFWA"), Ok((1, "h".to_owned(), 9093, id)));
        assert_eq!(dynamic_voter("2@[::1]:1:sB2uZnh5TGWkQnRvM7cFWA"), Ok((2, "::1".to_owned(), 1, id)));
        for (text, error) in [
            ("1", "No @ found in dynamic voter string."),
            ("@h", "Invalid @ at beginning of dynamic voter string."),
            ("x@h", "Failed to parse node id in dynamic voter string."),
            ("-1@h", "Invalid negative node id -1 in dynamic voter string."),
            ("1@", "No hostname found after node id."),
            ("1@h", "No colon following hostname could be found."),
            ("1@h:1", "No colon following port could be found."),
            ("1@h:99999:x", "Invalid port 99999 in dynamic voter string."),
            ("1@h:1:x", "Failed to parse directory ID in dynamic voter string."),
        ] {
            assert_eq!(dynamic_voter(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn levels_follow_the_release_and_each_other() {
        let asked = |pairs: &[&str]| levels(pairs).expect("parsed");
        let all = effective_levels(MetadataVersion(27), asked(&["transaction.version=1"]), true).expect("levels");
        let others = [("eligible.leader.replicas.version", 1), ("group.version", 1), ("kraft.version", 1), ("transaction.version", 1)];
        for (name, level) in others.into_iter().chain([("share.version", 0), ("streams.version", 0), ("metadata.version", 27)]) {
            assert_eq!(all.get(name), Some(&level), "{name}");
        }
        let error =
            |version, pairs: &[&str]| effective_levels(MetadataVersion(version), asked(pairs), true).expect_err("refused").to_string();
        assert_eq!(
            error(20, &["eligible.leader.replicas.version=1"]),
            "eligible.leader.replicas.version could not be set to 1 because it depends on metadata.version level 23"
        );
        assert_eq!(error(30, &["group.version=9"]), "No feature:group.version with feature level 9");
        assert!(error(30, &["kraft.version=0"]).starts_with("Cannot set kraft.version to 0 if"));
        assert!(levels(&["x"]).is_err() && levels(&["x=y"]).is_err());
    }
}
