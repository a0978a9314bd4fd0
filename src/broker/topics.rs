//! What handlers need to know of topics' names.

/// The longest name a topic may have: its directory's name must fit into a file name.
const MAX_NAME_LENGTH: usize = 249;

/// May a topic have this name? Source: `Topic.validate`.
pub(crate) fn is_valid_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= MAX_NAME_LENGTH && name != "." && name != ".." && name.bytes().all(plain)
}

/// Is it a topic of the cluster's own? Source: `Topic.isInternal`.
pub(crate) fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_letters_digits_and_three_signs() {
        assert!(["a", "a.b_c-D9", &"x".repeat(249)].into_iter().all(is_valid_name));
        assert!(!["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)].into_iter().any(is_valid_name));
    }
}
