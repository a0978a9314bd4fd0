//! The generated files are what the generator makes of the definitions.

#[path = "../../../examples/protocol_generator/definition.rs"]
mod definition;
#[path = "../../../examples/protocol_generator/generate.rs"]
mod generate;

use std::path::Path;

/// The text without what formatting may change: blanks, line ends, trailing commas, and braces that a formatter adds or drops.
fn essence(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !matches!(c, ',' | '{' | '}')).collect()
}

#[test]
fn generated_files_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol");
    let files = generate::generate(&root.join("definitions")).expect("definitions are well-formed");
    let mut stale = Vec::new();
    for (name, text) in &files {
        let committed = std::fs::read_to_string(root.join(name)).unwrap_or_default();
        let mut words: [Vec<u8>; 2] = [essence(text).into_bytes(), essence(&committed).into_bytes()];
        // Formatting sorts imports and `pub use` lines.
        words.iter_mut().for_each(|bytes| bytes.sort_unstable());
        if words[0] != words[1] {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "run `cargo run --example protocol_generator`; stale: {stale:?}");
    let committed = std::fs::read_dir(root.join("messages")).expect("the folder is there").count();
    assert_eq!(committed, files.len() - 1, "a file in messages/ that no definition makes");
}
