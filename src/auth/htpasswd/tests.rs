use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::parse::MAX_NAME;
use super::*;

/// By Apache's `htpasswd -nbB`.
const ALICE: &str = "alice:$2y$05$VPin1qyn5.OeSKdZAg7KI.bJP8fFidgLYWd4oemBD6RQdNiS6Dj22";
const BOB: &str = "bob:$2y$04$J0bTeI0eUE.GT8qOreGpNut4nsAxHwtbh0XpnBzH24QZTr2/PVEDC";
const HASH: &str = "$2y$04$J0bTeI0eUE.GT8qOreGpNut4nsAxHwtbh0XpnBzH24QZTr2/PVEDC";
/// RFC 9106's algorithm, of "password" and "somesalt", from the tests of the reference implementation.
const ARGON2: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

fn right(users: &Users, name: &str, password: &str) -> bool {
    users.find(name).unwrap().hash.is_of(password.as_bytes()).unwrap()
}

/// Why the one line of the file is skipped.
fn told(line: impl AsRef<[u8]>) -> &'static str {
    let users = parse(line.as_ref()).unwrap();
    assert!(users.is_empty());
    assert_eq!(users.skipped().len(), 1);
    assert_eq!(users.skipped()[0].line, 1);
    users.skipped()[0].reason
}

#[test]
fn what_apache_writes_is_read() {
    let users = parse(format!("{ALICE}\n{BOB}\n").as_bytes()).unwrap();
    assert!(right(&users, "alice", "correct horse") && !right(&users, "alice", "correct horsf"));
    assert!(right(&users, "bob", "hunter2") && !right(&users, "bob", ""));
    assert!(users.find("carol").is_none() && users.find("").is_none() && users.find("Alice").is_none());
    assert!(users.skipped().is_empty());
    assert_eq!(users.len(), 2);
}

#[test]
fn white_space_comments_and_marks_are_passed_over() {
    let text = format!("\u{feff}{ALICE}\r\n\r\n   \n# {BOB}\n  #x\n\t{BOB}:a comment: and more \t\r\n\n");
    let users = parse(text.as_bytes()).unwrap();
    assert!(right(&users, "alice", "correct horse") && right(&users, "bob", "hunter2"));
    assert!(users.skipped().is_empty() && users.len() == 2);
    let users = parse(BOB.as_bytes()).unwrap();
    assert_eq!(users.len(), 1, "the last line need not end");
    for nothing in [&b""[..], b"\n", b"#", b"\xef\xbb\xbf", b"\r\n\r\n"] {
        assert!(parse(nothing).unwrap().is_empty());
    }
}

#[test]
fn a_name_may_be_anything_but_a_colon() {
    for name in ["a b", "ü", "DOMAIN\\user", "user@example.com", "a#b", "$", "a/b", "\u{1}", "a\"b"] {
        let users = parse(format!("{name}:{HASH}").as_bytes()).unwrap();
        assert!(right(&users, name, "hunter2"), "{name}");
    }
    let longest = "a".repeat(MAX_NAME);
    assert!(parse(format!("{longest}:{HASH}").as_bytes()).unwrap().find(&longest).is_some());
    assert!(told(format!("{longest}a:{HASH}")).contains("more than 255 bytes"));
    assert!(told(format!(":{HASH}")).contains("no name"));
    assert!(told(format!("a\0:{HASH}")).contains("NUL"));
    assert!(told(format!("a:{HASH}\0")).contains("NUL"));
    assert!(told([b"\xff:", HASH.as_bytes()].concat()).contains("UTF-8"));
    assert!(told("alice").contains("no colon"));
    assert!(told("alice:").contains("no hash"));
}

