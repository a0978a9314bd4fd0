//! The script for PowerShell, to be run from the profile.

use std::fmt::Write;

use super::{HEAD, Program, Values, topic_configs};

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What a flag's value may be: a list, or a word that says where values come from.
fn values(values: &Values) -> String {
    let list = |items: &[String]| format!("@({})", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "));
    match values {
        Values::None => "$null".to_owned(),
        Values::Free => "@()".to_owned(),
        Values::Choice(choices) => list(choices),
        Values::Files | Values::Directories => "'files'".to_owned(),
        Values::Names(kind) => quoted(kind),
        Values::TopicConfigs => list(&topic_configs()),
    }
}

pub(super) fn script(programs: &[Program]) -> String {
    let mut script = format!("# {HEAD}\n\n$ottlaPrograms = [ordered]@{{\n");
    for program in programs {
        let _ = writeln!(script, "    {} = @{{", quoted(&program.noun));
        let _ = writeln!(script, "        About = {}", quoted(&program.about));
        let _ = writeln!(script, "        Operand = {}", values(&program.operand));
        script.push_str("        Flags = [ordered]@{\n");
        for flag in &program.flags {
            let _ = writeln!(
                script,
                "            {} = @{{ Help = {}; Values = {} }}",
                quoted(&format!("--{}", flag.long)),
                quoted(&flag.help),
                values(&flag.values)
            );
        }
        script.push_str("        }\n    }\n");
    }
    script.push_str("}\n");
    let names: Vec<String> = std::iter::once("ottla".to_owned())
        .chain(programs.iter().filter(|it| !it.name.is_empty()).map(|it| it.name.clone()))
        .map(|name| quoted(&name))
        .collect();
    let _ = write!(script, "\nRegister-ArgumentCompleter -Native -CommandName {} -ScriptBlock {{", names.join(", "));
    script.push_str(
        r#"
    param($wordToComplete, $commandAst, $cursorPosition)
    $offer = {
        param($candidates, $prefix, $word)
        foreach ($candidate in $candidates) {
            if ($candidate -like "$word*") {
                [System.Management.Automation.CompletionResult]::new("$prefix$candidate", $candidate, 'ParameterValue', $candidate)
            }
        }
    }
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -le $cursorPosition } | ForEach-Object { $_.ToString() })
    if ($wordToComplete -ne '' -and $words.Count -gt 1) { $words = @($words[0..($words.Count - 2)]) }
    $noun = [System.IO.Path]::GetFileNameWithoutExtension($words[0]) -replace '^kafka-', ''
    if ($noun -eq 'ottla') {
        if ($words.Count -eq 1) {
            foreach ($name in $ottlaPrograms.Keys) {
                if ($name -like "$wordToComplete*") {
                    [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterValue', $ottlaPrograms[$name].About)
                }
            }
            return
        }
        $noun = $words[1] -replace '^kafka-', ''
    }
    $program = $ottlaPrograms[$noun]
    if ($null -eq $program) { return }
    $flag = $words[-1]
    $prefix = ''
    if ($wordToComplete -match '^(--[^=]+=)(.*)$') {
        $prefix = $Matches[1]
        $flag = $prefix.TrimEnd('=')
        $wordToComplete = $Matches[2]
    }
    $values = $null
    if ($program.Flags.Contains($flag)) { $values = $program.Flags[$flag].Values }
    elseif (-not $wordToComplete.StartsWith('-')) { $values = $program.Operand }
    if ($null -ne $values) {
        if ($values -is [string] -and $values -eq 'files') { return }
        if ($values -is [string]) {
            $line = $commandAst.ToString()
            $values = @(ottla complete $values $line 2>$null)
        }
        & $offer $values $prefix $wordToComplete
        return
    }
    foreach ($name in $program.Flags.Keys) {
        if ($name -like "$wordToComplete*") {
            [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterName', $program.Flags[$name].Help)
        }
    }
}
"#,
    );
    script
}
