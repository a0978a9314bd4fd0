//! The script for fish, for a directory of configuration snippets such as `~/.config/fish/conf.d`.

use std::fmt::Write;

use super::{Flag, HEAD, Program, Values, topic_configs};

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What a flag's value may be, as options of fish's `complete`.
fn values(values: &Values, optional: bool) -> String {
    // A value that may be left out must not be required.
    let (with_files, without_files) = if optional { ("", "") } else { (" -r -F", " -x") };
    match values {
        Values::None => String::new(),
        Values::Free => without_files.to_owned(),
        Values::Choice(choices) => format!("{without_files} -a {}", quoted(&choices.join(" "))),
        Values::Files => with_files.to_owned(),
        Values::Directories => format!("{without_files} -a '(__fish_complete_directories)'"),
        Values::Names(kind) => format!("{without_files} -a '(__ottla_names {kind})'"),
        Values::TopicConfigs => format!("{without_files} -a {}", quoted(&topic_configs().join(" "))),
    }
}

fn line(command: &str, condition: &str, flag: &Flag) -> String {
    format!("complete -c {command}{condition} -l {}{} -d {}\n", flag.long, values(&flag.values, flag.optional), quoted(&flag.help))
}

pub(super) fn script(programs: &[Program]) -> String {
    let mut script = format!("# {HEAD}\n");
    script.push_str(
        r#"
# The names that the cluster of this command line knows: topics or groups.
function __ottla_names
    ottla complete $argv[1] (commandline -cp) 2>/dev/null
end

function __ottla_command
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] $argv
end

complete -c ottla -f
"#,
    );
    for program in programs {
        let _ = writeln!(
            script,
            "complete -c ottla -n 'test (count (commandline -opc)) -eq 1' -a {} -d {}",
            program.noun,
            quoted(&program.about)
        );
    }
    for program in programs {
        let also = if program.name.is_empty() { String::new() } else { format!(" {}", program.name) };
        let condition = format!(" -n '__ottla_command {}{also}'", program.noun);
        let _ = writeln!(script, "\n# {}", program.noun);
        if program.operand != Values::None {
            let _ = writeln!(script, "complete -c ottla{condition}{}", values(&program.operand, false).replace(" -x", " -f"));
        }
        for flag in &program.flags {
            script.push_str(&line("ottla", &condition, flag));
        }
        if program.name.is_empty() {
            continue;
        }
        let _ = writeln!(script, "complete -c {} -f", program.name);
        for flag in &program.flags {
            script.push_str(&line(&program.name, "", flag));
        }
        let _ = writeln!(script, "complete -c {}.sh -w {}", program.name, program.name);
    }
    script
}
