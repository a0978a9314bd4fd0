//! The users that a cluster starts with: `SCRAM-SHA-256=[name=alice,password=secret]`. Source: Kafka's `ScramParser`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::common::random::Random;
use crate::common::scram::{Mechanism, Verifiers};
use crate::protocol::messages::UserScramCredentialRecord;
use crate::tools::exit::Failure;

const DEFAULT_ITERATIONS: i32 = 4096;

fn fail<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(text))
}

/// The record of one `--add-scram`.
pub(super) fn parse(argument: &str, random: &mut Random) -> Result<UserScramCredentialRecord, Failure> {
    let argument = argument.trim();
    let Some((name, configs)) = argument.split_once('=') else {
        return fail(format!("Failed to find equals sign in SCRAM argument '{argument}'"));
    };
    let Some(mechanism) = Mechanism::from_name(name) else { return fail(format!("The add-scram mechanism {name} is not supported.")) };
    let Some(configs) = configs.strip_prefix('[') else { return fail("Expected configuration string to start with [") };
    let Some(configs) = configs.strip_suffix(']') else { return fail("Expected configuration string to end with ]") };
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for config in configs.split(',') {
        let Some((name, value)) = config.split_once('=') else {
            return fail(format!("No equals sign found in SCRAM component: {config}"));
        };
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        values.insert(name, quoted.unwrap_or(value));
    }
    let Some(name) = values.remove("name") else { return fail("You must supply 'name' to add-scram") };
    let salt = match values.remove("salt").map(|text| (text, STANDARD.decode(text))) {
        None => None,
        Some((_, Ok(salt))) => Some(salt),
        Some((text, Err(_))) => return fail(format!("Failed to decode given salt: {text}")),
    };
    let iterations = match values.remove("iterations").map(|text| (text, text.parse::<i32>())) {
        None => DEFAULT_ITERATIONS,
        Some((_, Ok(iterations))) => iterations,
        Some((text, Err(_))) => return fail(format!("Failed to parse iterations count: {text}")),
    };
    let salted = match (values.remove("password"), values.remove("saltedpassword")) {
        (None, None) => return fail("You must supply one of 'password' or 'saltedpassword' to add-scram"),
        (None, Some(_)) if salt.is_none() => return fail("You must supply 'salt' with 'saltedpassword' to add-scram"),
        (None, Some(text)) => match STANDARD.decode(text) {
            Ok(salted) => Salted::Already(salted),
            Err(_) => return fail(format!("Failed to decode given saltedPassword: {text}")),
        },
        // Kafka does not look at a salted password beside it, but it knows the name.
        (Some(password), _) => Salted::From(password),
    };
    if !values.is_empty() {
        return fail(format!("Unknown SCRAM configurations: {}", values.into_keys().collect::<Vec<_>>().join(", ")));
    }
    let mechanism_name = format!("{mechanism_name:?}", mechanism_name = JavaName(mechanism));
    if iterations < mechanism.min_iterations() {
        return fail(format!("The 'iterations' value must be >= {} for add-scram using {mechanism_name}", mechanism.min_iterations()));
    }
    if iterations > mechanism.max_iterations() {
        return fail(format!("The 'iterations' value must be <= {} for add-scram using {mechanism_name}", mechanism.max_iterations()));
    }
    let salt = salt.unwrap_or_else(|| {
        let mut salt = vec![0; 26];
        random.fill(&mut salt);
        // Text, as Kafka's salts are.
        salt.iter_mut().for_each(|byte| *byte = b"0123456789abcdefghijklmnopqrstuv"[usize::from(*byte % 32)]);
        salt
    });
    let salted = match salted {
        Salted::Already(salted) => salted,
        Salted::From(password) => mechanism.salted_password(password, &salt, iterations),
    };
    let Verifiers { stored_key, server_key } = Verifiers::of_salted_password(mechanism, &salted);
    Ok(UserScramCredentialRecord {
        name: name.to_owned(),
        mechanism: mechanism.code(),
        salt: salt.into(),
        stored_key: stored_key.into(),
        server_key: server_key.into(),
        iterations,
        ..Default::default()
    })
}

enum Salted<'a> {
    Already(Vec<u8>),
    From(&'a str),
}

/// The mechanism as Java's enum is called.
struct JavaName(Mechanism);

impl std::fmt::Debug for JavaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.name().replace('-', "_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(argument: &str) -> String {
        parse(argument, &mut Random::new(1)).expect_err(argument).to_string()
    }

    #[test]
    fn a_user_gets_the_keys_of_the_password() {
        let example = "SCRAM-SHA-256=[name=user,password=pencil,salt=\"W22ZaJ0SNY7soEsUEjb6gQ==\",iterations=4096]";
        let record = parse(example, &mut Random::new(1)).expect("parsed");
        assert_eq!((record.name.as_str(), record.mechanism, record.iterations), ("user", 1, 4096));
        assert_eq!(record.stored_key[..4], [0x58, 0x6e, 0x5d, 0xf2]);
        let random = parse("SCRAM-SHA-512=[name=a,password=b]", &mut Random::new(1)).expect("parsed");
        assert_eq!((random.salt.len(), random.stored_key.len(), random.mechanism), (26, 64, 2));
    }

    #[test]
    fn refusals_are_kafkas() {
        assert_eq!(error("x"), "Failed to find equals sign in SCRAM argument 'x'");
        assert_eq!(error("SCRAM-SHA-1=[]"), "The add-scram mechanism SCRAM-SHA-1 is not supported.");
        assert_eq!(error("SCRAM-SHA-256=name=a"), "Expected configuration string to start with [");
        assert_eq!(error("SCRAM-SHA-256=[password=a]"), "You must supply 'name' to add-scram");
        assert_eq!(error("SCRAM-SHA-256=[name=a]"), "You must supply one of 'password' or 'saltedpassword' to add-scram");
        assert_eq!(error("SCRAM-SHA-256=[name=a,saltedpassword=YQ==]"), "You must supply 'salt' with 'saltedpassword' to add-scram");
        assert_eq!(error("SCRAM-SHA-256=[name=a,password=b,x=1]"), "Unknown SCRAM configurations: x");
        assert_eq!(
            error("SCRAM-SHA-512=[name=a,password=b,iterations=1]"),
            "The 'iterations' value must be >= 4096 for add-scram using SCRAM_SHA_512"
        );
    }
}
