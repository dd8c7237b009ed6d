//! ARCHITECTURE.md leads where it says.

use std::path::Path;

#[test]
fn every_path_that_the_map_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the map");
    let (_, table) = map.split_once("**To change …, open …**").expect("its table");
    let table = table.split("\n\n**").next().unwrap_or_default();
    let paths: Vec<&str> = table.split('`').skip(1).step_by(2).filter(|text| text.ends_with(".rs")).collect();
    assert!(paths.len() > 40, "{paths:?}");
    let missing: Vec<_> =
        paths.iter().filter(|path| **path != "config.rs" && !root.join("src").join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_room_is_on_the_map_in_the_order_of_the_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the map");
    let rooms =
        map.split("## Rooms").nth(1).and_then(|rest| rest.split("**Where a new room goes.**").next()).expect("rooms");
    let order: Vec<&str> =
        rooms.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|rest| rest.split('`').next()).collect();
    for entry in std::fs::read_dir(root.join("src")).expect("src").flatten() {
        let name = entry.file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
        let known = order.contains(&name.as_str()) || ["lib", "main", "fuzzing"].contains(&name.as_str());
        assert!(known, "{name} is no room of the map");
    }
    for (place, room) in order.iter().enumerate() {
        for used in uses(&root.join("src").join(room)) {
            let at = order.iter().position(|other| *other == used).filter(|at| *at != place);
            assert!(at.is_none_or(|at| at < place), "{room} uses {used}, which stands after it");
        }
    }
}

/// The other rooms that the files of a room import, tests left out.
fn uses(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let files: Vec<_> = match path.is_dir() {
        true => std::fs::read_dir(path).expect("a room").flatten().map(|entry| entry.path()).collect(),
        false => vec![path.with_extension("rs")],
    };
    let own = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    for file in files {
        if file.file_name().is_some_and(|name| name == "tests" || name == "tests.rs") {
            continue;
        }
        if file.is_dir() {
            found.extend(uses(&file));
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a file");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for rest in code.split("use crate::").skip(1) {
            let names = match rest.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap_or_default(),
                None => rest.split([':', ';', ' ']).next().unwrap_or_default(),
            };
            found.extend(names.split(',').map(|name| name.trim().split(':').next().unwrap_or_default().to_owned()));
        }
    }
    found.retain(|name| *name != own && !name.is_empty());
    found
}
