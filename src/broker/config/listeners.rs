//! The listeners of a node: their security protocols, and the checks that keep them reachable.
//!
//! Sources: `AbstractKafkaConfig` (listeners), `KafkaConfig.validateValues`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::endpoint::split;
use super::{BrokerConfig, Endpoint, SecurityProtocol};
use crate::metadata::config::{ConfigError, ConfigValue, ConfigValues};

/// The security protocol of every listener that has one, by its name in upper case.
pub(super) type Protocols = BTreeMap<String, SecurityProtocol>;

fn list<'a>(values: &'a ConfigValues, name: &str) -> &'a [String] {
    values.get(name).and_then(ConfigValue::as_list).unwrap_or_default()
}

/// `listener.security.protocol.map`; when it is not set, controllers' listeners are plaintext unless something is secured.
pub(super) fn security_protocols(originals: &BTreeMap<String, String>, values: &ConfigValues) -> Result<Protocols, ConfigError> {
    const NAME: &str = "listener.security.protocol.map";
    let text = values.get(NAME).and_then(ConfigValue::as_str).unwrap_or_default();
    let mut protocols = Protocols::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (listener, protocol) = pair.rsplit_once(':').ok_or_else(|| {
            ConfigError::Config(format!("Error parsing configuration property '{NAME}': '{pair}' is not a pair of a name and a protocol"))
        })?;
        let (listener, protocol) = (listener.trim(), protocol.trim());
        let protocol = SecurityProtocol::from_name(protocol)
            .ok_or_else(|| ConfigError::Config(format!("Invalid security protocol `{protocol}` defined in {NAME}")))?;
        protocols.insert(listener.to_uppercase(), protocol);
    }
    if originals.contains_key(NAME) {
        return Ok(protocols);
    }
    let is_secured = |name: &str| matches!(name, "SSL" | "SASL_SSL" | "SASL_PLAINTEXT");
    let controllers = list(values, "controller.listener.names");
    let listener_is_secured = |listener: &String| listener.split_once(':').is_some_and(|(name, _)| is_secured(&name.to_uppercase()));
    if !controllers.iter().any(|name| is_secured(name)) && !list(values, "listeners").iter().any(listener_is_secured) {
        protocols.extend(controllers.iter().map(|name| (name.clone(), SecurityProtocol::Plaintext)));
    }
    Ok(protocols)
}

/// Parses `listeners` or `advertised.listeners`.
pub(super) fn endpoints(texts: &[String], protocols: &Protocols, distinct_ports: bool) -> Result<Vec<Endpoint>, ConfigError> {
    let error = |reason: String| ConfigError::Config(format!("Error creating broker listeners from '[{}]': {reason}", texts.join(", ")));
    let endpoint = |text: &String| {
        let (name, host, port) = split(text).ok_or_else(|| error(format!("Unable to parse {text} to a broker endpoint")))?;
        let listener = name.to_uppercase();
        let security_protocol =
            *protocols.get(&listener).ok_or_else(|| error(format!("No security protocol defined for listener {listener}")))?;
        // Differs: Kafka takes a port out of bounds here and fails when it opens the listener.
        let port = port.parse().map_err(|_| error(format!("Unable to parse {text} to a broker endpoint: port out of range: {port}")))?;
        Ok(Endpoint { listener, security_protocol, host: (!host.is_empty()).then(|| host.to_owned()), port })
    };
    let endpoints: Vec<Endpoint> = texts.iter().map(endpoint).collect::<Result<_, ConfigError>>()?;
    let names: BTreeSet<_> = endpoints.iter().map(|endpoint| &endpoint.listener).collect();
    let all = texts.join(", ");
    if names.len() != endpoints.len() {
        return Err(error(format!("Each listener must have a different name, listeners: [{all}]")));
    }
    if distinct_ports {
        check_ports(&endpoints, &all).map_err(error)?;
    }
    Ok(endpoints)
}

/// Two listeners share a port only if one is an IPv4 and the other an IPv6 address.
fn check_ports(endpoints: &[Endpoint], all: &str) -> Result<(), String> {
    let mut by_port: HashMap<u16, Vec<&Endpoint>> = HashMap::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.port != 0) {
        by_port.entry(endpoint.port).or_default().push(endpoint);
    }
    for (port, sharing) in by_port.into_iter().filter(|(_, sharing)| sharing.len() > 1) {
        let addresses: Vec<IpAddr> =
            sharing.iter().filter_map(|endpoint| endpoint.host.as_deref()).filter_map(|host| host.parse().ok()).collect();
        let names = sharing.len() - addresses.len();
        if names > 1 {
            return Err(format!("Each listener must have a different port, listeners: [{all}]"));
        }
        match addresses[..] {
            [] => {}
            [first, second] if names == 0 && first.is_ipv4() != second.is_ipv4() => {}
            [_, _] => {
                return Err(format!(
                    "If you have two listeners on the same port then one needs to be IPv4 and the other IPv6, \
                     listeners: [{all}], port: {port}"
                ));
            }
            _ => {
                return Err(format!(
                    "Each listener must have a different port unless exactly one listener has an IPv4 address and the other IPv6 \
                     address, listeners: [{all}], port: {port}"
                ));
            }
        }
    }
    Ok(())
}