#[test]
fn the_first_line_of_a_name_counts_also_when_it_cannot_be_used() {
    let other = BOB.replace("bob:", "alice:");
    let users = parse(format!("{ALICE}\n{other}\n").as_bytes()).unwrap();
    assert!(right(&users, "alice", "correct horse"));
    assert_eq!(users.skipped().iter().map(|skipped| skipped.line).collect::<Vec<_>>(), [2]);
    let users = parse(format!("alice:!\n{ALICE}\n{BOB}").as_bytes()).unwrap();
    assert!(users.find("alice").is_none() && users.find("bob").is_some());
    assert_eq!(users.skipped().iter().map(|skipped| skipped.line).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn other_hashes_are_told_by_line_and_kind_and_never_shown() {
    let lines = [
        ("carol:$apr1$ol3O3ftQ$uyt7vrn8nkbz.KKc7AUEQ0", "$apr1$"),
        ("carol:$1$ol3O3ftQ$uyt7vrn8nkbz.KKc7AUEQ0", "$1$"),
        ("dave:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=", "SHA-1"),
        ("dave:{SSHA}EfatjsUqKYSrqv18O1FlA3hcIHI=", "SHA-1"),
        ("erin:XaoLFrUJAF2Cs", "plain text or by crypt"),
        ("frank:open sesame", "plain text or by crypt"),
        ("gina:$6$Eo1RHCe8iGX7Je7h$j1IO0XuQepH3", "SHA-512"),
        ("hal:$5$oQWhmdEoaUrkwyQv$FHpcxWTqg12", "SHA-256"),
        ("ida:$y$j9T$abc$def", "unknown kind"),
        ("jim:$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR", "not argon2id"),
        ("kay:$2x$05$VPin1qyn5.OeSKdZAg7KI.bJP8fFidgLYWd4oemBD6RQdNiS6Dj22", "$2x$"),
        ("kay:$2$05$VPin1qyn5.OeSKdZAg7KI.bJP8fFidgLYWd4oemBD6RQdNiS6Dj22", "unknown kind"),
    ];
    for (line, kind) in lines {
        let told = told(line);
        let hash = line.split_once(':').unwrap().1;
        assert!(told.contains(kind) && !told.contains(hash), "{line}: {told}");
    }
    let text = format!("# x\n\n{}\n{ALICE}\n{}\n", lines[0].0, lines[2].0);
    let users = parse(text.as_bytes()).unwrap();
    assert_eq!(users.skipped().iter().map(|skipped| skipped.line).collect::<Vec<_>>(), [3, 5]);
    assert_eq!(users.len(), 1);
}

#[test]
fn lines_that_cannot_be_used_are_told_by_name_with_what_to_do() {
    const MD5: &str = "$apr1$ol3O3ftQ$uyt7vrn8nkbz.KKc7AUEQ0";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    let shown = file.display();
    std::fs::write(&file, format!("{ALICE}\ncarol:{MD5}\nit's:{{SHA}}x\n{MD5}\n{ALICE}\n")).unwrap();
    assert_eq!(super::fault(&file), None, "alice can log in");
    let told = super::unused(&file);
    assert_eq!(told.len(), 4);
    assert!(told[0].0.contains("line 2 (user 'carol') has an MD5 hash"), "{told:?}");
    assert!(told[0].1.starts_with(&format!("`entrepot user passwd {shown} carol`")), "{told:?}");
    assert!(told[1].1.starts_with(&format!("`entrepot user passwd {shown} 'it'\\''s'`")), "{told:?}");
    assert!(told[2].0.contains("line 4 has no colon") && told[3].1.starts_with("correct the line"), "{told:?}");
    assert!(!format!("{told:?}").contains("ol3O3ftQ"), "{told:?}");
    std::fs::write(&file, format!("carol:{MD5}\n")).unwrap();
    let fault = super::fault(&file).unwrap();
    assert!(fault.contains("no user who can log in: line 1 (user 'carol')") && !fault.contains("ol3O3ftQ"), "{fault}");
    std::fs::write(&file, "# none yet\n").unwrap();
    assert_eq!(super::fault(&file), None);
}

#[test]
fn bcrypt_is_read_in_its_three_versions_and_up_to_a_cost() {
    for version in ["$2y$", "$2a$", "$2b$"] {
        let users = parse(BOB.replace("$2y$", version).as_bytes()).unwrap();
        assert!(right(&users, "bob", "hunter2"), "{version}");
    }
    assert_eq!(parse(BOB.replace("$04$", "$14$").as_bytes()).unwrap().len(), 1);
    for cost in ["15", "17", "31", "99"] {
        assert!(told(BOB.replace("$04$", &format!("${cost}$"))).contains("above 14"), "{cost}");
    }
    assert!(told(BOB.replace("$04$", "$03$")).contains("below 4"));
    let rest = &HASH["$2y$04$".len()..];
    for wrong in ["$2y$+4$", "$2y$4$", "$2y$004$", "$2y$ 4$", "$2y$", "$2y$é$", "$2y$04x"] {
        assert!(told(format!("bob:{wrong}{rest}")).contains("begins as bcrypt"), "{wrong}");
    }
    for wrong in [&BOB[..BOB.len() - 1], &format!("{BOB}a"), &BOB.replace('/', "!"), &BOB.replace('/', "é")] {
        assert!(told(wrong).contains("begins as bcrypt"), "{wrong}");
    }
}

#[test]
fn bcrypt_compares_the_first_72_bytes() {
    let long = "a".repeat(80);
    let hash = bcrypt::hash(&long, 4).unwrap();
    let users = parse(format!("x:{hash}").as_bytes()).unwrap();
    assert!(right(&users, "x", &long) && right(&users, "x", &long[..72]) && !right(&users, "x", &long[..71]));
}

#[test]
fn argon2id_is_read_within_bounds() {
    let users = parse(format!("x:{ARGON2}").as_bytes()).unwrap();
    assert!(right(&users, "x", "password") && !right(&users, "x", "passwore"));
    for (from, to, expected) in [
        ("m=256", "m=262145", "256 MiB"),
        ("m=256", "m=4294967295", "256 MiB"),
        ("t=2", "t=17", "16 iterations"),
        ("p=1", "p=17", "16 iterations"),
        ("c29tZXNhbHQ", "c29tZQ", "too short"),
        ("nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "nf65", "too short"),
        ("v=19", "v=16", "does not go on"),
        ("v=19$", "", "does not go on"),
        ("m=256", "m=7", "does not go on"),
        ("m=256", "m=99999999999", "does not go on"),
        ("m=256", "m=+256", "does not go on"),
        ("m=256", "m=", "does not go on"),
        ("t=2", "t=0", "does not go on"),
        ("p=1", "p=0", "does not go on"),
        ("p=1", "p=1,data=AAAA", "does not go on"),
        ("m=256,t=2", "t=2,m=256", "does not go on"),
        ("c29tZXNhbHQ", "c29tZXNhbH!", "does not go on"),
        ("i/4", "i/4=", "does not go on"),
        ("i/4", "i/4$", "does not go on"),
    ] {
        let line = format!("x:{}", ARGON2.replace(from, to));
        assert!(told(&line).contains(expected), "{to}: {}", told(&line));
    }
    let long = "A".repeat(88);
    assert!(
        told(format!("x:$argon2id$v=19$m=256,t=2,p=1${long}$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"))
            .contains("too long")
    );
    let most = ARGON2.replace("m=256,t=2,p=1", "m=262144,t=16,p=16");
    assert_eq!(parse(format!("x:{most}").as_bytes()).unwrap().len(), 1);
}

#[test]
fn what_is_made_is_read_and_right() {
    for recipe in [Recipe::Bcrypt { cost: 4 }, Recipe::Argon2] {
        let (one, other) = (make(b"pass", recipe).unwrap(), make(b"pass", recipe).unwrap());
        assert_ne!(one, other, "each has a salt of its own");
        let users = parse(format!("x:{one}").as_bytes()).unwrap();
        assert!(right(&users, "x", "pass") && !right(&users, "x", "Pass"));
    }
    assert!(make(b"x", Recipe::Bcrypt { cost: 4 }).unwrap().starts_with("$2y$04$"));
    assert!(make(&[b'a'; 71], Recipe::Bcrypt { cost: 4 }).is_ok());
    assert_eq!(make(&[b'a'; 72], Recipe::Bcrypt { cost: 4 }), Err(MakeError::TooLong));
    for cost in [0, 3, 15, 31, 32] {
        assert_eq!(make(b"x", Recipe::Bcrypt { cost }), Err(MakeError::Cost));
    }
}

#[test]
fn who_is_not_there_costs_what_most_cost() {
    use super::hash::Work;
    let line = |name: &str, hash: &str| format!("{name}:{hash}\n");
    let work = |text: &str| parse(text.as_bytes()).unwrap().dummy().work();
    assert!(work("") == Work::Bcrypt { cost: 10 } && Users::default().dummy().work() == Work::Bcrypt { cost: 10 });
    assert!(work(&line("a", HASH)) == Work::Bcrypt { cost: 4 });
    let many = format!("{ALICE}\n{}{}", line("b", ARGON2), line("c", ARGON2));
    assert!(work(&many) == Work::Argon2 { memory: 256, iterations: 2, lanes: 1 });
    let users = parse(format!("{many}{}{}", line("d", HASH), line("e", HASH)).as_bytes()).unwrap();
    assert!(!users.dummy().is_of(b"hunter2").unwrap());
    for hash in [HASH, ARGON2] {
        let dummy = Hash::read(hash).unwrap().dummy();
        assert_eq!(dummy.text().len(), hash.len());
        assert!(Hash::read(dummy.text()).is_ok_and(|read| read.work() == dummy.work()), "it is written as one");
        assert!(!dummy.is_of(b"").unwrap() && !dummy.is_of(b"password").unwrap());
    }
}

#[test]
fn another_password_is_another_version() {
    let version = |text: &str| parse(text.as_bytes()).unwrap().version("bob").map(str::to_owned);
    let first = version(BOB).unwrap();
    assert_eq!(first.len(), 32);
    assert!(first.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(version(&format!("{ALICE}\r\n{BOB}\r\n")), Some(first.clone()), "wherever it stands");
    assert_ne!(version(&BOB.replace("PVEDC", "PVEDG")), Some(first.clone()));
    assert_ne!(version(&BOB.replace("$2y$", "$2b$")), Some(first));
    assert_eq!(version(ALICE), None);
}

#[test]
fn nothing_but_names_is_shown() {
    let users = parse(format!("{ALICE}\ncarol:hunter2\n").as_bytes()).unwrap();
    assert_eq!(format!("{users:?}"), "{\"alice\"}");
}

#[test]
fn a_file_has_bounds() {
    let text = |count: usize| (0..count).map(|index| format!("user{index}:{HASH}\n")).collect::<String>();
    assert_eq!(parse(text(MAX_USERS).as_bytes()).unwrap().len(), MAX_USERS);
    assert_eq!(parse(text(MAX_USERS + 1).as_bytes()).err(), Some(ParseError::TooMany));
    assert_eq!(parse("x\n".repeat(MAX_USERS + 1).as_bytes()).err(), Some(ParseError::TooMany));
    assert!(parse(&[b'#'; MAX_FILE]).unwrap().is_empty());
    assert_eq!(parse(&[b'#'; MAX_FILE + 1]).err(), Some(ParseError::TooLong));
    for text in [&b"\xff\xfea\0:\0"[..], b"\xfe\xff\0a\0:"] {
        assert_eq!(parse(text).err(), Some(ParseError::Utf16));
    }
}

#[test]
fn the_file_is_followed_by_content_and_kept_while_it_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    assert!(HtpasswdFile::open(&path).err().unwrap().to_string().contains("does not exist"));
    fs::write(&path, ALICE).unwrap();
    let file = HtpasswdFile::open(&path).unwrap();
    let names = || format!("{:?}", file.users());
    assert_eq!((file.refresh(), names()), (Refreshed::Unchanged, "{\"alice\"}".into()));

    // As long as before, and as old.
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, ALICE.replace("alice", "alicf")).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    assert_eq!((file.refresh(), names()), (Refreshed::Changed, "{\"alicf\"}".into()));

    fs::remove_file(&path).unwrap();
    assert_eq!((file.refresh(), file.refresh(), names()), (Refreshed::Kept, Refreshed::Kept, "{\"alicf\"}".into()));
    fs::create_dir(&path).unwrap();
    assert_eq!((file.refresh(), names()), (Refreshed::Kept, "{\"alicf\"}".into()));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, vec![b'#'; MAX_FILE + 1]).unwrap();
    assert_eq!((file.refresh(), names()), (Refreshed::Kept, "{\"alicf\"}".into()));
    fs::write(&path, ALICE.replace("alice", "alicf")).unwrap();
    assert_eq!((file.refresh(), names()), (Refreshed::Unchanged, "{\"alicf\"}".into()));
    fs::write(&path, "").unwrap();
    assert_eq!((file.refresh(), names()), (Refreshed::Changed, "{}".into()), "an empty file has no users");
}

#[test]
fn a_secret_of_kubernetes_changes_by_its_link() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [("..1", ALICE), ("..2", BOB)] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("users"), text).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/users", at("users")).unwrap();
    let file = HtpasswdFile::open(&at("users")).unwrap();
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..1")).unwrap();
    assert_eq!(file.refresh(), Refreshed::Changed);
    assert_eq!(format!("{:?}", file.users()), "{\"bob\"}");
}

