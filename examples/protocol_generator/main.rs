//! `cargo run --example protocol_generator`: writes `src/protocol/messages/` and `src/protocol/api_key.rs` anew from
//! `src/protocol/definitions/`. A test of the project fails while the two differ.

mod definition;
mod generate;

use std::path::Path;
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = generate::generate(&root.join("src/protocol/definitions"))?;
    let messages = root.join("src/protocol/messages");
    if messages.exists() {
        std::fs::remove_dir_all(&messages)?;
    }
    std::fs::create_dir_all(&messages)?;
    let mut paths = Vec::new();
    for (name, text) in files {
        let path = root.join("src/protocol").join(name);
        std::fs::write(&path, text)?;
        paths.push(path);
    }
    let status = Command::new("rustfmt").args(["--edition", "2024", "--config-path"]).arg(root).args(&paths).status()?;
    if !status.success() {
        return Err("rustfmt failed".into());
    }
    Ok(())
}
