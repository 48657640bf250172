use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use regex::Regex;

use super::FILES;
use crate::web::tests::{World, request, route, told, wait};

fn strings() -> BTreeMap<&'static str, [&'static str; 2]> {
    let line = Regex::new(r#"(?m)^  "([^"]+)": \["((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)"\],$"#).unwrap();
    let text = text("strings.js");
    let all: Vec<_> = line.captures_iter(text).map(|found| found.extract::<3>().1).collect();
    let lines = text.lines().filter(|line| line.starts_with("  \"")).count();
    assert_eq!(all.len(), lines, "a line of another shape");
    let table: BTreeMap<_, _> = all.iter().map(|[key, en, pl]| (*key, [*en, *pl])).collect();
    assert_eq!(table.len(), lines, "a key twice");
    table
}

fn text(name: &str) -> &'static str {
    FILES.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("no {name}")).text
}

/// Scripts without their comments, but the one with the strings.
fn scripts() -> impl Iterator<Item = (&'static str, String)> {
    let scripts = FILES.iter().filter(|file| file.name.ends_with(".js") && file.name != "strings.js");
    scripts.map(|file| {
        let lines = file.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (file.name, lines.collect::<Vec<_>>().join("\n"))
    })
}

#[test]
fn each_string_is_in_both_languages_with_the_same_places() {
    let places = Regex::new(r"\{(\w+)\}").unwrap();
    let of = |text: &'static str| -> BTreeSet<_> { places.find_iter(text).map(|one| one.as_str()).collect() };
    let table = strings();
    assert!(table.len() > 200, "{}", table.len());
    for (key, [en, pl]) in &table {
        assert!(!en.is_empty() && !pl.is_empty(), "{key}");
        assert_eq!(of(en), of(pl), "{key}");
    }
    let differ = table.values().filter(|[en, pl]| en != pl).count();
    assert!(differ * 10 > table.len() * 9, "{differ} of {}: was it translated?", table.len());
}

#[test]
fn each_string_that_is_asked_for_is_there_and_each_that_is_there_is_asked_for() {
    let table = strings();
    let (whole, some) =
        (Regex::new(r#""([\w-]+(?:\.[\w-]+)*)""#).unwrap(), Regex::new(r"t\(\s*`([\w.]+)\.\$\{").unwrap());
    let asked = Regex::new(r#"\bt\(\s*"([^"]+)""#).unwrap();
    let words = Regex::new(r#"word\("(\w+)""#).unwrap();
    let (mut named, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for (file, script) in scripts() {
        for found in asked.captures_iter(&script) {
            assert!(table.contains_key(&found[1]), "{file}: there is no `{}`", &found[1]);
        }
        named.extend(whole.captures_iter(&script).map(|found| found[1].to_owned()));
        kinds.extend(some.captures_iter(&script).map(|found| found[1].to_owned()));
        kinds.extend(words.captures_iter(&script).map(|found| found[1].to_owned()));
        // Buttons of a user say whose they are.
        if script.contains("`${key}.of`") {
            named.extend(["roles.change.of", "reset.of", "disable.of", "endSessions.of"].map(str::to_owned));
        }
    }
    for key in table.keys() {
        let kind = key.split_once('.').map_or("", |(kind, _)| kind);
        assert!(named.contains(*key) || kinds.contains(kind), "nothing says `{key}`");
    }
    // Words of the vault's own lists.
    for role in crate::archive::access::Role::ALL {
        assert!(table.contains_key(format!("role.{}", role.as_str()).as_str()));
    }
}

/// No words of any language outside of the table.
#[test]
fn nothing_that_people_read_is_outside_of_the_strings() {
    let literal = Regex::new(r#""((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`"#).unwrap();
    let inside = Regex::new(r"\$\{[^}]*\}").unwrap();
    let sentence = Regex::new(r"[\p{L}]{2,} [\p{L}]{2,}").unwrap();
    let capital = Regex::new(r"^\p{Lu}\p{Ll}+").unwrap();
    let mut seen = 0;
    for (file, script) in scripts() {
        for line in script.lines() {
            for found in literal.captures_iter(line) {
                let text = found.get(1).or(found.get(2)).map_or("", |text| text.as_str());
                let text = inside.replace_all(text, "");
                seen += 1;
                let is_class = line.contains("class: ") || line.contains("require");
                let is_words = sentence.is_match(&text) && !is_class;
                let is_word = capital.is_match(&text) && !NAMES.contains(&text.trim_end());
                assert!(!is_words && !is_word, "{file}: `{text}` belongs into strings.js: {line}");
            }
        }
    }
    assert!(seen > 500, "{seen}");
}

/// Of keys, headers and events; and ours.
const NAMES: &[&str] = &[
    "ArrowLeft",
    "Enter",
    "ArrowRight",
    "ArrowDown",
    "ArrowUp",
    "PageDown",
    "PageUp",
    "Home",
    "End",
    "Enter",
    "Content-Type",
    "Retry-After",
    "Sejf",
    "Sejf-CSRF",
    "InvalidStateError",
];

#[test]
fn no_text_becomes_markup_and_nothing_comes_from_elsewhere() {
    for (file, script) in scripts() {
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "createContextualFragment",
            "srcdoc",
            "eval(",
            "Function(",
            "javascript:",
            "import(",
            "https://",
            "style:",
            ".cssText",
        ] {
            assert!(!script.contains(word), "{file}: {word}");
        }
        let addresses = script.matches("http://").count();
        assert_eq!(addresses, usize::from(file == "dom.js"), "{file}: the name of SVG alone");
    }
    let page = text("index.html");
    assert!(!page.contains("style=") && !page.contains("<style") && !page.contains("onload"));
    assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=\"/ui/").count());
    assert!(!text("app.css").contains("url(") && !text("app.css").contains("@import"));
}

#[test]
fn all_files_of_the_folder_are_served_and_kept_by_browsers_only_while_they_are_the_same() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/ui");
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".rs"))
        .collect();
    assert_eq!(there, FILES.iter().map(|file| file.name.to_owned()).collect());
    wait(async {
        let world = World::new().await;
        for file in FILES {
            let (id, path) = match file.name {
                "index.html" => ("page", "/".to_owned()),
                name => ("pageFile", format!("/ui/{name}")),
            };
            let ask = |tag: Option<String>| {
                let mut request = request(route(id), &path, None, &serde_json::Value::Null);
                if let Some(tag) = tag {
                    request.headers_mut().insert("if-none-match", tag.parse().unwrap());
                }
                world.send(route(id), request)
            };
            let answer = ask(None).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(header("content-type"), file.kind);
            assert_eq!(
                (header("x-content-type-options"), header("cache-control")),
                ("nosniff".into(), "no-cache".into())
            );
            let policy = header("content-security-policy");
            for part in
                ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
            {
                assert!(policy.contains(part), "{policy}");
            }
            assert!(
                !policy.contains("unsafe") && !policy.contains("data:") && !policy.contains('*'),
                "{policy}"
            );
            let tag = header("etag");
            let (status, body) = told(ask(Some(format!("\"x\", {tag}"))).await).await;
            assert_eq!((status, &body["bytes"]), (StatusCode::NOT_MODIFIED, &serde_json::json!(0)), "{path}");
            assert_eq!(ask(Some("\"x\"".into())).await.status(), StatusCode::OK);
        }
        for name in ["index.html", "nothing.js", "..%2fui.rs", "tests.rs"] {
            let request = request(route("pageFile"), &format!("/ui/{name}"), None, &serde_json::Value::Null);
            let (status, _) = told(world.send(route("pageFile"), request).await).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{name}");
        }
    });
}