#[test]
fn half_a_file_is_never_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, ALICE).unwrap();
    let file = HtpasswdFile::open(&path).unwrap();
    // As `htpasswd` writes: the file is emptied first.
    fs::write(&path, "").unwrap();
    let written = || fs::write(&path, BOB).unwrap();
    assert_eq!(file.refresh_after(written), Refreshed::Kept);
    assert!(file.users().find("alice").is_some() && file.users().find("bob").is_none());
    assert_eq!(file.refresh(), Refreshed::Changed);
}

fn edited(text: &str, change: Edit<'_>) -> Result<String, EditError> {
    edit(text.as_bytes(), &change).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn a_user_is_added_at_the_end_as_the_file_is_written() {
    let add = Edit::Add { name: "new", hash: HASH };
    for (before, after) in [
        ("", format!("new:{HASH}\n")),
        ("# x\n", format!("# x\nnew:{HASH}\n")),
        ("# x", format!("# x\nnew:{HASH}\n")),
        ("# x\r\n", format!("# x\r\nnew:{HASH}\r\n")),
        ("# x\r\n# y", format!("# x\r\n# y\r\nnew:{HASH}\r\n")),
        ("\u{feff}", format!("\u{feff}new:{HASH}\n")),
        ("\u{feff}x:y\n\n", format!("\u{feff}x:y\n\nnew:{HASH}\n")),
        ("#new:x\n", format!("#new:x\nnew:{HASH}\n")),
    ] {
        assert_eq!(edited(before, add), Ok(after), "{before:?}");
    }
    for there in ["new:x", "new", "a:b\n new:x\r\n", "\u{feff}new:x", "new:{SHA}x\nb:c"] {
        assert_eq!(edited(there, add), Err(EditError::Exists), "{there:?}");
    }
}

#[test]
fn every_other_line_stays_byte_for_byte() {
    let before = b"\xef\xbb\xbf# M\xfcller\r\n\tbob:x:his comment: \xff \r\n\n alice:y\nbob:second\n\r\n#end";
    let replaced = edit(before, &Edit::Replace { name: "bob", hash: HASH }).unwrap();
    let expected = [
        &b"\xef\xbb\xbf# M\xfcller\r\n\tbob:"[..],
        HASH.as_bytes(),
        b":his comment: \xff \r\n\n alice:y\nbob:second\n\r\n#end",
    ];
    assert_eq!(replaced, expected.concat());
    let removed = edit(before, &Edit::Remove { name: "bob" }).unwrap();
    assert_eq!(removed, b"\xef\xbb\xbf# M\xfcller\r\n\n alice:y\n\r\n#end");
    assert_eq!(edited("bob", Edit::Replace { name: "bob", hash: HASH }), Ok(format!("bob:{HASH}")));
    assert_eq!(edited("bob:x\r\n", Edit::Replace { name: "bob", hash: HASH }), Ok(format!("bob:{HASH}\r\n")));
    assert_eq!(edited(BOB, Edit::Remove { name: "bob" }), Ok(String::new()));
}

#[test]
fn what_cannot_be_edited_is_told() {
    for change in [Edit::Replace { name: "bob", hash: HASH }, Edit::Remove { name: "bob" }] {
        for text in ["", ALICE, "#bob:x", "bobby:x", "Bob:x"] {
            assert_eq!(edited(text, change), Err(EditError::Absent), "{text}");
        }
    }
    let longest = "a".repeat(MAX_NAME + 1);
    for name in ["", "a:b", "a\nb", "a\rb", "a\0b", "#a", " a", "a ", "\u{feff}a", "a\u{7f}", &longest] {
        assert!(matches!(edited("", Edit::Add { name, hash: HASH }), Err(EditError::Name(_))), "{name:?}");
    }
    for hash in ["", "x", "$2y$15$J0bTeI0eUE.GT8qOreGpNut4nsAxHwtbh0XpnBzH24QZTr2/PVEDC", "$apr1$x$y"] {
        assert!(matches!(edited("", Edit::Add { name: "a", hash }), Err(EditError::Hash(_))));
        assert!(matches!(edited("a:x", Edit::Replace { name: "a", hash }), Err(EditError::Hash(_))));
    }
    let utf16 = edit(b"\xff\xfeb\0", &Edit::Add { name: "a", hash: HASH });
    assert_eq!(utf16, Err(EditError::File(ParseError::Utf16)));
    let full = "x\n".repeat(MAX_USERS);
    assert_eq!(edited(&full, Edit::Add { name: "a", hash: HASH }), Err(EditError::File(ParseError::TooMany)));
    assert!(edited(&format!("{full}b:c\n"), Edit::Remove { name: "b" }).is_ok(), "less is always possible");
    let long = "#".repeat(MAX_FILE - 1);
    assert_eq!(edited(&long, Edit::Add { name: "a", hash: HASH }), Err(EditError::File(ParseError::TooLong)));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_file_is_replaced_whole_with_its_mode_behind_its_link() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("users"), folder.path().join("link"));
    let add = |path: &Path, name: &str| change(path, &Edit::Add { name, hash: HASH });
    add(&path, "a").unwrap();
    assert_eq!(mode(&path), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    symlink("users", &link).unwrap();
    add(&link, "b").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(mode(&path), 0o646, "also what the umask would take away");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("a:{HASH}\nb:{HASH}\n"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");

    let inode = fs::metadata(&path).unwrap().ino();
    let told = add(&path, "b").unwrap_err().to_string();
    assert!(told.contains("users") && told.contains("there already"), "{told}");
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "what is refused writes nothing");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn what_is_no_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let told = |path: &Path, wanted: Edit<'_>| change(path, &wanted).unwrap_err().to_string();
    let (add, remove) = (Edit::Add { name: "a", hash: HASH }, Edit::Remove { name: "a" });
    assert!(told(&absent, remove).contains("no such file"));
    assert!(told(&absent, Edit::Replace { name: "a", hash: HASH }).contains("no such file"));
    assert!(told(folder.path(), add).contains("no regular file"));
    assert!(told(&absent.join("deep"), add).contains("cannot be written"));
    assert!(told(&absent, Edit::Add { name: "a:b", hash: HASH }).contains("no colon"));
    let link = folder.path().join("link");
    symlink("absent", &link).unwrap();
    assert!(told(&link, add).contains("points to nothing"));
    assert!(!absent.exists());
}

#[test]
fn of_many_changes_at_once_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let names: Vec<String> = (0..16).map(|index| format!("user{index}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| change(&path, &Edit::Add { name, hash: HASH }).unwrap());
        }
    });
    let users = parse(&fs::read(&path).unwrap()).unwrap();
    assert!(users.len() == 16 && names.iter().all(|name| users.find(name).is_some()));
}

