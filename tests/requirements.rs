//! `docs/requirements.md` is honest: it names every requirement once, every test that it names is there,
//! and the two cite each other. Doc comments cite requirements in square brackets: `[SHOP-21]`, `[UC-30, 31]`,
//! `[IPS-9, SHOP-12..17]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The families, and how many requirements each has.
const FAMILIES: [(&str, u32); 3] = [("IPS", 23), ("UC", 76), ("SHOP", 87)];

/// A requirement, as `SHOP-21`.
type Number = (&'static str, u32);

/// The document: the tests of what is done, and what is not yet.
#[derive(Default)]
struct Document {
    done: BTreeMap<Number, Vec<String>>,
    not_yet: BTreeSet<Number>,
}

/// A test in the sources, as `orders::its_name`, and the requirements that its doc comment cites.
struct Test {
    path: String,
    cites: Vec<Number>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_list_of_requirements_names_each_once_and_only_tests_that_exist() {
    let mut problems = Vec::new();
    let document = read_document(&mut problems);
    for (family, count) in FAMILIES {
        for number in (1..=count).map(|number| (family, number)) {
            if !document.done.contains_key(&number) && !document.not_yet.contains(&number) {
                problems.push(format!("{} is missing", shown(number)));
            }
        }
    }
    let tests: BTreeSet<String> = tests().into_iter().map(|test| test.path).collect();
    for (number, named) in &document.done {
        if named.is_empty() {
            problems.push(format!("{} is done, but no test shows it", shown(*number)));
        }
        for missing in named.iter().filter(|name| !tests.contains(*name)) {
            problems.push(format!(
                "{} names `{missing}`, which is no test",
                shown(*number)
            ));
        }
    }
    assert!(
        problems.is_empty(),
        "docs/requirements.md:\n{}",
        problems.join("\n")
    );
}

#[test]
fn the_list_names_a_test_where_the_test_cites_the_requirement_and_nowhere_else() {
    let document = read_document(&mut Vec::new());
    let named: BTreeSet<(Number, String)> = document
        .done
        .iter()
        .flat_map(|(number, tests)| tests.iter().map(|test| (*number, test.clone())))
        .collect();
    let cited: BTreeSet<(Number, String)> = tests()
        .into_iter()
        .flat_map(|test| {
            test.cites
                .into_iter()
                .map(move |number| (number, test.path.clone()))
        })
        .collect();
    let mut problems = Vec::new();
    for (number, test) in cited.difference(&named) {
        problems.push(format!(
            "`{test}` cites {}, whose row does not name it",
            shown(*number)
        ));
    }
    for (number, test) in named.difference(&cited) {
        problems.push(format!(
            "{} names `{test}`, whose comment does not cite it",
            shown(*number)
        ));
    }
    for source in sources() {
        for number in std::fs::read_to_string(&source)
            .unwrap()
            .lines()
            .flat_map(cited_in)
        {
            if !document.done.contains_key(&number) && !document.not_yet.contains(&number) {
                problems.push(format!(
                    "{} cites {}, which is not in the list",
                    source.display(),
                    shown(number)
                ));
            }
        }
    }
    assert!(
        problems.is_empty(),
        "docs/requirements.md:\n{}",
        problems.join("\n")
    );
}

#[test]
fn citations_are_read_in_every_form_that_they_have() {
    let read = |text| cited_in(text).map(shown).collect::<Vec<_>>();
    assert_eq!(read("/// [SHOP-21]"), ["SHOP-21"]);
    assert_eq!(
        read("// as [UC-30, 31] and [IPS-2] say"),
        ["UC-30", "UC-31", "IPS-2"]
    );
    assert_eq!(
        read("/// [IPS-9, SHOP-12..14]."),
        ["IPS-9", "SHOP-12", "SHOP-13", "SHOP-14"]
    );
    assert_eq!(read("let first = [UC-1];"), Vec::<String>::new());
    assert_eq!(
        read("/// [PLESK-4], [`Verifier`], [a, b], [UC-x], [UC-"),
        Vec::<String>::new()
    );
}

fn shown((family, number): Number) -> String {
    format!("{family}-{number}")
}

/// Reads the tables of the document, and notes what is wrong with them.
fn read_document(problems: &mut Vec<String>) -> Document {
    let text = std::fs::read_to_string(root().join("docs/requirements.md")).unwrap();
    let mut document = Document::default();
    let mut section = "";
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", first, what, rest @ .., ""] = cells.as_slice() else {
            continue;
        };
        for number in numbers(first) {
            if document.done.contains_key(&number) || document.not_yet.contains(&number) {
                problems.push(format!("{} is there twice", shown(number)));
            }
            if what.is_empty() {
                problems.push(format!("nothing is said of {}", shown(number)));
            }
            match (section, rest) {
                ("Done", [tests]) => {
                    let names = tests.split('`').skip(1).step_by(2).map(ToOwned::to_owned);
                    document.done.insert(number, names.collect());
                }
                ("Not yet", []) => {
                    document.not_yet.insert(number);
                }
                _ => problems.push(format!("{} is in no table that is known", shown(number))),
            }
        }
    }
    document
}

