//! The script for zsh, to be put as `_ottla` into a directory of `$fpath`.

use std::fmt::Write;

use super::{Flag, HEAD, Program, Values, topic_configs};

/// Text within single quotes, where `_arguments` gives brackets and colons a meaning.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "'\\''").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:")
}

fn action(values: &Values) -> String {
    match values {
        Values::None | Values::Free => " ".to_owned(),
        Values::Choice(choices) => format!("({})", choices.join(" ")),
        Values::Files => "_files".to_owned(),
        Values::Directories => "_files -/".to_owned(),
        // The blank keeps zsh from putting options of its own before the argument.
        Values::Names(kind) => format!(" _ottla_names {kind}"),
        Values::TopicConfigs => format!(" compadd -S \"\" {}", topic_configs().join(" ")),
    }
}

fn spec(flag: &Flag) -> String {
    let help = quoted(&flag.help);
    let name = quoted(&flag.value_name);
    match (&flag.values, flag.optional) {
        (Values::None, _) => format!("'*--{}[{help}]'", flag.long),
        (values, false) => format!("'*--{}=[{help}]:{name}:{}'", flag.long, action(values)),
        (values, true) => format!("'*--{}=[{help}]::{name}:{}'", flag.long, action(values)),
    }
}

pub(super) fn script(programs: &[Program]) -> String {
    let names: Vec<String> =
        programs.iter().filter(|it| !it.name.is_empty()).flat_map(|it| [it.name.clone(), format!("{}.sh", it.name)]).collect();
    let mut script = format!("#compdef ottla {}\n# {HEAD}\n", names.join(" "));
    script.push_str(
        r#"
# The names that the cluster of this command line knows: topics or groups.
_ottla_names() {
    local -a names
    names=(${(f)"$(ottla complete $1 "${(j: :)words[1,CURRENT]}" 2>/dev/null)"})
    compadd -a names
}
"#,
    );
    for program in programs {
        let _ = write!(script, "\n{}() {{\n    _arguments", program.function());
        for flag in &program.flags {
            let _ = write!(script, " \\\n        {}", spec(flag));
        }
        if program.operand != Values::None {
            let _ = write!(script, " \\\n        '1: :{}'", action(&program.operand));
        }
        script.push_str("\n}\n");
    }
    script.push_str("\n_ottla_commands() {\n    local -a commands\n    commands=(\n");
    for program in programs {
        let _ = writeln!(script, "        '{}:{}'", program.noun, program.about.replace('\'', "'\\''"));
    }
    script.push_str("    )\n    _describe command commands\n}\n\n_ottla() {\n    case $service in\n");
    for program in programs.iter().filter(|program| !program.name.is_empty()) {
        let _ = writeln!(script, "        {}|{}.sh) {}; return ;;", program.name, program.name, program.function());
    }
    script.push_str(
        "    esac\n    if (( CURRENT == 2 )); then\n        _ottla_commands\n        return\n    fi\n    shift words\n    (( CURRENT-- ))\n    case $words[1] in\n",
    );
    for program in programs {
        let also = if program.name.is_empty() { String::new() } else { format!("|{}", program.name) };
        let _ = writeln!(script, "        {}{also}) {} ;;", program.noun, program.function());
    }
    // Called when loaded by compinit; only defined when the whole text is evaluated.
    script.push_str("    esac\n}\n\nif [[ $funcstack[1] == _ottla ]]; then\n    _ottla \"$@\"\nelse\n    compdef _ottla ottla");
    for name in &names {
        let _ = write!(script, " {name}");
    }
    script.push_str("\nfi\n");
    script
}
