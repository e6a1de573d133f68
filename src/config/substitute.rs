//! `${NAME}` in the values of the file: how secrets stay out of it.

use std::collections::BTreeMap;

/// Replaces every `${NAME}` by the variable's value and every `$$` by `$`. Other dollar signs stay as they are. The
/// values that were put in are not looked at again. The error never holds a value.
pub(super) fn substitute(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
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
            let Some(value) = variables.get(name) else {
                let remedy = "set it, or write \"$${\" for the text itself";
                return Err(format!("environment variable {name:?} is not set; {remedy}"));
            };
            result.push_str(value);
            rest = after;
        } else {
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "${A}".to_owned())]);
        substitute(text, &variables)
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
}
