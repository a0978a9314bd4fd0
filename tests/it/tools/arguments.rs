//! Arguments that need no cluster: help, versions, mistakes.

use super::call;

const SERVER: &str = "--bootstrap-server localhost:1";

#[tokio::test]
async fn mistakes_are_one_line_and_a_pointer_to_the_help() {
    for (line, message) in [
        ("kafka-topics --lst", "lst is not a recognized option; did you mean --list?"),
        ("kafka-topics --list --topic", "Option topic requires an argument"),
        ("kafka-topics --list --exclude-internal=no", "Option exclude-internal takes no value"),
        ("kafka-topics --list --output xml", "Cannot parse argument 'xml' of option output; it may be plain, table, json"),
        ("kafka-topics", "Command must include exactly one action: --list, --describe, --create, --alter or --delete"),
        (
            "kafka-topics --list",
            "--bootstrap-server must be specified (or KAFKA_BOOTSTRAP_SERVERS, or bootstrap.servers in the --command-config file)",
        ),
        ("kafka-topics SERVER --create", "Missing required argument \"[topic]\""),
        ("kafka-topics SERVER --create --topic t --partitions many", "Cannot parse argument 'many' of option partitions"),
        (
            "kafka-topics SERVER --create --topic t --replica-assignment 1 --partitions 2",
            "Option \"[replica-assignment]\" can't be used with option \"[partitions]\"",
        ),
        ("kafka-topics SERVER --list --if-exists", "Option \"[if-exists]\" can't be used with option \"[list]\""),
        (
            "kafka-topics SERVER --describe --under-replicated-partitions --topics-with-overrides",
            "Option \"[under-replicated-partitions]\" can't be used with option \"[topics-with-overrides]\"",
        ),
        ("kafka-consumer-groups SERVER --describe", "Option [describe] takes one of these options: [group], [all-groups]"),
        (
            "kafka-consumer-groups SERVER --describe --group g --members --offsets",
            "Option [describe] takes at most one of these options: [members], [offsets], [state]",
        ),
        (
            "kafka-consumer-groups SERVER --describe --group g --type",
            "Option(s) [type] are unavailable given other options on the command line",
        ),
        ("kafka-consumer-groups SERVER --describe --group g --all-groups", "Option \"[group]\" can't be used with option \"[all-groups]\""),
        (
            "kafka-consumer-groups SERVER --list --state asleep",
            "Invalid state list 'asleep'. Valid states are: PreparingRebalance, CompletingRebalance, Stable, Dead, Empty, Assigning, Reconciling",
        ),
        ("kafka-consumer-groups SERVER --list --type square", "Invalid types list 'square'. Valid types are: Classic, Consumer"),
        (
            "kafka-consumer-groups SERVER --reset-offsets --group g --topic t --execute --dry-run",
            "Option [reset-offsets] only accepts one of [execute] and [dry-run]",
        ),
        (
            "kafka-consumer-groups SERVER --reset-offsets --group g --topic t --execute --to-latest --to-earliest",
            "Option \"[to-earliest]\" can't be used with option \"[to-latest]\"",
        ),
        (
            "kafka-consumer-groups SERVER --reset-offsets --group g --to-latest --execute",
            "One of the reset scopes should be defined: --all-topics, --topic.",
        ),
        ("kafka-consumer-groups SERVER --list --dry-run", "Option \"[dry-run]\" can't be used with option \"[list]\""),
    ] {
        let line = line.replace("SERVER", SERVER);
        let program = line.split(' ').next().expect("a program");
        assert_eq!(
            call(&line).transcript().await,
            format!("$ {line}\n! {program}: {message}\n! Try '{program} --help' for the options.\nexit code 1\n")
        );
    }
}

#[tokio::test]
async fn a_mistake_in_a_command_of_ottla_is_2() {
    assert_eq!(
        call("ottla topics --lst").transcript().await,
        "$ ottla topics --lst\n! ottla topics: lst is not a recognized option; did you mean --list?\n\
         ! Try 'ottla topics --help' for the options.\nexit code 2\n"
    );
    assert_eq!(
        call("ottla topcis").transcript().await,
        "$ ottla topcis\n! ottla: 'topcis' is no command; did you mean 'topics'?\n! Try 'ottla --help' for the options.\nexit code 2\n"
    );
}

