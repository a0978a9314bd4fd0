//! Kafka's 16-byte identifiers (topics, log directories, incarnations, cluster) and their text: 22 characters of
//! base64url without padding. Source: `org.apache.kafka.common.Uuid`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::random::Random;

/// A 128-bit identifier.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// "No identifier".
    pub const ZERO: Uuid = Uuid([0; 16]);

    /// The identifier with this number as its value; the first hundred values are reserved.
    pub const fn from_u128(value: u128) -> Uuid {
        Uuid(value.to_be_bytes())
    }

    /// A version 4 identifier whose text does not begin with `-`, so that tools take it for an argument, not a flag.
    pub fn random(random: &mut Random) -> Uuid {
        loop {
            let mut bytes = [0; 16];
            random.fill(&mut bytes);
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            let uuid = Uuid(bytes);
            if !uuid.to_string().starts_with('-') {
                return uuid;
            }
        }
    }

    pub fn is_zero(&self) -> bool {
        *self == Uuid::ZERO
    }

    /// The upper and the lower half, as Java's `getMostSignificantBits` and `getLeastSignificantBits`.
    pub fn halves(&self) -> (i64, i64) {
        let value = u128::from_be_bytes(self.0);
        ((value >> 64) as i64, value as i64)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 22 characters of base64url.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a UUID: 22 characters of base64url are wanted")]
pub struct ParseUuidError(String);

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Uuid, ParseUuidError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| ParseUuidError(text.to_owned()))?;
        Ok(Uuid(bytes.try_into().map_err(|_| ParseUuidError(text.to_owned()))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let uuid = Uuid::random(&mut Random::new(1));
        assert_eq!(uuid.to_string().parse::<Uuid>(), Ok(uuid));
        assert_eq!(Uuid::from_u128(1).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert!("short".parse::<Uuid>().is_err());
    }
}
