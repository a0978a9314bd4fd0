//! `meta.properties`: which cluster, node and directory a log directory belongs to. Sources: `MetaProperties`, KIP-858.

use std::path::Path;

use crate::common::properties;
use crate::common::uuid::Uuid;

use super::errors::StorageError;
use super::fs;

/// The file's name in each log directory.
pub const META_PROPERTIES: &str = "meta.properties";

/// The content of `meta.properties`, version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: String,
    pub node_id: i32,
    /// None in a directory written before KIP-858.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// Reads the file in `dir`; None when the directory is not formatted.
    pub fn read(dir: &Path) -> Result<Option<MetaProperties>, StorageError> {
        let path = dir.join(META_PROPERTIES);
        let malformed = |what: String| StorageError::new(&path, std::io::Error::new(std::io::ErrorKind::InvalidData, what));
        let Some(content) = fs::read_if_exists(&path)? else { return Ok(None) };
        let text = String::from_utf8(content).map_err(|_| malformed("not text".to_owned()))?;
        let mut properties = properties::parse(&text).map_err(|error| malformed(error.to_string()))?;
        match properties.get("version").map(String::as_str) {
            Some("1") => {}
            Some(other) => return Err(malformed(format!("version {other} is not supported"))),
            None => return Err(malformed("version is missing".to_owned())),
        }
        let cluster_id = properties.remove("cluster.id").ok_or_else(|| malformed("cluster.id is missing".to_owned()))?;
        let node_id = properties.get("node.id").ok_or_else(|| malformed("node.id is missing".to_owned()))?;
        let node_id = node_id.parse().map_err(|_| malformed(format!("malformed node.id '{node_id}'")))?;
        let directory_id = match properties.get("directory.id") {
            Some(id) => Some(id.parse::<Uuid>().map_err(|error| malformed(error.to_string()))?),
            None => None,
        };
        Ok(Some(MetaProperties { cluster_id, node_id, directory_id }))
    }

    /// Is the file in `dir` that of a broker with ZooKeeper: version 0, or none?
    pub fn is_of_zookeeper(dir: &Path) -> bool {
        let content = fs::read_if_exists(&dir.join(META_PROPERTIES)).ok().flatten();
        let properties = content.and_then(|content| properties::parse(&String::from_utf8(content).ok()?).ok());
        properties.is_some_and(|properties| match properties.get("version") {
            Some(version) => version == "0",
            None => properties.contains_key("broker.id"),
        })
    }

    /// Replaces the file in `dir`; `date` as in [`MetaProperties::to_text`].
    pub fn write(&self, dir: &Path, date: &str) -> Result<(), StorageError> {
        fs::write_atomically(&dir.join(META_PROPERTIES), self.to_text(date).as_bytes())
    }

    /// The file's content. `date` is the comment's second line, as Java's `Properties.store` writes one.
    pub fn to_text(&self, date: &str) -> String {
        let mut text = format!("#\n#{date}\ncluster.id={}\n", self.cluster_id);
        if let Some(id) = self.directory_id {
            text += &format!("directory.id={id}\n");
        }
        text += &format!("node.id={}\nversion=1\n", self.node_id);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_round_trip() {
        let dir = tempfile::tempdir().expect("temporary directory");
        assert_eq!(MetaProperties::read(dir.path()).expect("read"), None);
        let written = MetaProperties { cluster_id: "c".to_owned(), node_id: 3, directory_id: Some(Uuid::from_u128(1 << 100)) };
        written.write(dir.path(), "Thu Jan 01 00:00:00 GMT 1970").expect("written");
        assert_eq!(MetaProperties::read(dir.path()).expect("read"), Some(written));
    }

    #[test]
    fn a_zookeeper_directory_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write_atomically(&dir.path().join(META_PROPERTIES), b"version=0\nbroker.id=1\n").expect("written");
        assert!(MetaProperties::read(dir.path()).is_err());
        assert!(MetaProperties::is_of_zookeeper(dir.path()));
        fs::write_atomically(&dir.path().join(META_PROPERTIES), b"broker.id=1\n").expect("written");
        assert!(MetaProperties::is_of_zookeeper(dir.path()));
    }
}
