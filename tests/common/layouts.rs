//! A directory with the fleet's layouts, where `position` can get another version.

use std::path::Path;
use std::sync::Arc;

use surgetank::codec::Codecs;
use surgetank::schema::Value;

use super::device::{Message, position_of};
use super::now_ms;

/// The version of `position` that is not among the built-in ones.
pub const NEXT_VERSION: u8 = 3;

/// A directory of layouts; removed at the end.
pub struct Layouts {
    directory: tempfile::TempDir,
}

impl Layouts {
    /// The built-in layouts, in a directory.
    pub fn new() -> Self {
        let layouts = Self { directory: tempfile::tempdir().unwrap() };
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config/messages")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, layouts.path().join(path.file_name().unwrap())).unwrap();
        }
        layouts
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The path as a value of the config.
    pub fn quoted(&self) -> String {
        format!("{:?}", self.path().to_str().unwrap())
    }

    /// Writes a layout file in one step, as a careful editor does.
    pub fn write(&self, name: &str, text: &str) {
        let draft = self.path().join(format!("{name}.draft"));
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.path().join(name)).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Adds the next version of `position`: the last one with a `cargo` more. `field` are the field's own keys.
    pub fn add_next_version(&self, field: &str) {
        let text = self.read("position.toml");
        let last = text.rfind("[[version]]").unwrap();
        let next = text[last..].replace("version = 2", &format!("version = {NEXT_VERSION}"));
        let end = next.rfind(']').unwrap();
        let cargo = format!("    {{ name = \"cargo\", {field}, doc = \"What the vehicle carries\" }},\n]\n");
        self.write("position.toml", &format!("{text}\n{}{cargo}", &next[..end]));
    }

    /// [`Layouts::add_next_version`] with a weight, in the column `cargo`.
    pub fn add_cargo(&self) {
        self.add_next_version("kind = \"uint\", bits = 16, unit = \"kg\"");
    }

    pub fn codecs(&self) -> Arc<Codecs> {
        Arc::new(Codecs::load(self.path()).unwrap_or_else(|error| panic!("{error}")))
    }
}

/// A `position` of the next version with this cargo, made now.
pub fn with_cargo(codecs: &Codecs, sequence: u32, cargo: u16) -> Message {
    let fix = [Value::Double(1.2), Value::Uint(9), Value::Symbol("rtk".into())];
    let rest = [Value::Null, Value::Null, Value::Uint(cargo.into())];
    position_of(codecs, NEXT_VERSION, (sequence, now_ms()), &fix, &rest)
}
