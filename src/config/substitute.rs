//! `${NAME}` and `${file:PATH}` in the values of the file: how secrets stay out of it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What begins the name of a file.
const FILE: &str = "file:";

/// The longest file that is put into a value, in bytes: secrets are short, and a wrong path may be anything.
const MAX_FILE: u64 = 64 * 1024;

/// What values may name.
pub(super) struct Names<'a> {
    /// For `${NAME}`: the environment.
    pub variables: &'a BTreeMap<String, String>,
    /// For `${file:PATH}`: where a relative path begins.
    pub directory: &'a Path,
    /// The files that were named so far, also those that cannot be read.
    pub files: Vec<PathBuf>,
}

// === impl Names ===

impl Names<'_> {
    /// Replaces every `${NAME}` by the variable's value, every `${file:PATH}` by what the file holds without the newline at
    /// its end, and every `$$` by `$`. Other dollar signs stay as they are. The values that were put in are not looked at
    /// again. The error never holds a value.
    pub(super) fn substitute(&mut self, text: &str) -> Result<String, String> {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            result.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                result.push('$');
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let Some((name, after)) = after.split_once('}') else {
                    return Err("a \"${\" has no \"}\"; close it, or write \"$${\" for the text itself".to_owned());
                };
                match name.strip_prefix(FILE) {
                    Some(path) => result.push_str(&self.file(path)?),
                    None => result.push_str(self.variable(name)?),
                }
                rest = after;
            } else {
                result.push('$');
                rest = after;
            }
        }
        result.push_str(rest);
        Ok(result)
    }

    fn variable(&self, name: &str) -> Result<&str, String> {
        let remedy = "set it, or write \"$${\" for the text itself";
        let value = self.variables.get(name);
        value.map(String::as_str).ok_or_else(|| format!("environment variable {name:?} is not set; {remedy}"))
    }

    fn file(&mut self, path: &str) -> Result<String, String> {
        let path = self.directory.join(path);
        let read = read(&path).map_err(|error| format!("file {} cannot be used: {error}", path.display()));
        self.files.push(path);
        read
    }
}

fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    // Another error than "not text" says itself what it is.
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it has more than {MAX_FILE} bytes"));
    }
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if secret.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "${A}".to_owned())]);
        Names { variables: &variables, directory: Path::new(""), files: Vec::new() }.substitute(text)
    }

    #[test]
    fn names_are_replaced_once_and_two_dollars_are_one() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "1"),
            ("x${A}y${A}", "x1y1"),
            ("${B}", "${A}"),
            ("$${A}", "${A}"),
            ("$${file:x}", "${file:x}"),
            ("$$$$", "$$"),
            ("$ 5 and $x$", "$ 5 and $x$"),
        ] {
            assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_unset_name_and_an_open_brace_are_errors() {
        assert_eq!(
            run("${C}").unwrap_err(),
            r#"environment variable "C" is not set; set it, or write "$${" for the text itself"#
        );
        assert_eq!(run("${A").unwrap_err(), r#"a "${" has no "}"; close it, or write "$${" for the text itself"#);
    }

    #[test]
    fn a_file_is_put_in_without_its_last_newline_and_none_that_holds_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let variables = BTreeMap::new();
        let mut around = Names { variables: &variables, directory: directory.path(), files: Vec::new() };
        let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
        for (held, put_in) in [("${A}", "x${A}y"), ("two\nlines\r\n", "xtwo\nlinesy"), (" \n\n", "x \ny")] {
            write("secret", held.as_bytes());
            assert_eq!(around.substitute("x${file:secret}y").as_deref(), Ok(put_in), "{held:?}");
        }
        assert_eq!(around.files, vec![directory.path().join("secret"); 3]);
        write("empty", b"\n");
        write("large", &[b'x'; MAX_FILE as usize + 1]);
        write("binary", &[0xff]);
        for (name, reason) in
            [("empty", "it is empty"), ("large", "65536 bytes"), ("binary", "UTF-8"), ("none", "No such file")]
        {
            let error = around.substitute(&format!("${{file:{name}}}")).unwrap_err();
            assert!(error.contains(reason) && error.contains(name), "{error}");
        }
        assert_eq!(around.files.len(), 7, "a file that is not there yet is waited for, too");
    }
}
