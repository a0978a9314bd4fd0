//! `${provider:path:key}` references in values: an environment variable, a key of a properties file, a file of a directory.
//! Source: KIP-297, KIP-421, `EnvVarConfigProvider`, `FileConfigProvider`, `DirectoryConfigProvider`.
//!
//! Invariant: without `config.providers` no value is touched. A reference that a provider cannot answer stays as it is, as in Kafka.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ConfigError, Source};
use crate::common::properties;

const PACKAGE: &str = "org.apache.kafka.common.config.provider.";

enum Provider {
    Environment,
    File,
    Directory,
}

/// Replaces the references in all values.
pub(super) fn resolve(values: &mut BTreeMap<String, (String, Source)>) -> Result<(), ConfigError> {
    let Some((names, _)) = values.get("config.providers") else { return Ok(()) };
    let mut providers = BTreeMap::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let key = format!("config.providers.{name}.class");
        let class = values.get(&key).map(|(class, _)| class.trim()).ok_or_else(|| ConfigError::Missing { key: key.clone() })?;
        let provider = match class.strip_prefix(PACKAGE).unwrap_or(class) {
            "EnvVarConfigProvider" => Provider::Environment,
            "FileConfigProvider" => Provider::File,
            "DirectoryConfigProvider" => Provider::Directory,
            _ => return Err(ConfigError::invalid(&key, class, format!("Class {class} could not be found."))),
        };
        let allowed = values.get(&format!("config.providers.{name}.param.allowed.paths"));
        let allowed = allowed.map(|(paths, _)| paths.split(',').map(|path| PathBuf::from(path.trim())).collect());
        providers.insert(name.to_owned(), (provider, allowed));
    }
    for (key, (value, _)) in values.iter_mut().filter(|(key, _)| !key.starts_with("config.providers")) {
        if value.contains("${") {
            *value = replace(key, value, &providers)?;
        }
    }
    Ok(())
}

type Providers = BTreeMap<String, (Provider, Option<Vec<PathBuf>>)>;

fn replace(key: &str, value: &str, providers: &Providers) -> Result<String, ConfigError> {
    let mut result = String::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}').map(|end| start + end) else { break };
        result.push_str(&rest[..start]);
        match look_up(key, &rest[start + 2..end], providers)? {
            Some(found) => result.push_str(&found),
            None => result.push_str(&rest[start..=end]),
        }
        rest = &rest[end + 1..];
    }
    result.push_str(rest);
    Ok(result)
}

fn look_up(key: &str, reference: &str, providers: &Providers) -> Result<Option<String>, ConfigError> {
    let Some((name, rest)) = reference.split_once(':') else { return Ok(None) };
    let Some((provider, allowed)) = providers.get(name) else { return Ok(None) };
    let (path, item) = rest.rsplit_once(':').unwrap_or(("", rest));
    let path = Path::new(path);
    if let Some(allowed) = allowed
        && !matches!(provider, Provider::Environment)
        && !allowed.iter().any(|prefix| path.starts_with(prefix))
    {
        return Ok(None);
    }
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| ConfigError::rule(key, format!("Could not read {} for configuration {key}: {error}", path.display())))
    };
    match provider {
        Provider::Environment => Ok(std::env::var(item).ok()),
        Provider::File => {
            let parsed = properties::parse(&read(path)?)
                .map_err(|error| ConfigError::rule(key, format!("{} for configuration {key}: {error}", path.display())))?;
            Ok(parsed.get(item).cloned())
        }
        Provider::Directory if item.contains('/') => Ok(None),
        Provider::Directory => read(&path.join(item)).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClientConfig, ClientKind};

    #[test]
    fn a_file_provider_answers_and_an_unknown_key_stays() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("secrets.properties");
        std::fs::write(&file, "id=alice\n").expect("written");
        let config = ClientConfig::builder(ClientKind::Admin)
            .flag("bootstrap.servers", "a:1")
            .property("config.providers", "f")
            .property("config.providers.f.class", "org.apache.kafka.common.config.provider.FileConfigProvider")
            .property("client.id", format!("x-${{f:{0}:id}}-${{f:{0}:none}}", file.display()))
            .build()
            .expect("valid");
        assert_eq!(config.string("client.id"), Some(format!("x-alice-${{f:{}:none}}", file.display()).as_str()));
        assert!(config.warnings().is_empty());
    }

    #[test]
    fn a_provider_without_a_class_names_the_missing_key() {
        let builder = ClientConfig::builder(ClientKind::Admin).flag("bootstrap.servers", "a:1");
        let error = builder.property("config.providers", "x").build().expect_err("no class");
        assert_eq!(error.key(), "config.providers.x.class");
    }
}
