//! What Harbor, ECR, zot and GitLab document of their retention, as policies here; and what is ours alone. Where ours differs, the
//! row says so.

use super::table::Case;

pub fn all() -> impl Iterator<Item = Case> {
    [harbor(), ecr(), zot(), others(), safe(), held(), signed(), dated()].into_iter().flatten()
}

fn of(
    repository: &'static str,
    shows: &'static str,
    policies: &'static str,
    tags: &'static str,
    goes: &'static str,
) -> Case {
    Case { shows, repository, policies, tags, holds: "", goes }
}

fn case(shows: &'static str, policies: &'static str, tags: &'static str, goes: &'static str) -> Case {
    of("team/app", shows, policies, tags, goes)
}

fn holding(
    shows: &'static str,
    policies: &'static str,
    (tags, holds): (&'static str, &'static str),
    goes: &'static str,
) -> Case {
    Case { holds, ..case(shows, policies, tags, goes) }
}

/// goharbor.io, "Create Tag Retention Rules".
#[expect(clippy::too_many_lines, reason = "a table")]
fn harbor() -> Vec<Case> {
    let five = "2.1-prod pushed:9\n2.1-rc pushed:9\n2.2-release pushed:8\n3.1-prod pushed:7\n3.1-rc pushed:7\n4.4-release pushed:6";
    vec![
        case(
            "harbor example 1, repositories B to E: with fewer tags than are to stay, all do, though nobody pulled them",
            "keep = { latest_pulled = 10 }",
            "a pushed:60\nb pushed:61\nc pushed:62\nd pushed:63\ne pushed:64\nf pushed:65",
            "",
        ),
        case(
            "harbor example 1, repository A: of those pulled within the week, the most recently pulled stay",
            "keep = { latest_pulled = 3 }",
            "a pushed:90 pulled:1\nb pushed:90 pulled:2\nc pushed:90 pulled:3\nd pushed:90 pulled:4\ne pushed:90 pulled:5",
            "d e",
        ),
        case(
            "harbor: what nobody pulled comes after what somebody did",
            "keep = { latest_pulled = 2 }",
            "new pushed:1\nold pushed:90 pulled:60\nolder pushed:95 pulled:70",
            "new",
        ),
        case(
            "harbor example 2, repository A: what was pulled in the last 7 days stays",
            "keep = { pulled_within = \"7d\" }",
            "a pushed:90 pulled:1\nb pushed:90 pulled:6.9\nc pushed:90 pulled:7.1",
            "c",
        ),
        case(
            "harbor example 2, repositories B to E: what nobody pulled goes; here, but for the last tag",
            "keep = { pulled_within = \"7d\" }",
            "a pushed:60\nb pushed:61\nc pushed:62",
            "b c",
        ),
        case(
            "harbor example 4: rules are joined by OR",
            "keep = { pulled_within = \"7d\" }\n---\nkeep = { latest_pushed = 10 }",
            "a pushed:90 pulled:1\nb pushed:61\nc pushed:62",
            "",
        ),
        case(
            "harbor example 4 in one policy: its rules are joined by OR too",
            "keep = { pulled_within = \"7d\", latest_pushed = 1 }",
            "a pushed:90 pulled:1\nb pushed:61\nc pushed:62",
            "c",
        ),
        case(
            "harbor example 5: what no rule is about goes there; here it stays",
            "tags = \"2*\"\nkeep = { latest_pushed = 10 }\n---\ntags = \"*-prod\"\nkeep = { latest_pushed = 10 }",
            five,
            "",
        ),
        case(
            "harbor example 5, asked for: what no rule is about goes",
            "tags = \"2*\"\nkeep = { latest_pushed = 10 }\nunmatched = \"delete\"\n---\ntags = \"*-prod\"\nkeep = { latest_pushed = 10 }",
            five,
            "3.1-rc 4.4-release",
        ),
        case(
            "harbor keeps all tags of an artifact of which one stays; here each tag is judged for itself, and the manifest stays by one",
            "tags = \"harbor-*\"\nkeep = { latest_pushed = 2 }",
            "harbor-1.8 pushed:4 is:A\nharbor-release pushed:3 is:A\nharbor-nightly pushed:2 is:A\nharbor-latest pushed:1 is:A",
            "harbor-1.8 harbor-release",
        ),
        case(
            "harbor: the most recently pushed stay, however old they are",
            "keep = { latest_pushed = 2 }",
            "a pushed:900\nb pushed:800\nc pushed:1000",
            "c",
        ),
        case(
            "harbor: pushed within the last days stays, however many they are",
            "keep = { pushed_within = \"3d\" }",
            "a pushed:1\nb pushed:2\nc pushed:2.5\nd pushed:2.9\ne pushed:3.1",
            "e",
        ),
        case("harbor: retain always", "tags = \"v*\"\nkeep = { tags = [\"v*\"] }", "v1 pushed:900\nv2 pushed:901", ""),
        case(
            "harbor: tags that match a list of names",
            "tags = \"{my_tag_1,my_tag_2}\"\nkeep = { pushed_within = \"1d\" }",
            "my_tag_1 pushed:9\nmy_tag_2 pushed:9\nyour_tag_3 pushed:9",
            "my_tag_1 my_tag_2",
        ),
        case(
            "harbor: tags by a part of their name",
            "tags = \"*_3\"\nkeep = { pushed_within = \"1d\" }",
            "a_3 pushed:9\nb_3 pushed:0.5\nc_33 pushed:9",
            "a_3",
        ),
        case(
            "harbor: tags excluding a pattern",
            "tags = \"[!v]*\"\nkeep = { pushed_within = \"1d\" }",
            "v1 pushed:9\npr-1 pushed:9\npr-2 pushed:0.5",
            "pr-1",
        ),
        case(
            "harbor: ** is every tag",
            "tags = \"**\"\nkeep = { pushed_within = \"1d\" }",
            "a pushed:9\nb pushed:0.5",
            "a",
        ),
        case(
            "harbor: an immutable tag stays whatever rules say",
            "keep = { pushed_within = \"1d\" }",
            "v1 pushed:9 immutable\nx pushed:9\ny pushed:0.1",
            "x",
        ),
        case(
            "harbor: an immutable tag counts among the most recent",
            "keep = { latest_pushed = 1 }",
            "v1 pushed:1 immutable\nx pushed:2\ny pushed:3",
            "x y",
        ),
        of(
            "other/app",
            "harbor: no action is taken on repositories that are not named",
            "repositories = \"team/**\"\nkeep = { pushed_within = \"1d\" }",
            "a pushed:9\nb pushed:9",
            "",
        ),
    ]
}

