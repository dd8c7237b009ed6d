//! What clients keep instead of a password, where the configuration lets them.

use crate::harness::{Answer, Entrepot, Request, Setup, eventually, scratch};

const PASSWORD: &str = "5ecret-p4ssword";
const SCOPE: &str = "repository:team/a:pull,push";

fn start(on: bool) -> (Entrepot, tempfile::TempDir) {
    let folder = scratch();
    let setup = Setup::registry()
        .storage_at(&folder.path().join("data"))
        .set("auth.username", "\"ann\"")
        .set("auth.password", &format!("{PASSWORD:?}"))
        .set("auth.refresh_tokens", &on.to_string());
    (setup.start(), folder)
}

fn login(entrepot: &Entrepot, password: &str) -> Answer {
    let target = "/token?account=ann&client_id=docker&offline_token=true&service=entrepot";
    Request::get(target).basic("ann", password).send(entrepot.address)
}

fn refresh(entrepot: &Entrepot, shown: &str) -> Answer {
    let form = format!(
        "grant_type=refresh_token&client_id=docker&service=entrepot&scope={}&refresh_token={shown}",
        SCOPE.replace(':', "%3A").replace('/', "%2F").replace(',', "%2C")
    );
    let request = Request::new("POST", "/token").header("Content-Type", "application/x-www-form-urlencoded");
    request.body(form).send(entrepot.address)
}

fn kept(answer: &Answer) -> Option<String> {
    answer.json()["refresh_token"].as_str().map(str::to_owned)
}

#[test]
fn one_is_good_for_tokens_until_it_is_revoked() {
    let (entrepot, _folder) = start(true);
    let shown = kept(&login(&entrepot, PASSWORD)).expect("a refresh token");
    let answer = refresh(&entrepot, &shown);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((answer.json()["scope"].as_str(), kept(&answer).as_deref()), (Some(SCOPE), Some(&*shown)));
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    let push = |token: &str| {
        let request =
            Request::new("POST", "/v2/team/a/blobs/uploads/").header("Authorization", format!("Bearer {token}"));
        request.send(entrepot.address).status
    };
    assert_eq!(push(&token), 202);
    // It is no password, no robot and no token itself.
    assert_eq!(push(&shown), 401);
    assert_eq!(Request::get("/v2/").basic("ann", &shown).send(entrepot.address).status, 401);
    assert_eq!(login(&entrepot, "wrong").status, 401);
    let config = entrepot.config_path().display().to_string();
    let listed = Entrepot::cli(&["token", "list", "--config", &config]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("refresh token of this user") && !listed.contains(&shown), "{listed}");
    let id = listed.split_whitespace().next().expect("an id");
    assert!(Entrepot::cli(&["token", "revoke", id, "--config", &config]).status.success());
    eventually("it is refused", || refresh(&entrepot, &shown).status == 401);
    assert_eq!(refresh(&entrepot, "ent_a_b_c").status, 401);
}

#[test]
fn another_password_ends_it() {
    let (mut entrepot, _folder) = start(true);
    let shown = kept(&login(&entrepot, PASSWORD)).expect("a refresh token");
    assert_eq!(refresh(&entrepot, &shown).status, 200);
    entrepot.reload(|setup| setup.set("auth.password", "\"another-p4ssword\""), "ok");
    assert_eq!(refresh(&entrepot, &shown).status, 401);
    entrepot.reload(|setup| setup.set("auth.password", &format!("{PASSWORD:?}")), "ok");
    assert_eq!(refresh(&entrepot, &shown).status, 200);
}

#[test]
fn none_is_given_unless_the_configuration_says_so_and_no_more_than_a_few() {
    let (mut entrepot, _folder) = start(false);
    let answer = login(&entrepot, PASSWORD);
    assert_eq!((answer.status, kept(&answer)), (200, None));
    entrepot.reload(|setup| setup.set("auth.refresh_tokens", "true"), "ok");
    let given = (0..25).filter(|_| kept(&login(&entrepot, PASSWORD)).is_some()).count();
    assert_eq!(given, 20);
    // Nobody asked for one, or it is nobody who asks.
    let plain = Request::get("/token?service=entrepot").basic("ann", PASSWORD).send(entrepot.address);
    assert_eq!(kept(&plain), None);
    assert_eq!(kept(&Request::get("/token?offline_token=true").send(entrepot.address)), None);
    let shown = refresh(&entrepot, "").status;
    assert_eq!(shown, 401);
}
