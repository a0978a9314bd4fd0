//! The script for bash: works with bash 3.2 and later, with or without the bash-completion package.

use std::fmt::Write;

use super::{HEAD, Program, Values, topic_configs};

const START: &str = r#"
# The names that the cluster of this command line knows: topics or groups.
_ottla_names() {
    ottla complete "$1" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null
}

# Finds the word to complete ($cur) and the flag it is the value of ($flag). To bash '=' is a word of its own.
_ottla_words() {
    cur=${COMP_WORDS[COMP_CWORD]}
    flag=${COMP_WORDS[COMP_CWORD-1]}
    after_equals=
    if [[ $cur == "=" ]]; then
        cur= after_equals=1
    elif [[ $flag == "=" && $COMP_CWORD -ge 2 ]]; then
        flag=${COMP_WORDS[COMP_CWORD-2]} after_equals=1
    fi
    [[ $flag == -[!-]* ]] && flag=-$flag
}

# Offers those of the lines in $1 that begin with $cur.
_ottla_offer() {
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$1" -- "$cur"))
}

_ottla_offer_files() {
    local IFS=$'\n'
    COMPREPLY=($(compgen "$1" -- "$cur"))
    compopt -o filenames 2>/dev/null
}
"#;

fn offer(values: &Values) -> String {
    match values {
        Values::None | Values::Free => ":".to_owned(),
        Values::Choice(choices) => format!("_ottla_offer $'{}'", choices.join("\\n")),
        Values::Files => "_ottla_offer_files -f".to_owned(),
        Values::Directories => "_ottla_offer_files -d".to_owned(),
        Values::Names(kind) => format!("_ottla_offer \"$(_ottla_names {kind})\""),
        Values::TopicConfigs => format!("_ottla_offer $'{}'; compopt -o nospace 2>/dev/null", topic_configs().join("\\n")),
    }
}

pub(super) fn script(programs: &[Program]) -> String {
    let mut script = format!("# {HEAD}\n{START}");
    for program in programs {
        let _ = write!(script, "\n{}() {{\n    local cur flag after_equals\n    _ottla_words\n    case $flag in\n", program.function());
        for flag in program.flags.iter().filter(|flag| flag.values != Values::None) {
            // After an optional value's flag another flag may follow.
            let unless_flag = if flag.optional { "[[ $cur != -* ]] && { " } else { "" };
            let end = if flag.optional { "; return; }" } else { "; return" };
            let _ = writeln!(script, "        --{}) {unless_flag}{}{end} ;;", flag.long, offer(&flag.values));
        }
        let flags: Vec<String> = program.flags.iter().map(|flag| format!("--{}", flag.long)).collect();
        script.push_str("    esac\n    [[ -n $after_equals ]] && return\n");
        if program.operand != Values::None {
            let _ = writeln!(script, "    [[ $cur != -* ]] && {{ {}; return; }}", offer(&program.operand));
        }
        let _ = writeln!(script, "    _ottla_offer $'{}'\n}}", flags.join("\\n"));
    }
    script.push_str("\n_ottla() {\n    if [[ $COMP_CWORD -eq 1 ]]; then\n        local cur=${COMP_WORDS[1]}\n");
    let nouns: Vec<&str> = programs.iter().map(|program| program.noun.as_str()).collect();
    let _ = writeln!(script, "        _ottla_offer $'{}'\n        return\n    fi\n    case ${{COMP_WORDS[1]}} in", nouns.join("\\n"));
    for program in programs {
        let also = if program.name.is_empty() { String::new() } else { format!("|{}", program.name) };
        let _ = writeln!(script, "        {}{also}) {} ;;", program.noun, program.function());
    }
    script.push_str("    esac\n}\n\ncomplete -F _ottla ottla\n");
    for program in programs.iter().filter(|program| !program.name.is_empty()) {
        let _ = writeln!(script, "complete -F {} {} {}.sh", program.function(), program.name, program.name);
    }
    script
}