/// docs.aws.amazon.com, "Examples of lifecycle policies in Amazon ECR", "Lifecycle policy evaluation rules".
#[expect(clippy::too_many_lines, reason = "a table")]
fn ecr() -> Vec<Case> {
    let images = "beta-1 pushed:10 is:A\nprod-1 pushed:10 is:A\nbeta-2 pushed:9 is:B\nprod-2 pushed:9 is:B\nbeta-3 pushed:8 is:C";
    let greek = "alpha-1 pushed:12\nbeta-1 pushed:11\nalpha-2 pushed:10 is:C\nbeta-2 pushed:10 is:C\nalpha-3 pushed:4\nbeta-3 pushed:3";
    vec![
        case(
            "ecr: images with a tag starting with prod that are older than 14 days expire",
            "tags = \"prod*\"\nkeep = { pushed_within = \"14d\" }",
            "prod-1 pushed:15\nprod-2 pushed:13\ndev-1 pushed:90",
            "prod-1",
        ),
        case(
            "ecr: imageCountMoreThan 1 keeps the youngest",
            "keep = { latest_pushed = 1 }",
            "a pushed:3\nb pushed:1\nc pushed:2",
            "a c",
        ),
        case(
            "ecr multiple rules, example A: image A has no tag any more, image B stays by its prod tag",
            "tags = \"prod*\"\nkeep = { latest_pushed = 1 }\n---\ntags = \"beta*\"\nkeep = { latest_pushed = 1 }",
            images,
            "prod-1 beta-1 beta-2",
        ),
        case(
            "ecr multiple rules, example B: priorities change what expires there; here there are none, and the same stays",
            "tags = \"beta*\"\nkeep = { latest_pushed = 1 }\n---\ntags = \"prod*\"\nkeep = { latest_pushed = 1 }",
            images,
            "prod-1 beta-1 beta-2",
        ),
        case(
            "ecr multiple tags, example A: an image has to match all patterns there; here each tag is judged for itself",
            "tags = \"{alpha,beta}*\"\nkeep = { pushed_within = \"5d\" }",
            greek,
            "alpha-1 beta-1 alpha-2 beta-2",
        ),
        case(
            "ecr: expiration is ordered by push time, and older images go before newer ones",
            "keep = { latest_pushed = 3 }",
            "c pushed:30\na pushed:10\nd pushed:40\nb pushed:20",
            "d",
        ),
        case(
            "ecr: a wildcard within a pattern",
            "tags = \"*prod*web\"\nkeep = { latest_pushed = 1 }",
            "prod1-web pushed:3\nprod2-web pushed:2\nxprodweb pushed:1\nprod-api pushed:9",
            "prod1-web prod2-web",
        ),
        case(
            "ecr: sinceImagePulled goes by the last pull",
            "keep = { pulled_within = \"30d\" }",
            "a pushed:90 pulled:10\nb pushed:90 pulled:31",
            "b",
        ),
        case(
            "ecr: sinceImagePulled takes the push of an image that was never pulled",
            "keep = { pulled_within = \"30d\" }",
            "a pushed:29\nb pushed:31",
            "b",
        ),
        case(
            "ecr: a pull before the last push says nothing of its age",
            "keep = { pulled_within = \"30d\" }",
            "a pushed:5 pulled:40\nb pushed:50 pulled:40",
            "b",
        ),
        case(
            "ecr: what one rule keeps is not expired by another",
            "tags = \"prod*\"\nkeep = { latest_pushed = 2 }\n---\nkeep = { pushed_within = \"7d\" }",
            "prod-1 pushed:90\nprod-2 pushed:80\nprod-3 pushed:70\ndev-1 pushed:9\ndev-2 pushed:5",
            "prod-1 dev-1",
        ),
        case(
            "ecr: any image, by count, after rules for some",
            "tags = \"v*\"\nkeep = { tags = [\"v*\"] }\n---\nkeep = { latest_pushed = 1 }",
            "v1 pushed:90\nx pushed:3\ny pushed:2\nz pushed:1",
            "x y",
        ),
        holding(
            "ecr: an image that a manifest list refers to is not expired before the list",
            "keep = { latest_pushed = 1 }",
            ("list pushed:1\narm pushed:2\namd pushed:3\nother pushed:4", "list: arm amd"),
            "other",
        ),
    ]
}