/// Lines as they are met, and damaged ones.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let names = prop_oneof!["[ab]", "[ -~]{0,4}", "\\PC{0,3}"];
    let hashes = prop_oneof![Just(HASH.to_owned()), Just(ARGON2.to_owned()), "\\PC{0,8}"];
    let ends = prop_oneof![Just("\n"), Just("\r\n"), Just(""), Just("\n\n#x\n"), Just(":x\n")];
    let line = (names, hashes, ends).prop_map(|(name, hash, end)| format!("{name}:{hash}{end}").into_bytes());
    let piece = prop_oneof![4 => line, 1 => proptest::collection::vec(any::<u8>(), 0..8)];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256), file in file(), name in "[ab]|\\PC{0,4}") {
        crate::auth::fuzz::try_all(&bytes);
        crate::auth::fuzz::try_all(&file);
        crate::auth::fuzz::try_all(&[name.as_bytes(), b"\n", &file].concat());
    }

    #[test]
    fn another_password_leaves_all_others_as_they_are(file in file(), name in "[ab]") {
        if let Ok(after) = edit(&file, &Edit::Replace { name: &name, hash: HASH }) {
            let (before, after) = (parse(&file).unwrap(), parse(&after).unwrap());
            for other in ["a", "b"].into_iter().filter(|other| *other != name) {
                prop_assert_eq!(before.version(other), after.version(other));
            }
        }
    }
}
