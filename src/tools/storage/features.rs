//! Which feature levels belong to which release, and to each other.

use std::io::Write;

use serde_json::{Map, Value, json};

use crate::metadata::features::{FEATURES, LATEST_METADATA_VERSION, METADATA_VERSION, MetadataVersion};
use crate::tools::exit::{Exit, Failure};
use crate::tools::output::{Format, print_json};
use crate::tools::session::Session;

/// The level of a release; `unstable` allows what no release has yet.
pub(super) fn release(text: &str, unstable: bool) -> Result<MetadataVersion, Failure> {
    let usable = |level: &MetadataVersion| unstable || *level <= LATEST_METADATA_VERSION;
    MetadataVersion::from_release(text).filter(usable).ok_or_else(|| {
        let supported = MetadataVersion::all().filter(|(level, _)| usable(level)).map(|(_, name)| name).collect::<Vec<_>>().join(", ");
        Failure::new(format!("Unknown metadata.version '{text}'. Supported metadata.version are: {supported}"))
    })
}

pub(super) fn version_mapping(session: &mut Session, asked: Option<&str>) -> anyhow::Result<Exit> {
    let name = asked.unwrap_or_else(|| LATEST_METADATA_VERSION.name().unwrap_or_default());
    let version = release(name, true)?;
    if session.format() == Format::Json {
        let mut levels = Map::from_iter([(METADATA_VERSION.to_owned(), json!(version.0))]);
        levels.extend(FEATURES.iter().map(|feature| (feature.name.to_owned(), json!(feature.default_level(version)))));
        print_json(session, &json!({"release": name, "features": levels}))?;
        return Ok(Exit::SUCCESS);
    }
    writeln!(session.out, "{METADATA_VERSION}={} ({name})", version.0)?;
    for feature in &FEATURES {
        writeln!(session.out, "{}={}", feature.name, feature.default_level(version))?;
    }
    Ok(Exit::SUCCESS)
}

/// What one level needs: features, their levels, and the name of a metadata.version.
struct Needs {
    name: String,
    level: i16,
    /// Of a metadata.version.
    version_name: Option<&'static str>,
    needed: Vec<(&'static str, i16)>,
}

fn needs(argument: &str) -> Result<Needs, Failure> {
    let Some((name, level)) = argument.split_once('=') else {
        return Err(Failure::new(format!(
            "Invalid feature format: {argument}. Expected format: 'feature=version' (e.g. 'group.version=1')"
        )));
    };
    let (name, level) = (name.trim().to_owned(), level.trim());
    let level: i16 = level.parse().map_err(|_| Failure::new(format!("Invalid version format: {level} for feature {name}")))?;
    if name == METADATA_VERSION {
        let version_name = MetadataVersion(level).name_of_any();
        let version_name = version_name.ok_or_else(|| Failure::new(format!("Unknown metadata.version {level}")))?;
        return Ok(Needs { name, level, version_name: Some(version_name), needed: Vec::new() });
    }
    let feature = FEATURES.iter().find(|feature| feature.name == name).ok_or_else(|| Failure::new(format!("Unknown feature: {name}")))?;
    if !feature.has_level(level) {
        return Err(Failure::new(format!("Feature level {level} is not supported for feature {name}")));
    }
    Ok(Needs { name, level, version_name: None, needed: feature.dependencies_of(level).collect() })
}

pub(super) fn dependencies(session: &mut Session, arguments: &[&str]) -> anyhow::Result<Exit> {
    let mut all: Vec<Value> = Vec::new();
    for argument in arguments {
        let Needs { name, level, version_name, needed } = needs(argument)?;
        if session.format() == Format::Json {
            let requires: Map<String, Value> = needed.iter().map(|(name, level)| (name.to_string(), json!(level))).collect();
            all.push(json!({"feature": name, "level": level, "requires": requires}));
            continue;
        }
        let out = &mut session.out;
        match version_name {
            Some(version_name) => writeln!(out, "{name}={level} ({version_name}) has no dependencies.")?,
            None if needed.is_empty() => writeln!(out, "{name}={level} has no dependencies.")?,
            None => writeln!(out, "{name}={level} requires:")?,
        }
        for (name, level) in needed {
            match MetadataVersion(level).name_of_any().filter(|_| name == METADATA_VERSION) {
                Some(version_name) => writeln!(out, "    {name}={level} ({version_name})")?,
                None => writeln!(out, "    {name}={level}")?,
            }
        }
    }
    if session.format() == Format::Json {
        print_json(session, &all)?;
    }
    Ok(Exit::SUCCESS)
}