/// zotregistry.dev, "Configuring zot Tag Retention Policies".
fn zot() -> Vec<Case> {
    vec![
        case(
            "zot: a pattern without rules keeps all that match it",
            "tags = \"*\"\nkeep = { tags = [\"v2.*\", \"*-prod\"] }",
            "v2.1 pushed:900\nv2.2 pushed:900\nx-prod pushed:900\nv3.0 pushed:1",
            "v3.0",
        ),
        case(
            "zot: the rules of a pattern are about what matches it only",
            "tags = \"v3.*\"\nkeep = { latest_pushed = 1 }",
            "v3.0 pushed:3\nv3.1 pushed:2\nw pushed:1",
            "v3.0",
        ),
        case(
            "zot: a tag stays if it meets one rule of several",
            "tags = \"v2.*\"\nkeep = { latest_pushed = 1, latest_pulled = 1, pulled_within = \"30d\", pushed_within = \"30d\" }",
            "v2.0 pushed:90 pulled:40\nv2.1 pushed:80\nv2.2 pushed:90 pulled:29\nv2.3 pushed:29\nv2.4 pushed:70",
            "v2.0 v2.1 v2.4",
        ),
        case(
            "zot: pulledWithin keeps what was pushed within the time",
            "keep = { pulled_within = \"3d\" }",
            "a pushed:1\nb pushed:4",
            "b",
        ),
        case("zot: pushedWithin", "keep = { pushed_within = \"24h\" }", "a pushed:0.9\nb pushed:1.1 pulled:0.1", "b"),
        case(
            "zot: mostRecentlyPushedCount",
            "keep = { latest_pushed = 2 }",
            "a pushed:3 pulled:1\nb pushed:2\nc pushed:1",
            "a",
        ),
        case(
            "zot: mostRecentlyPulledCount",
            "keep = { latest_pulled = 2 }",
            "a pushed:3 pulled:1\nb pushed:2 pulled:2\nc pushed:1",
            "c",
        ),
        case(
            "zot: one keepTags entry makes every tag that it does not match deletable there; here they stay",
            "tags = \"v1*\"\nkeep = { tags = [\"v1*\"] }",
            "v1 pushed:90\nlatest pushed:90\nother pushed:90",
            "",
        ),
        case(
            "zot, asked for: what no entry matches goes",
            "tags = \"v1*\"\nkeep = { tags = [\"v1*\"] }\nunmatched = \"delete\"",
            "v1 pushed:90\nlatest pushed:90\nother pushed:90",
            "latest other",
        ),
        of("a/b", "zot: without policies all tags stay", "", "a pushed:900\nb pushed:901", ""),
        of(
            "a/b",
            "zot: a repository that matches no policy keeps all its tags",
            "repositories = \"infra/*\"\nkeep = { pushed_within = \"1d\" }\n---\nrepositories = \"tmp/**\"\nkeep = { pushed_within = \"1d\" }",
            "a pushed:900\nb pushed:901",
            "",
        ),
        of(
            "infra/a/b",
            "zot: one asterisk is one level",
            "repositories = \"infra/*\"\nkeep = { pushed_within = \"1d\" }",
            "a pushed:900\nb pushed:901",
            "",
        ),
        of(
            "tmp/a/b",
            "zot: two asterisks are all levels",
            "repositories = \"tmp/**\"\nkeep = { pushed_within = \"1d\" }",
            "a pushed:900\nb pushed:0.1",
            "a",
        ),
        of(
            "infra/a",
            "zot: the first policy that matches counts alone there; here what any keeps stays",
            "repositories = \"infra/*\"\nkeep = { tags = [\"v2*\"] }\n---\nkeep = { latest_pushed = 1 }",
            "v2 pushed:90\nx pushed:2\ny pushed:1",
            "x",
        ),
        of(
            "prod/a",
            "zot's complete example, prod: v2 and -prod always, v3 while it is pulled, nothing else",
            "repositories = \"{infra,prod}/*\"\ntags = \"v3*\"\nkeep = { pulled_within = \"168h\", tags = [\"v2*\", \"*-prod\"] }\nunmatched = \"delete\"",
            "v2.0 pushed:900\nv3.0 pushed:90 pulled:6\nv3.1 pushed:90 pulled:8\nv3.1-prod pushed:90\nx pushed:1",
            "v3.1 x",
        ),
        of(
            "tmp/a/b",
            "zot's complete example, tmp: v1 while it is pulled or new, nothing else",
            "repositories = \"tmp/**\"\ntags = \"v1*\"\nkeep = { pulled_within = \"168h\", pushed_within = \"168h\" }\nunmatched = \"delete\"",
            "v1.0 pushed:90 pulled:6\nv1.1 pushed:6\nv1.2 pushed:8\nx pushed:1",
            "v1.2 x",
        ),
        case(
            "zot's complete example, the rest: four rules joined by OR",
            "keep = { latest_pushed = 1, latest_pulled = 1, pulled_within = \"720h\", pushed_within = \"720h\" }",
            "a pushed:90 pulled:29\nb pushed:29\nc pushed:31\nd pushed:90 pulled:31",
            "c d",
        ),
        case(
            "zot keeps tags of which it has no statistics; here, what leads nowhere stays",
            "keep = { pushed_within = \"1d\" }",
            "a pushed:90 torn\nb pushed:90\nc pushed:0.1",
            "b",
        ),
        case(
            "a tag that leads nowhere is not what a repository is left with",
            "keep = { pushed_within = \"1d\" }",
            "a pushed:3 torn\nb pushed:90\nc pushed:91",
            "c",
        ),
        case(
            "a tag that leads nowhere is none of those that were pushed last",
            "keep = { latest_pushed = 1 }",
            "a pushed:1 torn\nb pushed:90\nc pushed:91",
            "c",
        ),
        holding(
            "zot: what is about a missing subject goes after a delay",
            "keep = { pushed_within = \"7d\" }",
            ("a pushed:1\nsig(missing) pushed:1.1", ""),
            "sig(missing)",
        ),
        holding(
            "zot: what is about a missing subject stays within the delay",
            "keep = { pushed_within = \"7d\" }",
            ("a pushed:1\nsig(missing) pushed:0.9", ""),
            "",
        ),
    ]
}

