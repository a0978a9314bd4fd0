//! The committed completions and man pages are what the definitions of the arguments make.

use std::fs;
use std::path::{Path, PathBuf};

use super::call;

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["completions", "man"]
        .iter()
        .flat_map(|sub| fs::read_dir(dir.join(sub)).expect("a directory"))
        .map(|entry| entry.expect("readable").path().strip_prefix(dir).expect("below").to_owned())
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn completions_and_man_pages_are_fresh() {
    let made = tempfile::tempdir().expect("a directory");
    call("ottla generate").argument(made.path().to_str().expect("UTF-8")).transcript().await;
    let committed = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(files_below(committed), files_below(made.path()), "after `cargo run -- generate .` these are the same");
    for file in files_below(made.path()) {
        let content = |dir: &Path| String::from_utf8(fs::read(dir.join(&file)).expect("readable")).expect("UTF-8");
        assert!(content(committed) == content(made.path()), "{} is stale: run `cargo run -- generate .`", file.display());
    }
}

#[tokio::test]
async fn a_script_is_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = call(&format!("ottla completion {shell}")).transcript().await;
        for expected in ["kafka-topics", "under-min-isr-partitions", "ottla complete"] {
            assert!(script.contains(expected), "{shell}: {expected}");
        }
    }
}