/// Every test of the integration tests (`orders::name`), the units (`src::licensing::pattern::name`) and
/// the client library (`sdk::token::name`).
fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for source in sources() {
        let relative = source.strip_prefix(root()).unwrap().with_extension("");
        let module = relative.to_str().unwrap().replace('/', "::");
        let module = match module.strip_prefix("tests::") {
            Some(module) => module.to_owned(),
            None => module.replacen("sdk::tests::it::", "sdk::", 1),
        };
        tests.extend(tests_in(
            &std::fs::read_to_string(&source).unwrap(),
            &module,
        ));
    }
    tests
}

fn tests_in(text: &str, module: &str) -> Vec<Test> {
    let mut tests = Vec::new();
    let (mut cites, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("//") {
            cites.extend(cited_in(line));
        } else if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        } else {
            // What the macros of `support` make tests of has these arguments.
            let by_macro =
                line.contains("(app: TestApp") || line.contains("(database: TestDatabase)");
            let declaration = line
                .strip_prefix("async ")
                .unwrap_or(line)
                .strip_prefix("fn ");
            if let Some((name, _)) = declaration.and_then(|rest| rest.split_once('('))
                && (is_test || by_macro)
            {
                let path = format!("{module}::{name}");
                tests.push(Test {
                    path,
                    cites: std::mem::take(&mut cites),
                });
            }
            cites.clear();
            is_test = false;
        }
    }
    tests
}

/// The sources that may hold tests.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = ["src", "tests", "sdk/src", "sdk/tests"]
        .map(|name| root().join(name))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    // This file cites only to explain.
    found.retain(|path| !path.ends_with("tests/requirements.rs"));
    found
}

/// The requirements that a line of comment cites.
fn cited_in(line: &str) -> impl Iterator<Item = Number> {
    let is_comment = line.trim().starts_with("//");
    let brackets = line.split('[').skip(1).filter(move |_| is_comment);
    brackets
        .filter_map(|rest| rest.split_once(']'))
        .flat_map(|(inner, _)| numbers(inner))
}

/// The requirements in `SHOP-21`, `UC-30, 31` or `IPS-9, SHOP-12..17`; none when it says anything else.
fn numbers(text: &str) -> Vec<Number> {
    let mut numbers = Vec::new();
    let mut family = None;
    for item in text.split(", ") {
        let digits = match item.split_once('-') {
            Some((name, digits)) => {
                family = FAMILIES
                    .iter()
                    .map(|(family, _)| *family)
                    .find(|family| *family == name);
                digits
            }
            None => item,
        };
        let (first, last) = digits.split_once("..").unwrap_or((digits, digits));
        let (Some(family), Ok(first), Ok(last)) =
            (family, first.parse::<u32>(), last.parse::<u32>())
        else {
            return Vec::new();
        };
        numbers.extend((first..=last).map(|number| (family, number)));
    }
    numbers
}