/// GitLab's and Google's cleanup policies.
fn others() -> Vec<Case> {
    vec![
        case(
            "gitlab: latest always stays there; here it is said",
            "keep = { latest_pushed = 1, tags = [\"latest\"] }",
            "latest pushed:90\na pushed:2\nb pushed:1",
            "a",
        ),
        case(
            "gitlab: keep the newest, remove what is older than some days",
            "keep = { latest_pushed = 2, pushed_within = \"7d\" }",
            "a pushed:1\nb pushed:5\nc pushed:6\nd pushed:8",
            "d",
        ),
        case(
            "gitlab: keep wins over remove where both match",
            "tags = \"*\"\nkeep = { pushed_within = \"1d\", tags = [\"release-*\"] }",
            "release-1 pushed:90\nmain pushed:90\nx pushed:0.1",
            "main",
        ),
        case(
            "google: a keep policy wins over a delete policy",
            "keep = { pushed_within = \"30d\" }\n---\ntags = \"release*\"\nkeep = { latest_pushed = 2 }",
            "release1 pushed:93\nrelease2 pushed:92\nrelease3 pushed:91\nx pushed:31\ny pushed:29",
            "release1 x",
        ),
        case(
            "quay: by number of tags, the newest stay",
            "keep = { latest_pushed = 3 }",
            "a pushed:1\nb pushed:2\nc pushed:3\nd pushed:4\ne pushed:5",
            "d e",
        ),
    ]
}

