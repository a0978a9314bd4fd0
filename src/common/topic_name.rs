//! Which names a topic may have, and which topics are Kafka's own. Source: `org.apache.kafka.common.internals.Topic`.

/// Where groups keep their offsets and members.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Where transaction coordinators keep their state.
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// Where share groups keep their state.
pub const SHARE_GROUP_STATE: &str = "__share_group_state";
/// The metadata log: never a topic that clients see.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

const MAX_LENGTH: usize = 249;

/// Does a coordinator keep its state in this topic?
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

/// Refuses a name that no topic may have, with Kafka's text.
pub fn validate(name: &str) -> Result<(), String> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let reason = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        // Java counts UTF-16 units; a name with any other than one-byte characters is refused below anyway.
        _ if name.encode_utf16().count() > MAX_LENGTH => {
            format!("the length of '{name}' is longer than the max allowed length {MAX_LENGTH}")
        }
        _ if !name.bytes().all(is_legal) => {
            format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
        }
        _ => return Ok(()),
    };
    Err(format!("Topic name is invalid: {reason}"))
}

/// Could another name differ from this one in just `.` and `_`? Metric names do not tell such topics apart.
pub fn has_collision_characters(name: &str) -> bool {
    name.contains(['_', '.'])
}

/// The name with every `.` made `_`: equal for topics that collide.
pub fn without_dots(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_letters_digits_dots_underscores_and_dashes() {
        assert_eq!(validate("A.b_c-9"), Ok(()));
        assert_eq!(validate(&"x".repeat(249)), Ok(()));
        assert_eq!(validate(""), Err("Topic name is invalid: the empty string is not allowed".to_owned()));
        assert_eq!(validate(".."), Err("Topic name is invalid: '..' is not allowed".to_owned()));
        assert_eq!(
            validate("a b"),
            Err("Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'".to_owned())
        );
        assert!(validate(&"x".repeat(250)).is_err());
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(without_dots("a.b"), without_dots("a_b"));
        assert!(has_collision_characters("a_b") && !has_collision_characters("a-b"));
    }
}