/// The listener on which brokers talk to each other.
pub(super) fn inter_broker_listener_name(
    originals: &BTreeMap<String, String>,
    values: &ConfigValues,
    protocols: &Protocols,
) -> Result<String, ConfigError> {
    let text = |name: &str| values.get(name).and_then(ConfigValue::as_str);
    let Some(name) = text("inter.broker.listener.name") else {
        return Ok(text("security.inter.broker.protocol").unwrap_or("PLAINTEXT").to_owned());
    };
    if originals.contains_key("security.inter.broker.protocol") {
        return Err(ConfigError::Config(
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.".to_owned(),
        ));
    }
    let name = name.to_uppercase();
    if !protocols.contains_key(&name) {
        return Err(ConfigError::Config(format!(
            "Listener with name {name} defined in inter.broker.listener.name not found in listener.security.protocol.map."
        )));
    }
    Ok(name)
}

/// The checks across roles and listeners.
///
/// Differs: a node whose properties do not name `process.roles` is a quorum of one that nobody else joins, and so needs no listener
/// for controllers and no `controller.quorum.*`.
pub(super) fn validate(config: &BrokerConfig) -> Result<(), ConfigError> {
    let require = |holds: bool, text: &str| if holds { Ok(()) } else { Err(ConfigError::Requirement(text.to_owned())) };
    let voters = config.value("controller.quorum.voters").as_list().unwrap_or_default();
    let bootstrap = config.value("controller.quorum.bootstrap.servers").as_list().unwrap_or_default();
    let voter_ids: BTreeSet<i32> = voters.iter().filter_map(|voter| voter.split_once('@')).filter_map(|(id, _)| id.parse().ok()).collect();
    let voter_set = || format!("Set({})", voter_ids.iter().map(i32::to_string).collect::<Vec<_>>().join(", "));
    let node_id = config.node_id;
    if config.roles_are_given {
        if voters.is_empty() && bootstrap.is_empty() {
            return Err(ConfigError::Config(
                "If using process.roles, either controller.quorum.bootstrap.servers must contain the set of bootstrap controllers or \
                 controller.quorum.voters must contain a parseable set of controllers."
                    .to_owned(),
            ));
        }
        let has_controller_listener = config.controller_listeners().next().is_some();
        match (config.is_broker(), config.is_controller()) {
            (true, false) => {
                require(
                    !voter_ids.contains(&node_id),
                    &format!(
                        "If process.roles contains just the 'broker' role, the node id {node_id} must not be included in the set of voters \
                         controller.quorum.voters={}",
                        voter_set()
                    ),
                )?;
                require(
                    !has_controller_listener,
                    "controller.listener.names must not contain a value appearing in the 'listeners' configuration when running KRaft with \
                     just the broker role",
                )?;
                require(
                    config.value("controller.quorum.auto.join.enable") != &ConfigValue::Boolean(true),
                    "controller.quorum.auto.join.enable is only supported when process.roles contains the 'controller' role.",
                )?;
            }
            _ => {
                require(
                    config.is_broker() || config.broker_listeners().next().is_none(),
                    "The listeners config must only contain KRaft controller listeners from controller.listener.names when \
                     process.roles=controller",
                )?;
                require(
                    voter_ids.is_empty() || voter_ids.contains(&node_id),
                    &format!(
                        "If process.roles contains the 'controller' role, the node id {node_id} must be included in the set of voters \
                         controller.quorum.voters={}",
                        voter_set()
                    ),
                )?;
                require(
                    has_controller_listener,
                    "controller.listener.names must contain at least one value appearing in the 'listeners' configuration when running \
                     the KRaft controller role",
                )?;
                let every_name = |name: &String| config.listeners.iter().any(|endpoint| endpoint.listener == *name);
                require(
                    config.controller_listener_names.iter().all(every_name),
                    "controller.listener.names must only contain values appearing in the 'listeners' configuration when running the KRaft \
                     controller role",
                )?;
            }
        }
    }
    if config.is_broker() {
        let names = |endpoints: &mut dyn Iterator<Item = &Endpoint>| {
            endpoints.map(|endpoint| endpoint.listener.as_str()).collect::<Vec<_>>().join(",")
        };
        let advertised = names(&mut config.advertised_listeners.iter());
        require(
            !config.advertised_listeners.is_empty(),
            "There must be at least one broker advertised listener. Perhaps all listeners appear in controller.listener.names?",
        )?;
        require(
            config.advertised_listeners.iter().any(|endpoint| endpoint.listener == config.inter_broker_listener_name),
            &format!(
                "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based on currently \
                 configured listeners are {advertised}"
            ),
        )?;
        let is_listener = |advertised: &Endpoint| config.listeners.iter().any(|endpoint| endpoint.listener == advertised.listener);
        require(
            config.advertised_listeners.iter().all(is_listener),
            &format!(
                "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found {advertised}. \
                 The valid options based on the current configuration are {}",
                names(&mut config.listeners.iter())
            ),
        )?;
    }
    require(
        !config.advertised_listeners.iter().any(|endpoint| endpoint.host.as_deref() == Some("0.0.0.0")),
        "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
    )
}
