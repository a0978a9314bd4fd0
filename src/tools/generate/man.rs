//! Man pages.

use std::io::Write;

use clap::Command;
use clap_mangen::Man;

use super::Program;
use crate::tools::KAFKA_VERSION;

/// The sections that every tool's page ends with, as roff.
const COMMON: &str = r#".SH "EXIT STATUS"
.TP
0
Everything was done.
.TP
1
Something failed, if only one item of many; or the arguments are wrong.
.TP
2
The arguments of a command of \fBottla\fR are wrong.
.TP
130
Ended by Ctrl\-C.
.SH ENVIRONMENT
.TP
KAFKA_BOOTSTRAP_SERVERS
The brokers to connect to first, if neither \fB\-\-bootstrap\-server\fR nor the properties file says it.
.TP
KAFKA_OUTPUT
As \fB\-\-output\fR, which goes first.
.TP
KAFKA_LOG
Which log messages to write to standard error, for example debug.
.TP
KAFKA_CLI_COMPAT
Set to 4.3: standard output and exit codes are Apache Kafka's exactly.
.TP
NO_COLOR, CLICOLOR, CLICOLOR_FORCE
Whether to colour; \fB\-\-color\fR goes first.
"#;

const SEE_ALSO: &str = r#".SH "SEE ALSO"
\fBottla\fR(1), \fBkafka\-console\-consumer\fR(1), \fBkafka\-console\-producer\fR(1), \fBkafka\-consumer\-groups\fR(1), \fBkafka\-topics\fR(1)
"#;

/// The page of a tool.
pub(super) fn tool_page(name: &str, command: Command) -> anyhow::Result<Vec<u8>> {
    let mut page = definitions(name, command)?;
    page.write_all(COMMON.as_bytes())?;
    page.write_all(SEE_ALSO.as_bytes())?;
    Ok(page)
}

/// The page of a command of `ottla` that is no tool.
pub(super) fn page(name: &str, command: Command) -> anyhow::Result<Vec<u8>> {
    let mut page = definitions(name, command)?;
    page.write_all(SEE_ALSO.as_bytes())?;
    Ok(page)
}

/// What the command's definition says: name, synopsis, options, examples.
fn definitions(name: &str, command: Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.name(name.to_owned()).bin_name(name.to_owned()).version(None::<&'static str>))
        .title(name.to_uppercase())
        .section("1")
        .source(format!("Kafka {KAFKA_VERSION}"))
        .manual("Kafka tools");
    man.render(&mut page)?;
    // What comes after the options in our help is examples.
    Ok(String::from_utf8(page)?.replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n").into_bytes())
}

/// The page of `ottla` itself.
pub(super) fn overview(programs: &[Program]) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    writeln!(page, ".TH OTTLA 1 \"\" \"Kafka {KAFKA_VERSION}\" \"Kafka tools\"")?;
    writeln!(page, ".SH NAME\nottla \\- Kafka as one native program: the broker and its command\\-line tools")?;
    writeln!(page, ".SH SYNOPSIS\n\\fBottla\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]")?;
    writeln!(page, ".SH DESCRIPTION")?;
    writeln!(page, "Each command has a page of its own, and explains itself with \\fB\\-\\-help\\fR.")?;
    writeln!(page, "The tools also go by Kafka's names; \\fBottla links\\fR \\fIDIR\\fR makes links named so.")?;
    writeln!(page, ".SH COMMANDS")?;
    for program in programs {
        let also = if program.name.is_empty() { String::new() } else { format!(" (\\fB{}\\fR(1))", program.name.replace('-', "\\-")) };
        writeln!(page, ".TP\n{}\n{}{also}", program.noun.replace('-', "\\-"), program.about.replace('-', "\\-"))?;
    }
    page.write_all(COMMON.as_bytes())?;
    page.write_all(SEE_ALSO.as_bytes())?;
    Ok(page)
}
