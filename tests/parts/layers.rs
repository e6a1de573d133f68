//! The layers of `src` and the invariants, as docs/architecture.md has them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Arrows = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The lines of a section of docs/architecture.md that are rows of a table, cell by cell.
fn rows(section: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, text) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    text.lines().filter(|line| line.starts_with('|')).skip(2).map(cells).collect()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn files_in(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_in(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// A file of tests, by its name.
fn is_of_tests(path: &Path) -> bool {
    path.components().any(|part| {
        let name = part.as_os_str().to_str().unwrap().trim_end_matches(".rs");
        name == "tests" || name == "testing" || name.ends_with("_tests")
    })
}

/// The code of a file, without comments and without the tests at its end.
fn code_of(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let tests = text.find("#[cfg(test)]\nmod tests {").or_else(|| text.find("#[cfg(test)]\npub(crate) mod tests {"));
    let text = &text[..tests.unwrap_or(text.len())];
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Which folder (or file) directly in `src` uses which other one.
fn arrows_in_code() -> Arrows {
    let source = root().join("src");
    let mut files = Vec::new();
    files_in(&source, &mut files);
    let mut arrows = Arrows::new();
    for path in files.iter().filter(|path| !is_of_tests(path.strip_prefix(&source).unwrap())) {
        let first = path.strip_prefix(&source).unwrap().components().next().unwrap();
        let from = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let code = code_of(path);
        for (at, _) in code.match_indices("crate::") {
            let to: String =
                code[at + "crate::".len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if to != from && (source.join(&to).is_dir() || source.join(format!("{to}.rs")).is_file()) {
                arrows.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    arrows
}

#[test]
fn each_folder_uses_what_the_table_of_layers_says_and_nothing_else() {
    let table: Arrows = rows("Layers")
        .iter()
        .map(|cells| (quoted(&cells[0]).pop_first().unwrap(), quoted(&cells[1])))
        .filter(|(_, may_use)| !may_use.is_empty())
        .collect();
    let code = arrows_in_code();
    for (folder, uses) in &code {
        let allowed = table.get(folder).cloned().unwrap_or_default();
        let others: Vec<_> = uses.difference(&allowed).collect();
        assert!(others.is_empty(), "src/{folder} uses {others:?}, which the table of layers does not allow");
    }
    for (folder, allowed) in &table {
        let unused: Vec<_> = allowed.difference(code.get(folder).unwrap_or(&BTreeSet::new())).cloned().collect();
        assert!(unused.is_empty(), "the table of layers lets src/{folder} use {unused:?}, which no code needs");
    }
}

#[test]
fn the_table_of_layers_names_each_folder_and_has_no_circle() {
    let mut below: BTreeSet<String> = BTreeSet::new();
    for cells in rows("Layers") {
        let folder = quoted(&cells[0]).pop_first().unwrap();
        let above: Vec<_> = quoted(&cells[1]).difference(&below).cloned().collect();
        assert!(above.is_empty(), "`{folder}` may use {above:?}, which stand below it in the table or nowhere");
        assert!(below.insert(folder.clone()), "`{folder}` stands there twice");
    }
    let source = root().join("src");
    for entry in std::fs::read_dir(source).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        assert!(below.contains(&name), "src/{name} has no row in the table of layers");
    }
}

#[test]
fn each_invariant_names_files_and_tests_that_are_there() {
    let mut files = Vec::new();
    files_in(&root().join("src"), &mut files);
    files_in(&root().join("tests"), &mut files);
    let all: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let invariants = rows("Invariants");
    assert!(invariants.len() >= 8, "the eight things that always hold, and more");
    for cells in invariants {
        for place in quoted(&cells[2]) {
            assert!(root().join(&place).exists(), "{}: there is no {place}", cells[0]);
        }
        let tests = quoted(&cells[3]);
        assert!(!tests.is_empty(), "{}: no test guards it", cells[0]);
        for test in tests {
            assert!(all.contains(&format!("fn {test}(")), "{}: there is no test {test}", cells[0]);
        }
    }
}

/// CONTRIBUTING.md and all files of docs/, by name.
fn documents() -> Vec<(String, String)> {
    let in_docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let paths = in_docs.chain([root().join("CONTRIBUTING.md")]);
    let documents = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn each_file_of_the_source_that_a_document_names_is_there() {
    let mut num_paths = 0;
    for (document, text) in documents() {
        for section in text.split("\n## ") {
            // Blocks of code have backquotes of their own.
            let prose: String = section.split("```").step_by(2).collect();
            let (mut folders, mut files) = (BTreeSet::new(), BTreeSet::new());
            for name in quoted(&prose) {
                if name.starts_with("src/") && !name.contains([' ', '*', '{']) {
                    let path = root().join(&name);
                    assert!(path.exists(), "{document}: there is no {name}");
                    folders.insert(if path.is_dir() { path } else { path.parent().unwrap().to_owned() });
                    num_paths += 1;
                } else if document.ends_with("architecture.md") && name.ends_with(".rs") && !name.contains('/') {
                    // Only there does a bare name mean a file of its section.
                    files.insert(name);
                }
            }
            for file in files {
                let is_there = folders.iter().any(|folder| folder.join(&file).is_file());
                assert!(is_there, "{document}: {file} is in none of the folders that its section names");
            }
        }
    }
    assert!(num_paths >= 100, "only {num_paths} paths were found");
}