/// What must not go whatever policies say.
fn safe() -> Vec<Case> {
    vec![
        case(
            "the last tag stays: the one that was pushed last",
            "keep = { pushed_within = \"1d\" }",
            "a pushed:90\nb pushed:80\nc pushed:85",
            "a c",
        ),
        case("a tag that is alone stays", "keep = { pushed_within = \"1d\" }", "a pushed:900", ""),
        case(
            "of several pushed at one moment, one is the last",
            "keep = { pushed_within = \"1d\" }",
            "a pushed:90\nb pushed:90\nc pushed:90",
            "a b",
        ),
        case(
            "where something else stays, no last tag is needed",
            "tags = \"pr-*\"\nkeep = { pushed_within = \"1d\" }",
            "pr-1 pushed:90\npr-2 pushed:80\nmain pushed:900",
            "pr-1 pr-2",
        ),
        case(
            "keep.tags also keeps what `tags` does not match, from another policy",
            "tags = \"pr-*\"\nkeep = { pushed_within = \"1d\", tags = [\"stable\"] }\n---\nkeep = { pushed_within = \"1d\" }",
            "stable pushed:90\npr-1 pushed:90\nx pushed:0.1",
            "pr-1",
        ),
        case(
            "unmatched = \"delete\" takes nothing that another policy keeps",
            "tags = \"v*\"\nkeep = { latest_pushed = 1 }\nunmatched = \"delete\"\n---\ntags = \"main-*\"\nkeep = { latest_pushed = 1 }",
            "v1 pushed:2\nv2 pushed:1\nmain-1 pushed:9\nmain-2 pushed:8\nx pushed:1",
            "v1 main-1 x",
        ),
        case(
            "an immutable tag stays though it matches nothing that stays",
            "tags = \"v*\"\nkeep = { latest_pushed = 1 }\nunmatched = \"delete\"",
            "v1 pushed:1\nrelease pushed:90 immutable\nx pushed:90",
            "x",
        ),
        case(
            "one tag's expiry takes no other tag of the same digest",
            "tags = \"build-*\"\nkeep = { pushed_within = \"1d\" }",
            "build-1 pushed:90 is:A\nv1 pushed:90 is:A\nbuild-2 pushed:90 is:A",
            "build-1 build-2",
        ),
        case(
            "what is exactly as old as the span stays",
            "keep = { pushed_within = \"30d\" }",
            "a pushed:30\nb pushed:0",
            "",
        ),
        case(
            "a second more, and it goes",
            "keep = { pushed_within = \"30d\" }",
            "a pushed:30.0000116\nb pushed:0",
            "a",
        ),
        case(
            "what is from the future by the store's clock stays",
            "keep = { pushed_within = \"1d\" }",
            "a pushed:-5\nb pushed:9",
            "b",
        ),
        case(
            "fewer tags than are to stay: all stay",
            "keep = { latest_pushed = 10 }",
            "a pushed:900\nb pushed:901\nc pushed:902",
            "",
        ),
    ]
}