#[tokio::test]
async fn help_is_on_standard_output_and_no_failure() {
    for line in ["kafka-topics --help", "kafka-topics --list -h", "kafka-consumer-groups -help", "ottla topics --help", "ottla --help"] {
        let transcript = call(line).transcript().await;
        let program = line.split(" -").next().expect("a program").trim_end_matches(" --list");
        assert!(transcript.contains(&format!("Usage: {program} ")), "{transcript}");
        assert!(!transcript.contains("\n! ") && !transcript.contains("exit code"), "{transcript}");
    }
}

#[tokio::test]
async fn the_version_begins_with_kafkas() {
    let version = env!("CARGO_PKG_VERSION");
    for line in ["kafka-topics --version", "kafka-consumer-groups --version", "ottla consumer-groups --version", "ottla --version"] {
        assert_eq!(call(line).transcript().await, format!("$ {line}\n4.3.0 (ottla {version})\n"));
    }
}

#[tokio::test]
async fn with_the_switch_streams_and_codes_are_kafkas() {
    let compat = |line: &str| call(line).variable("KAFKA_CLI_COMPAT", "4.3").transcript();
    let help = compat("kafka-topics --list --help").await;
    assert!(help.ends_with("exit code 1\n") && help.contains("\n! Usage: kafka-topics"), "{help}");
    assert_eq!(compat("kafka-topics --version").await, "$ KAFKA_CLI_COMPAT=4.3 kafka-topics --version\n4.3.0\n");
    let unknown = compat("kafka-topics --version --bogus").await;
    assert_eq!(
        unknown,
        "$ KAFKA_CLI_COMPAT=4.3 kafka-topics --version --bogus\n! bogus is not a recognized option\n\
         ! Try 'kafka-topics --help' for the options.\nexit code 1\n"
    );
    let file = compat("kafka-topics --bootstrap-server a:1 --list --command-config none.properties").await;
    assert!(file.contains("\n! none.properties\nexit code 1\n"), "{file}");
    let file = compat("kafka-consumer-groups --bootstrap-server a:1 --list --command-config none.properties").await;
    assert!(
        file.contains(
            "properties\n\nError: Executing consumer group command failed due to java.nio.file.NoSuchFileException: none.properties\n"
        ),
        "{file}"
    );
    assert!(!file.contains("exit code"), "{file}");
    // Kafka's tool finds out when it is at work already.
    for (line, value, option) in [
        ("--reset-offsets --group g --topic t --dry-run --to-offset x", "x", "to-offset"),
        ("--reset-offsets --group g --topic t --dry-run --shift-by x", "x", "shift-by"),
        ("--list --timeout abc", "abc", "timeout"),
    ] {
        let late = compat(&format!("kafka-consumer-groups --bootstrap-server a:1 {line}")).await;
        let said = format!("Error: Executing consumer group command failed due to Cannot parse argument '{value}' of option {option}\n");
        assert!(late.contains(&said) && !late.contains("exit code"), "{late}");
    }
}

#[tokio::test]
async fn expressions_are_judged_without_a_cluster() {
    let line = "kafka-consumer-groups --validate-regex";
    assert_eq!(
        call(line).argument("orders-.*").transcript().await,
        format!("$ {line} 'orders-.*'\nThe regular expression `orders-.*` is valid.\n")
    );
    assert_eq!(
        call(line).argument("[a").transcript().await,
        format!("$ {line} '[a'\nThe regular expression `[a` is invalid: missing closing ].\nexit code 1\n")
    );
}

#[tokio::test]
async fn links_are_named_as_the_tools_and_are_the_tools() {
    let dir = tempfile::tempdir().expect("a directory");
    let bin = dir.path().join("bin");
    for _ in 0..2 {
        let made = call("ottla links").argument(bin.to_str().expect("UTF-8")).transcript().await;
        assert!(made.contains("kafka-topics\n") && !made.contains("exit code"), "{made}");
    }
    let output = std::process::Command::new(bin.join("kafka-topics")).arg("--version").env_remove("KAFKA_CLI_COMPAT").output();
    assert!(String::from_utf8_lossy(&output.expect("runs").stdout).starts_with("4.3.0"));
}
