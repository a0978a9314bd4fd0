//! What a topic may be called. Source: `org.apache.kafka.common.internals.Topic`.

/// The metadata log, which nobody may create.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// The longest name, in UTF-16 units as Java counts them.
const MAX_LENGTH: usize = 249;

/// Kafka's reason why no topic may have this name.
pub fn validate(name: &str) -> Result<(), String> {
    let reason = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.encode_utf16().count() > MAX_LENGTH => {
            format!("the length of '{name}' is longer than the max allowed length {MAX_LENGTH}")
        }
        _ if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) => {
            format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
        }
        _ => return Ok(()),
    };
    Err(format!("Topic name is invalid: {reason}"))
}

/// Could another name differ from this one in just '.' and '_'? Metric names do not tell such topics apart.
pub fn has_collision_characters(name: &str) -> bool {
    name.contains(['_', '.'])
}

/// The name with every '.' made '_'.
pub fn without_dots(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_kafka_does() {
        assert_eq!(validate("a.b_c-9"), Ok(()));
        assert_eq!(validate(&"x".repeat(249)), Ok(()));
        assert!(validate(&"x".repeat(250)).is_err_and(|reason| reason.ends_with("is longer than the max allowed length 249")));
        assert_eq!(validate(""), Err("Topic name is invalid: the empty string is not allowed".to_owned()));
        assert_eq!(validate(".."), Err("Topic name is invalid: '..' is not allowed".to_owned()));
        assert_eq!(
            validate("a b"),
            Err("Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'".to_owned())
        );
    }
}