/// What indexes hold.
fn held() -> Vec<Case> {
    vec![
        holding(
            "tags of an index's images stay with its tag",
            "keep = { tags = [\"1.0\"] }",
            ("1.0 pushed:90 is:I\n1.0-amd64 pushed:90 is:A\n1.0-arm64 pushed:90 is:B\nx pushed:80", "I: A B"),
            "x",
        ),
        holding(
            "tags of an index's images go when its tag goes",
            "keep = { pushed_within = \"7d\" }",
            ("1.0 pushed:90 is:I\n1.0-amd64 pushed:90 is:A\n1.1 pushed:1 is:J\n1.1-amd64 pushed:90 is:B", "I: A\nJ: B"),
            "1.0 1.0-amd64",
        ),
        holding(
            "an index within an index holds its images too",
            "keep = { tags = [\"all\"] }",
            ("all pushed:90 is:I\nlinux pushed:90 is:J\namd64 pushed:90 is:A\nx pushed:1", "I: J\nJ: A"),
            "x",
        ),
        holding(
            "the last tag holds what its index names",
            "keep = { pushed_within = \"1d\" }",
            ("a pushed:80 is:I\na-amd64 pushed:90 is:A\nb pushed:85", "I: A"),
            "b",
        ),
        holding(
            "an index that no tag keeps holds nothing",
            "keep = { tags = [\"main\"] }",
            ("main pushed:9 is:M\namd64 pushed:90 is:A", "I: A"),
            "amd64",
        ),
        holding(
            "an image that an index holds does not keep the index",
            "keep = { tags = [\"amd64\"] }",
            ("1.0 pushed:90 is:I\namd64 pushed:90 is:A", "I: A"),
            "1.0",
        ),
    ]
}

