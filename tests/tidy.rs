//! The map of the rooms in `ARCHITECTURE.md` and the code agree: no file names a room that its own may not use.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Rooms and files that every room may use.
const COMMON: [&str; 3] = ["limits", "name", "random"];
/// Those that put the rooms together, and so may use every one.
const FREE: [&str; 4] = ["app", "cli", "main", "lib"];

#[test]
fn no_room_uses_another_against_the_arrows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let arrows = arrows(&fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap());
    let mut wrong = Vec::new();
    for file in rust_files(&root.join("src")) {
        let room = room_of(&file, &root.join("src"));
        if FREE.contains(&room.as_str()) || COMMON.contains(&room.as_str()) {
            continue;
        }
        let Some(allowed) = arrows.get(&room) else { panic!("room {room} ({}) is not on the map", file.display()) };
        for used in uses(&fs::read_to_string(&file).unwrap()) {
            if used != room && !COMMON.contains(&used.as_str()) && !allowed.contains(&used) {
                wrong.push(format!("{}: {room} may not use {used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for room in arrows.keys() {
        assert!(root.join("src").join(room).exists(), "the map names a room that does not exist: {room}");
    }
}

#[test]
fn the_reader_of_paths_sees_nested_and_plain_ones() {
    let text = "use crate::{\n    access::{Permit, Principal},\n    mux::WireId,\n};\nfn f() { crate::hub::x() }\n// crate::doc::x\n";
    assert_eq!(uses(text), BTreeSet::from(["access", "hub", "mux"].map(String::from)));
}

/// `room: other other` lines of the block fenced as `arrows`.
fn arrows(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let block = page.split("```arrows").nth(1).and_then(|rest| rest.split("```").next()).expect("ARCHITECTURE.md has an arrows block");
    let lines = block.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(room, others)| (room.trim().to_owned(), others.split_whitespace().map(str::to_owned).collect())).collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn room_of(file: &Path, src: &Path) -> String {
    let first = file.strip_prefix(src).unwrap().components().next().unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned()
}

/// First segments of every `crate::…` path, those of `crate::{…}` groups too. Comments do not count.
fn uses(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    let mut rooms = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(top_level(group)),
            None => {
                rooms.insert(word(rest));
            }
        }
    }
    rooms
}

/// The first words of the items of a `{…}` group, up to its closing brace.
fn top_level(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut items) = (0, String::new(), Vec::new());
    for char in group.chars() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            _ => {}
        }
        if depth == 0 && char != ',' {
            item.push(char);
        }
    }
    items.push(item);
    items.iter().map(|item| word(item.trim())).filter(|word| !word.is_empty()).collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}
