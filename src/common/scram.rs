//! What a SCRAM server keeps of a password (RFC 5802): enough to check it, too little to use it.
//!
//! Source: Kafka's `ScramFormatter`.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

/// A SCRAM mechanism; the numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    pub fn from_code(code: i8) -> Option<Mechanism> {
        match code {
            1 => Some(Mechanism::ScramSha256),
            2 => Some(Mechanism::ScramSha512),
            _ => None,
        }
    }

    /// A mechanism by its name, such as `SCRAM-SHA-256`.
    pub fn from_name(name: &str) -> Option<Mechanism> {
        [Mechanism::ScramSha256, Mechanism::ScramSha512].into_iter().find(|mechanism| mechanism.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    pub fn code(self) -> i8 {
        match self {
            Mechanism::ScramSha256 => 1,
            Mechanism::ScramSha512 => 2,
        }
    }

    /// A password must have been hashed at least this often.
    pub fn min_iterations(self) -> i32 {
        4096
    }

    /// And at most this often.
    pub fn max_iterations(self) -> i32 {
        16_384
    }

    /// A password, salted and hashed: PBKDF2 (RFC 5802's `Hi`).
    pub fn salted_password(self, password: &str, salt: &[u8], iterations: i32) -> Vec<u8> {
        let mut last = self.hmac(password.as_bytes(), &[salt, &1u32.to_be_bytes()].concat());
        let mut salted = last.clone();
        for _ in 1..iterations {
            last = self.hmac(password.as_bytes(), &last);
            salted.iter_mut().zip(&last).for_each(|(byte, other)| *byte ^= other);
        }
        salted
    }

    fn hmac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        // HMAC takes a key of any length; the empty text stands for what cannot happen.
        match self {
            Mechanism::ScramSha256 => {
                Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
            }
            Mechanism::ScramSha512 => {
                Hmac::<Sha512>::new_from_slice(key).map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
            }
        }
        .unwrap_or_default()
    }

    fn hash(self, text: &[u8]) -> Vec<u8> {
        match self {
            Mechanism::ScramSha256 => Sha256::digest(text).to_vec(),
            Mechanism::ScramSha512 => Sha512::digest(text).to_vec(),
        }
    }
}

/// The keys by which a server checks a client and shows that it knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifiers {
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
}

impl Verifiers {
    /// The keys of a password that has been salted and hashed already.
    pub fn of_salted_password(mechanism: Mechanism, salted_password: &[u8]) -> Verifiers {
        let client_key = mechanism.hmac(salted_password, b"Client Key");
        Verifiers { stored_key: mechanism.hash(&client_key), server_key: mechanism.hmac(salted_password, b"Server Key") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_example_in_rfc_7677() {
        // The salted password of "pencil" with the salt W22ZaJ0SNY7soEsUEjb6gQ== after 4096 iterations.
        let salted = hex("c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d");
        let salt = hex("5b6d99689d12358eeca04b141236fa81");
        assert_eq!(Mechanism::ScramSha256.salted_password("pencil", &salt, 4096), salted);
        let keys = Verifiers::of_salted_password(Mechanism::ScramSha256, &salted);
        assert_eq!(keys.stored_key, hex("586e5df283e6dceb5c3e791d8b8528ec191e664045ce971792e2e6b5bb13e2a6"));
        assert_eq!(keys.server_key, hex("c1f3cbc1c13a9d35a14c0990eed97629ea225863e566a4314ab99f3f00e5d9d5"));
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
    }
}