/// Signatures and the like.
#[expect(clippy::too_many_lines, reason = "a table")]
fn signed() -> Vec<Case> {
    vec![
        case(
            "a signature stays with what it signs, however old it is",
            "keep = { tags = [\"v1\"] }",
            "v1 pushed:90 is:A\nsig(A) pushed:90\nx pushed:1",
            "x",
        ),
        case(
            "a signature stays with what it signs, though the last tag of that goes: it may be deployed by its digest",
            "keep = { pushed_within = \"7d\" }",
            "v1 pushed:90 is:A\nsig(A) pushed:90\nv2 pushed:1 is:B\nsig(B) pushed:90",
            "v1",
        ),
        case(
            "a list of referrers under a fallback tag is one of those",
            "keep = { pushed_within = \"7d\" }",
            "v1 pushed:90 is:A\nlist(A) pushed:90\nv2 pushed:1 is:B\nlist(B) pushed:90\nlist(missing) pushed:2",
            "v1 list(missing)",
        ),
        case(
            "signatures are not counted among the tags that were pushed last",
            "keep = { latest_pushed = 2 }",
            "a pushed:3 is:A\nb pushed:2 is:B\nsig(A) pushed:1\nsig(B) pushed:0.5\nc pushed:4",
            "c",
        ),
        case(
            "a pattern is not about signatures",
            "tags = \"pr-*\"\nkeep = { pushed_within = \"7d\" }",
            "pr-1 pushed:90 is:A\nsig(A) pushed:90\nmain pushed:90 is:B\nsig(B) pushed:90",
            "pr-1",
        ),
        case(
            "unmatched = \"delete\" is not about signatures",
            "tags = \"v*\"\nkeep = { latest_pushed = 1 }\nunmatched = \"delete\"",
            "v1 pushed:90 is:A\nsig(A) pushed:90\nx pushed:90 is:B\nsig(B) pushed:90",
            "x",
        ),
        case(
            "a signature stays as long as one tag leads to what it signs",
            "tags = \"build-*\"\nkeep = { pushed_within = \"7d\" }",
            "build-1 pushed:90 is:A\nv1 pushed:90 is:A\nsig(A) pushed:90",
            "build-1",
        ),
        holding(
            "a signature of an index's image stays with the index",
            "keep = { tags = [\"1.0\"] }",
            ("1.0 pushed:90 is:I\nsig(I) pushed:90\nsig(A) pushed:90\nx pushed:1", "I: A"),
            "x",
        ),
        holding(
            "a signature of an index's image stays as long as that, though no tag leads to the index",
            "keep = { tags = [\"2.0\"] }",
            ("1.0 pushed:90 is:I\nsig(I) pushed:90\nsig(A) pushed:90\nsig(B) pushed:90\n2.0 pushed:90", "I: A"),
            "1.0 sig(B)",
        ),
        holding(
            "what is signed may be a signature: the one of it stays until its manifest is gone as well",
            "keep = { tags = [\"v2\"] }",
            (
                "v1 pushed:90 is:A\nsig(A) pushed:90 is:S\nsig(S) pushed:90\nv2 pushed:90 is:B\nsig(lost) pushed:90 is:T\nsig(T) pushed:90",
                "",
            ),
            "v1 sig(lost)",
        ),
        holding(
            "a signature of what is pulled by its digest stays",
            "keep = { pushed_within = \"7d\" }",
            ("v1 pushed:90 is:A\nv2 pushed:1\nsig(deployed) pushed:90", "deployed"),
            "v1",
        ),
        case(
            "an immutable signature stays",
            "keep = { pushed_within = \"7d\" }",
            "v1 pushed:90 is:A\nsig(A) pushed:90 immutable\nv2 pushed:1",
            "v1",
        ),
        case(
            "keep.tags may name signatures",
            "keep = { pushed_within = \"7d\", tags = [\"sha256-*\"] }",
            "v1 pushed:90 is:A\nsig(A) pushed:90\nv2 pushed:1",
            "v1",
        ),
        case(
            "a signature of nothing goes though no pattern matches it",
            "tags = \"pr-*\"\nkeep = { pushed_within = \"7d\" }",
            "pr-1 pushed:90\nmain pushed:90\nsig(missing) pushed:90\nlist(missing) pushed:90",
            "pr-1 sig(missing) list(missing)",
        ),
        case(
            "signatures alone are of images of another repository, and stay",
            "keep = { pushed_within = \"7d\" }",
            "sig(missing) pushed:90\nsig(lost) pushed:91\nlist(lost) pushed:91",
            "",
        ),
        of(
            "other/app",
            "a signature of nothing stays where no policy is about the repository",
            "repositories = \"team/**\"\nkeep = { pushed_within = \"7d\" }",
            "v1 pushed:90\nsig(missing) pushed:90",
            "",
        ),
        case(
            "a signature that keep.tags or immutable_tags names stays though it is of nothing",
            "keep = { pushed_within = \"7d\", tags = [\"sha256-*.sig\"] }",
            "v1 pushed:1\nsig(missing) pushed:90\nlist(missing) pushed:90\nlist(lost) pushed:90 immutable",
            "list(missing)",
        ),
    ]
}

/// By the image's own word.
fn dated() -> Vec<Case> {
    vec![
        case(
            "the script of old: what was made more than 30 days ago goes, whenever it was pushed",
            "keep = { created_within = \"30d\" }",
            "old pushed:60 created:60\nagain pushed:1 created:45\nnew pushed:2 created:2\nedge pushed:29 created:30",
            "old again",
        ),
        case(
            "created or pushed, whichever is younger, where both are asked for",
            "keep = { created_within = \"30d\", pushed_within = \"7d\" }",
            "old pushed:60 created:60\nagain pushed:1 created:45\nnew pushed:9 created:2",
            "old",
        ),
        case(
            "an image without a date was made when it was pushed",
            "keep = { created_within = \"30d\" }",
            "a pushed:60 created:60\nb pushed:29 created:29\nc pushed:1 created:1",
            "a",
        ),
    ]
}
